using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;

namespace Musecast.Http
{
    /// <summary>The gateway's HTTP, typed. Safe for many threads.</summary>
    /// <remarks>
    /// <para>The <see cref="HttpClient"/> is the caller's, best from <c>IHttpClientFactory</c>; its
    /// <see cref="HttpClient.BaseAddress"/> is the gateway, its <see cref="HttpClient.Timeout"/> is to be longer than the
    /// longest call (<c>PreprocessTemplateAsync</c>; or infinite, with a token that is cancelled in time), and where the
    /// gateway has a token it sends it as <c>Authorization: Bearer</c>.</para>
    /// <para>Every method throws <see cref="MusecastException"/> with the daemon's code, or <c>NOT_READY</c> when nothing
    /// answers, and <see cref="OperationCanceledException"/> when its token is cancelled.</para>
    /// </remarks>
    public sealed class MusecastHttp
    {
        private readonly Requests _requests;

        /// <summary>A client over this <see cref="HttpClient"/>.</summary>
        /// <exception cref="ArgumentException">It has no base address.</exception>
        public MusecastHttp(HttpClient http)
        {
            if (http.BaseAddress is null)
            {
                throw new ArgumentException("the HttpClient has no BaseAddress: set it to the gateway, http://127.0.0.1:28888/", nameof(http));
            }

            _requests = new Requests(http);
        }

        /// <summary>Wait until every stage is warm; may be called again at any time.</summary>
        public async Task<Initialized> InitializeAsync(CancellationToken cancel = default) =>
            new Initialized(await Post("initialize", new Map(), cancel).ConfigureAwait(false));

        /// <summary>The health, also of a daemon that does not serve.</summary>
        public async Task<Health> GetHealthAsync(CancellationToken cancel = default) =>
            new Health(await _requests.SendAsync(HttpMethod.Get, "health", null, cancel, bodyOf: 503).ConfigureAwait(false));

        /// <summary>Whether the daemon serves; false also when nothing answers.</summary>
        public async Task<bool> IsHealthyAsync(CancellationToken cancel = default)
        {
            try
            {
                return (await GetHealthAsync(cancel).ConfigureAwait(false)).Serves;
            }
            catch (MusecastException)
            {
                return false;
            }
        }

        /// <summary>Every process, queue and session.</summary>
        public async Task<Status> GetStatusAsync(CancellationToken cancel = default) =>
            new Status(await Get("api/status", cancel).ConfigureAwait(false));

        /// <summary>Make a template of a photo or film of this machine; returns when it is ready.</summary>
        /// <exception cref="IOException">The file cannot be read.</exception>
        public async Task<Template> PreprocessTemplateAsync(
            string templateId, string imagePath, bool force = false, bool keep = false, bool ifAbsent = false,
            int bboxShift = 0, CancellationToken cancel = default)
        {
            using var file = new FileStream(imagePath, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, useAsync: true);
            return await PreprocessTemplateAsync(templateId, file, force, keep, ifAbsent, bboxShift, cancel).ConfigureAwait(false);
        }

        /// <summary>The same of bytes from elsewhere.</summary>
        public async Task<Template> PreprocessTemplateAsync(
            string templateId, Stream source, bool force = false, bool keep = false, bool ifAbsent = false,
            int bboxShift = 0, CancellationToken cancel = default)
        {
            using var form = new MultipartFormDataContent
            {
                { new StringContent(templateId), "template_id" },
                { new StringContent(force ? "true" : "false"), "force" },
                { new StringContent(keep ? "true" : "false"), "keep" },
                { new StringContent(ifAbsent ? "true" : "false"), "if_absent" },
                { new StringContent(bboxShift.ToString(System.Globalization.CultureInfo.InvariantCulture)), "bbox_shift" },
                { new StreamContent(source), "file", "source" },
            };
            return new Template(await _requests.SendAsync(HttpMethod.Post, "api/preprocess_template", form, cancel).ConfigureAwait(false));
        }

        /// <summary>Begin a session.</summary>
        public async Task<Session> StartSessionAsync(
            string templateId = "default", SessionOptions? options = null, CancellationToken cancel = default) =>
            new Session(await Post("start_session", (options ?? new SessionOptions()).Arguments(templateId), cancel).ConfigureAwait(false));

