using System;
using System.Collections.Generic;
using System.Linq;
using Musecast.Messages;

namespace Musecast.Http
{
    /// <summary>What an operation answered; <see cref="Map"/> has also what this version has no name for.</summary>
    public abstract record Result(Map Map);

    /// <summary>The health of a daemon.</summary>
    public sealed record Health(Map Map) : Result(Map)
    {
        /// <summary>"ok", "degraded", "starting" or "draining"; "" when the daemon did not say.</summary>
        public string Status => Map.Text("status") ?? "";

        /// <summary>Whether it serves.</summary>
        public bool Serves => Status is "ok" or "degraded";

        /// <summary>What it was started without, in sentences.</summary>
        public IReadOnlyList<string> Warnings => Map.Items("warnings").OfType<string>().ToList();
    }

    /// <summary>Every process, queue and session.</summary>
    public sealed record Status(Map Map) : Result(Map)
    {
        /// <summary>The processes, a map each.</summary>
        public IReadOnlyList<Map> Stages => Map.Items("stages").OfType<Map>().ToList();

        /// <summary>The sessions, a map each.</summary>
        public IReadOnlyList<Map> Sessions => Map.Items("sessions").OfType<Map>().ToList();

        /// <summary>The limits that hold.</summary>
        public Map Limits => Map.Inner("limits") ?? new Map();
    }

    /// <summary>Every stage is warm.</summary>
    public sealed record Initialized(Map Map) : Result(Map)
    {
        /// <summary>Always true: what is not ready is an exception.</summary>
        public bool Ready => Map.Flag("ready");

        /// <summary>Seconds that each process took to load.</summary>
        public IReadOnlyDictionary<string, double> LoadSeconds =>
            (Map.Inner("load_s") ?? new Map()).Where(one => one.Value is double || one.Value is long)
            .ToDictionary(one => one.Key, one => Convert.ToDouble(one.Value));
    }

    /// <summary>A template that is ready.</summary>
    public sealed record Template(Map Map) : Result(Map)
    {
        /// <summary>Its id.</summary>
        public string TemplateId => Map.Text("template_id") ?? "";

        /// <summary>How many frames its loop has.</summary>
        public int Frames => (int)(Map.Integer("frames") ?? 0);

        /// <summary>Pixels.</summary>
        public int Width => (int)(Map.Integer("width") ?? 0);

        /// <summary>Pixels.</summary>
        public int Height => (int)(Map.Integer("height") ?? 0);

        /// <summary>Whether no pixel had to be made.</summary>
        public bool Cached => Map.Flag("cached");

        /// <summary>Whether the id held another source before.</summary>
        public bool Replaced => Map.Flag("replaced");
    }

    /// <summary>A session that has begun.</summary>
    public sealed record Session(Map Map) : Result(Map)
    {
        /// <summary>Its id; whoever knows it may watch.</summary>
        public string SessionId => Map.Text("session_id") ?? "";

        /// <summary>The beginning of its film: <c>ftyp</c> and <c>moov</c>.</summary>
        public byte[] Init => Map.Bytes("init") ?? Array.Empty<byte>();

        /// <summary>The MIME type with codecs.</summary>
        public string Mime => Map.Text("mime") ?? "";

        /// <summary>Pixels.</summary>
        public int Width => (int)(Map.Integer("width") ?? 0);

        /// <summary>Pixels.</summary>
        public int Height => (int)(Map.Integer("height") ?? 0);

        /// <summary>Where a page finds its media and events; empty over ZeroMQ.</summary>
        public string WebSocketUrl => Map.Text("ws_url") ?? "";

        /// <summary>The endless film of it; empty over ZeroMQ.</summary>
        public string StreamUrl => Map.Text("stream_url") ?? "";

        /// <summary>Watch and talk, for 10 minutes; null where tokens are off.</summary>
        public string? Token => Map.Text("token");
    }

    /// <summary>Speech that was taken, and the segments that it completed.</summary>
    public sealed record SegmentResult(Map Map) : Result(Map)
    {
        /// <summary>The turn.</summary>
        public int Turn => (int)(Map.Integer("turn") ?? 0);

        /// <summary>Numbers of the segments; may be empty.</summary>
        public IReadOnlyList<long> Segments => Map.Items("segments").OfType<long>().ToList();

        /// <summary>A standalone MP4 of them; null when there are none.</summary>
        public string? VideoUrl => Map.Text("video_url");

