using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Http;

namespace Musecast.Tests
{
    /// <summary>The flow of a service against a real daemon, through its gateway.</summary>
    public static class GatewayCases
    {
        /// <summary>The gateway's address.</summary>
        public const string Needs = "MUSECAST_GATEWAY";

        public static async Task AServiceFromInitializeToTheEnd()
        {
            using var http = Client();
            var avatar = new MusecastHttp(http);
            Check.That((await avatar.InitializeAsync()).Ready, "ready");
            Check.That(await avatar.IsHealthyAsync(), "healthy");
            var photo = Path.GetTempFileName();
            await File.WriteAllBytesAsync(photo, await avatar.GetTemplatePictureAsync("default"));
            var face = await avatar.PreprocessTemplateAsync("csharp-face", photo);
            File.Delete(photo);
            Check.Equal(("csharp-face", 512, 512), (face.TemplateId, face.Width, face.Height), "the template");
            var session = await avatar.StartSessionAsync("csharp-face", new SessionOptions { Idle = "none" });
            Check.Equal("ftyp", Type(session.Init), "the beginning of the film");
            Check.That(session.WebSocketUrl.StartsWith("ws://", StringComparison.Ordinal), "an address for pages");
            var frames = 0;
            for (var index = 0; index < 10; index++)
            {
                var clock = Stopwatch.StartNew();
                var made = await avatar.ProcessSegmentAsync(session.SessionId, Voice.Wav(1, index), last: index == 9);
                Console.WriteLine($"      segment {index}: {made.Frames} frames, {made.Duration.TotalSeconds} s, in {clock.Elapsed.TotalSeconds:0.00} s");
                Check.Equal(1, made.Turn, "one turn");
                Check.Equal((int)Math.Round(made.Duration.TotalSeconds * 25), made.Frames, "frames");
                var film = await avatar.DownloadAsync(made.VideoUrl!);
                Check.Equal("ftyp", Type(film), "a film of its own");
                frames += made.Frames;
                Check.Equal(index == 9, made.TimingsMs != null, "timings with the last");
            }

            Check.That(frames >= 250 && frames < 260, "10 s of pictures, " + frames);
            Check.That((await avatar.GetStatusAsync()).Sessions.Any(one => one.Text("session_id") == session.SessionId), "in status");
            var summary = await avatar.EndSessionAsync(session.SessionId);
            Check.Equal((1, frames), (summary.Turns, summary.Frames), "the summary");
            await avatar.DeleteTemplateAsync("csharp-face");
        }

        public static async Task WordsAreSaidAnsweredAndCut()
        {
            using var http = Client();
            var avatar = new MusecastHttp(http);
            var session = await avatar.StartSessionAsync();
            var open = await avatar.SayAsync(session.SessionId, "The first sentence. ", append: true);
            Check.Equal(open, await avatar.SayAsync(session.SessionId, "The second one.", turn: open), "the same turn");
            Check.Equal(open + 1, await avatar.ChatAsync(session.SessionId, "What can you do?"), "the next turn");
            await avatar.KeepAliveAsync(session.SessionId);
            Check.That((await avatar.UpdateSessionAsync(session.SessionId, bargeIn: false)).Has("voice"), "settings");
            var cut = await avatar.InterruptAsync(session.SessionId);
            Check.Equal((1L, 0L), (cut.Gen, cut.FlushFrom % 320000), "a cut");
            Check.That((await avatar.ListVoicesAsync()).Count > 0 && (await avatar.ListTemplatesAsync()).Count > 0, "lists");
            Check.That((await avatar.GetTranscriptAsync(session.SessionId)).Has("lines"), "a transcript");
            await avatar.EndSessionAsync(session.SessionId, drain: false);
        }

        public static async Task WhatIsRefusedHasItsCode()
        {
            using var http = Client();
            var avatar = new MusecastHttp(http);
            await Check.Refused(ErrorCodes.NotFound, () => avatar.StartSessionAsync("no-such-face"));
            await Check.Refused(ErrorCodes.NotFound, () => avatar.SayAsync("nobody", "words"));
            await Check.Refused(ErrorCodes.InvalidArgument, () => avatar.PreprocessTemplateAsync("mine", new MemoryStream(new byte[100])));
            await Check.Refused(ErrorCodes.NotFound, () => avatar.GetTemplatePictureAsync("no-such-face"));
            var session = await avatar.StartSessionAsync();
            await Check.Refused(ErrorCodes.AlreadyExists, () => avatar.StartSessionAsync("default", new SessionOptions { SessionId = session.SessionId }));
            await Check.Refused(ErrorCodes.InvalidArgument, () => avatar.ProcessSegmentAsync(session.SessionId, new byte[] { 1, 2, 3 }));
            await avatar.EndSessionAsync(session.SessionId, drain: false);
        }

        public static async Task ASessionThatIsEndedInTheMiddleLeavesNothingHanging()
        {
            using var http = Client();
            var avatar = new MusecastHttp(http);
            var session = await avatar.StartSessionAsync();
            var speaking = avatar.ProcessSegmentAsync(session.SessionId, Voice.Wav(20), last: true);
            await Spoken(avatar, session.SessionId);
            await avatar.EndSessionAsync(session.SessionId, drain: false);
            await Within(speaking); // answered with what was published until then
            var made = await speaking;
            Check.That(made.Frames < 500, "not all of 20 s, " + made.Frames + " frames");
            await Check.Refused(ErrorCodes.NotFound, () => avatar.ProcessSegmentAsync(session.SessionId, Voice.Wav(1)));
        }

        internal static async Task Spoken(MusecastHttp avatar, string sessionId)
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            while ((await avatar.GetStatusAsync(limit.Token)).Sessions.Single(one => one.Text("session_id") == sessionId).Integer("newest_seq") is null)
            {
                await Task.Delay(50, limit.Token);
            }
        }

        internal static async Task Within(Task work)
        {
            Check.That(await Task.WhenAny(work, Task.Delay(TimeSpan.FromSeconds(60))) == work, "it ends");
            await work;
        }

        private static string Type(byte[] film) => System.Text.Encoding.ASCII.GetString(film, 4, 4);

        private static HttpClient Client() => new HttpClient
        {
            BaseAddress = new Uri(Case.Setting(Needs)!),
            Timeout = TimeSpan.FromMinutes(2),
        };
    }
}