        /// <summary>Speech in (a WAV file); returns when the segments that it completed are published.</summary>
        /// <param name="sessionId">The session.</param>
        /// <param name="audio">WAV. Audio is continuous over calls; under 400 ms of it are carried into the next one.</param>
        /// <param name="last">Whether the turn ends with it; else it does 2 s after its newest call.</param>
        /// <param name="cancel">The turn goes on when it is cancelled: see <see cref="InterruptAsync"/>.</param>
        public async Task<SegmentResult> ProcessSegmentAsync(
            string sessionId, byte[] audio, bool last = false, CancellationToken cancel = default)
        {
            using var form = new MultipartFormDataContent
            {
                { new StringContent(sessionId), "session_id" },
                { new StringContent(last ? "true" : "false"), "last" },
                { new ByteArrayContent(audio), "audio", "audio.wav" },
            };
            return new SegmentResult(await _requests.SendAsync(HttpMethod.Post, "api/process_segment", form, cancel).ConfigureAwait(false));
        }

        /// <summary>End a session; what it was.</summary>
        /// <param name="sessionId">The session.</param>
        /// <param name="drain">Whether what was accepted is shown first.</param>
        /// <param name="cancel">Stops the waiting, not the end.</param>
        public async Task<SessionSummary> EndSessionAsync(string sessionId, bool drain = true, CancellationToken cancel = default) =>
            new SessionSummary(await Post("end_session", Of(sessionId).With("drain", drain), cancel).ConfigureAwait(false));

        /// <summary>Say a text; the number of the turn.</summary>
        /// <param name="sessionId">The session.</param>
        /// <param name="text">Up to 20,000 characters.</param>
        /// <param name="append">Whether more text of this turn follows.</param>
        /// <param name="turn">The open turn that it is added to; null: a new one.</param>
        /// <param name="end">Whether it is the turn's last text; null: when <paramref name="append"/> is false.</param>
        /// <param name="interruptible">Whether a voice may cut it.</param>
        /// <param name="cancel">Stops the waiting.</param>
        public async Task<int> SayAsync(
            string sessionId, string text, bool append = false, int? turn = null, bool? end = null,
            bool interruptible = true, CancellationToken cancel = default)
        {
            var body = Of(sessionId).With("text", text).With("append", append).With("turn", turn).With("end", end)
                .With("interruptible", interruptible);
            return TurnOf(await Post("say", body, cancel).ConfigureAwait(false));
        }

        /// <summary>Have the daemon's language model answer a text; the number of the turn.</summary>
        public async Task<int> ChatAsync(string sessionId, string text, CancellationToken cancel = default) =>
            TurnOf(await Post("chat", Of(sessionId).With("text", text), cancel).ConfigureAwait(false));

        /// <summary>Cut what is spoken and what waits; with <paramref name="turn"/> only if that has not ended.</summary>
        public async Task<Interruption> InterruptAsync(string sessionId, int? turn = null, CancellationToken cancel = default) =>
            new Interruption(await Post("interrupt", Of(sessionId).With("turn", turn), cancel).ConfigureAwait(false));

        /// <summary>Change a session's settings from the next turn on; null: as it is. The settings as they are now.</summary>
        public Task<Map> UpdateSessionAsync(
            string sessionId, string? voice = null, string? language = null, string? systemPrompt = null,
            bool? bargeIn = null, int? idleTimeoutSeconds = null, CancellationToken cancel = default) =>
            Post(
                "update_session",
                Of(sessionId).With("voice", voice).With("language", language).With("system_prompt", systemPrompt)
                    .With("barge_in", bargeIn).With("idle_timeout_s", idleTimeoutSeconds),
                cancel);

        /// <summary>Keep a session from expiring.</summary>
        public Task KeepAliveAsync(string sessionId, CancellationToken cancel = default) =>
            Post("keep_alive", Of(sessionId), cancel);

        /// <summary>Every template, a map each.</summary>
        public async Task<IReadOnlyList<Map>> ListTemplatesAsync(CancellationToken cancel = default) =>
            (await Get("api/templates", cancel).ConfigureAwait(false)).Items("templates").OfType<Map>().ToList();

        /// <summary>Delete a template.</summary>
        public Task DeleteTemplateAsync(string templateId, CancellationToken cancel = default) =>
            _requests.SendAsync(HttpMethod.Delete, "api/templates/" + Uri.EscapeDataString(templateId), null, cancel);

        /// <summary>The first frame of a template, as JPEG.</summary>
        public Task<byte[]> GetTemplatePictureAsync(string templateId, CancellationToken cancel = default) =>
            _requests.BytesAsync("api/templates/" + Uri.EscapeDataString(templateId) + "/picture.jpg", cancel);

        /// <summary>The daemon's voices, a map each.</summary>
        public async Task<IReadOnlyList<Map>> ListVoicesAsync(string? language = null, CancellationToken cancel = default)
        {
            var query = language is null ? "" : "?language=" + Uri.EscapeDataString(language);
            return (await Get("api/voices" + query, cancel).ConfigureAwait(false)).Items("voices").OfType<Map>().ToList();
        }