        /// <summary>Pictures of them.</summary>
        public int Frames => (int)(Map.Integer("frames") ?? 0);

        /// <summary>How long they are.</summary>
        public TimeSpan Duration => TimeSpan.FromSeconds(Map.Number("duration_s") ?? 0);

        /// <summary>What waits for the next call.</summary>
        public TimeSpan Carried => TimeSpan.FromMilliseconds(Map.Number("carried_ms") ?? 0);

        /// <summary>Of the turn, with its last call; else null.</summary>
        public Map? TimingsMs => Map.Inner("timings_ms");
    }

    /// <summary>A turn that was cut.</summary>
    public sealed record Interruption(Map Map) : Result(Map)
    {
        /// <summary>The turn; null: there was nothing to cut.</summary>
        public int? Turn => (int?)Map.Integer("turn");

        /// <summary>The generation from here on.</summary>
        public long Gen => Map.Integer("gen") ?? 0;

        /// <summary>Media of older generations at or after this time is void.</summary>
        public long FlushFrom => Map.Integer("flush_from") ?? 0;
    }

    /// <summary>What a session was.</summary>
    public sealed record SessionSummary(Map Map) : Result(Map)
    {
        /// <summary>Turns.</summary>
        public int Turns => (int)(Map.Integer("turns") ?? 0);

        /// <summary>Segments.</summary>
        public int Segments => (int)(Map.Integer("segments") ?? 0);

        /// <summary>Pictures.</summary>
        public int Frames => (int)(Map.Integer("frames") ?? 0);

        /// <summary>How much media.</summary>
        public TimeSpan Media => TimeSpan.FromTicks(10 * (Map.Integer("media_us") ?? 0));
    }

    /// <summary>A token of a session.</summary>
    public sealed record SessionToken(Map Map) : Result(Map)
    {
        /// <summary>The token.</summary>
        public string Token => Map.Text("token") ?? "";

        /// <summary>Until when it holds.</summary>
        public DateTimeOffset ExpiresAt => DateTimeOffset.FromUnixTimeSeconds(Map.Integer("expires_at") ?? 0);
    }

    /// <summary>A film that is made of speech or text.</summary>
    public sealed record Rendering(Map Map) : Result(Map)
    {
        /// <summary>"queued", "running", "done", "failed" or "cancelled".</summary>
        public string State => Map.Text("state") ?? "";

        /// <summary>0 to 1.</summary>
        public double Progress => Map.Number("progress") ?? 0;

        /// <summary>Why it failed; null unless it did.</summary>
        public MusecastException? Error => Map.Inner("error") is Map error ? MusecastException.From(error) : null;
    }

    /// <summary>How a session is to be; what is null is the daemon's default.</summary>
    public sealed record SessionOptions
    {
        /// <summary>An id of one's own: <c>[A-Za-z0-9_-]{1,64}</c>.</summary>
        public string? SessionId { get; init; }

        /// <summary>"realtime" or "offline".</summary>
        public string? Mode { get; init; }

        /// <summary>"none" or "loop": video between turns.</summary>
        public string? Idle { get; init; }

        /// <summary>Whether a voice cuts what is spoken.</summary>
        public bool? BargeIn { get; init; }

        /// <summary>One of the daemon's voices.</summary>
        public string? Voice { get; init; }

        /// <summary>The language that is heard and spoken.</summary>
        public string? Language { get; init; }

        /// <summary>What the language model is told.</summary>
        public string? SystemPrompt { get; init; }

        /// <summary>"high", "lossless", "fast" or "max".</summary>
        public string? Quality { get; init; }

        /// <summary>Said as the first turn.</summary>
        public string? Greeting { get; init; }

        /// <summary>Without a request for so long it ends.</summary>
        public int? IdleTimeoutSeconds { get; init; }

        /// <summary>At this age it ends; 0: never.</summary>
        public int? MaxDurationSeconds { get; init; }

        /// <summary>Whether the gateway records it.</summary>
        public bool? Record { get; init; }

        internal Map Arguments(string templateId) => new Map { { "template_id", templateId } }
            .With("session_id", SessionId).With("mode", Mode).With("idle", Idle).With("barge_in", BargeIn)
            .With("voice", Voice).With("language", Language).With("system_prompt", SystemPrompt)
            .With("quality", Quality).With("greeting", Greeting).With("idle_timeout_s", IdleTimeoutSeconds)
            .With("max_duration_s", MaxDurationSeconds).With("record", Record);
    }
}