        /// <summary>A token for one session, to be given to a page.</summary>
        public async Task<SessionToken> CreateTokenAsync(
            string sessionId, int ttlSeconds = 60, IReadOnlyList<string>? scope = null,
            IReadOnlyList<string>? origins = null, CancellationToken cancel = default)
        {
            var body = new Map { { "ttl_s", ttlSeconds } }.With("scope", scope).With("origins", origins);
            return new SessionToken(await _requests.JsonAsync(SessionPath(sessionId, "token"), body, cancel).ConfigureAwait(false));
        }

        /// <summary>A file of the gateway by its address, such as <see cref="SegmentResult.VideoUrl"/>.</summary>
        public Task<byte[]> DownloadAsync(string url, CancellationToken cancel = default) => _requests.BytesAsync(url, cancel);

        /// <summary>Published segments as a standalone MP4 that begins at 0.</summary>
        public Task<byte[]> GetSegmentsAsync(string sessionId, long first, long last, CancellationToken cancel = default) =>
            _requests.BytesAsync(SessionPath(sessionId, FormattableString.Invariant($"segments/{first}-{last}.mp4")), cancel);

        /// <summary>The endless film of a session from now on; dispose of it to stop.</summary>
        public Task<Stream> OpenStreamAsync(string sessionId, CancellationToken cancel = default) =>
            _requests.StreamAsync(SessionPath(sessionId, "stream.mp4"), cancel);

        /// <summary>The recording of a session; dispose of it.</summary>
        public Task<Stream> OpenRecordingAsync(string sessionId, CancellationToken cancel = default) =>
            _requests.StreamAsync(SessionPath(sessionId, "recording.mp4"), cancel);

        /// <summary>End a recording and remove its file.</summary>
        public Task DeleteRecordingAsync(string sessionId, CancellationToken cancel = default) =>
            _requests.SendAsync(HttpMethod.Delete, SessionPath(sessionId, "recording.mp4"), null, cancel);

        /// <summary>Who said what, and when.</summary>
        public Task<Map> GetTranscriptAsync(string sessionId, CancellationToken cancel = default) =>
            Get(SessionPath(sessionId, "transcript.json"), cancel);

        /// <summary>The same as subtitles: "vtt" or "srt".</summary>
        public async Task<string> GetSubtitlesAsync(string sessionId, string format = "vtt", CancellationToken cancel = default) =>
            System.Text.Encoding.UTF8.GetString(
                await _requests.BytesAsync(SessionPath(sessionId, "transcript." + Uri.EscapeDataString(format)), cancel).ConfigureAwait(false));

        /// <summary>Have a film made of speech (any audio file) or text, one of them; the job.</summary>
        public async Task<string> RenderAsync(
            string templateId, byte[]? audio = null, string? text = null, string quality = "high", CancellationToken cancel = default)
        {
            using var form = new MultipartFormDataContent
            {
                { new StringContent(templateId), "template_id" },
                { new StringContent(quality), "quality" },
            };
            if (audio != null)
            {
                form.Add(new ByteArrayContent(audio), "audio", "audio");
            }

            if (text != null)
            {
                form.Add(new StringContent(text), "text");
            }

            return (await _requests.SendAsync(HttpMethod.Post, "api/render", form, cancel).ConfigureAwait(false)).Text("job") ?? "";
        }

        /// <summary>How far a film is.</summary>
        public async Task<Rendering> GetRenderingAsync(string job, CancellationToken cancel = default) =>
            new Rendering(await Get("api/render/" + Uri.EscapeDataString(job), cancel).ConfigureAwait(false));

        /// <summary>The film; <c>NOT_READY</c> until it is done. Dispose of it.</summary>
        public Task<Stream> OpenRenderingAsync(string job, CancellationToken cancel = default) =>
            _requests.StreamAsync("api/render/" + Uri.EscapeDataString(job) + ".mp4", cancel);

        /// <summary>Cancel a film, or remove it when it is done.</summary>
        public Task DeleteRenderingAsync(string job, CancellationToken cancel = default) =>
            _requests.SendAsync(HttpMethod.Delete, "api/render/" + Uri.EscapeDataString(job), null, cancel);

        private static Map Of(string sessionId) => new Map { { "session_id", sessionId } };

        private static int TurnOf(Map result) => (int)(result.Integer("turn") ?? 0);

        private static string SessionPath(string sessionId, string rest) =>
            "api/sessions/" + Uri.EscapeDataString(sessionId) + "/" + rest;

        private Task<Map> Get(string path, CancellationToken cancel) => _requests.SendAsync(HttpMethod.Get, path, null, cancel);

        private Task<Map> Post(string operation, Map body, CancellationToken cancel) =>
            _requests.JsonAsync("api/" + operation, body, cancel);
    }
}
