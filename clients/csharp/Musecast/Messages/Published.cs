using System;

namespace Musecast.Messages
{
    /// <summary>One message of a session's stream.</summary>
    public abstract record Published(Map Header)
    {
        /// <summary>The session.</summary>
        public string SessionId => Header.Text("sid") ?? "";

        /// <summary>The turn; 0: it belongs to none.</summary>
        public int Turn => (int)(Header.Integer("turn") ?? 0);

        /// <summary>The message of a header and its payload; null when it is neither media nor event.</summary>
        public static Published? Of(Map header, byte[] payload) => header.Text("kind") switch
        {
            "init" => new Segment(header, payload),
            "media" when header.Integer("seq") is >= 0 => new Segment(header, payload),
            null when header.Text("event") != null && header.Integer("n") is >= 0 => new SessionEvent(header),
            _ => null,
        };
    }

    /// <summary>The beginning of a session's film (<see cref="IsInit"/>), or a piece of it; times are microseconds.</summary>
    public sealed record Segment(Map Header, byte[] Payload) : Published(Header)
    {
        /// <summary>Whether these are <c>ftyp</c> and <c>moov</c>, which come before any media.</summary>
        public bool IsInit => Header.Text("kind") == "init";

        /// <summary>The number, from 0 without holes; -1 of the beginning.</summary>
        public long Seq => Header.Integer("seq") ?? -1;

        /// <summary>The generation: one more at every cut.</summary>
        public long Gen => Header.Integer("gen") ?? 0;

        /// <summary>Where it begins on the session's media timeline.</summary>
        public long Pts => Header.Integer("pts") ?? 0;

        /// <summary>How long it is.</summary>
        public long Dur => Header.Integer("dur") ?? 0;

        /// <summary>How many pictures it has.</summary>
        public int Frames => (int)(Header.Integer("frames") ?? 0);

        /// <summary>Whether it is its turn's last one.</summary>
        public bool Last => Header.Flag("last");

        /// <summary>The MIME type with codecs, as a browser's <c>SourceBuffer</c> wants it.</summary>
        public string Mime => Header.Text("mime") ?? "";

        /// <summary>null, "skip", "fallback" or "audio_only".</summary>
        public string? Degraded => Header.Text("degraded");

        /// <summary>How much of it counts: less than <see cref="Dur"/> where a cut fell into it before it was delivered.</summary>
        public long Keep { get; init; } = Header.Integer("dur") ?? 0;

        /// <summary>On the first segment after a cut: what was delivered before and lies at or after this time is void.</summary>
        public long? FlushFrom { get; init; }

        /// <summary>Whether the payload is what was sent.</summary>
        public bool Intact => Header.Integer("crc32") is not long crc || crc == Crc32.Of(Payload);
    }

    /// <summary>Something that happened in a session.</summary>
    public sealed record SessionEvent(Map Header) : Published(Header)
    {
        /// <summary>The number, from 0 without holes.</summary>
        public long N => Header.Integer("n") ?? -1;

        /// <summary>The name, such as "turn.ended".</summary>
        public string Name => Header.Text("event") ?? "";

        /// <summary>The media time; null where it has none.</summary>
        public long? Pts => Header.Integer("pts");

        /// <summary>What belongs to it.</summary>
        public Map Data => Header.Inner("data") ?? new Map();

        /// <summary>Whether it is the one event that ends its turn.</summary>
        public bool EndsTurn => Name is "turn.ended" or "turn.interrupted" or "turn.failed";
    }

    /// <summary>What the daemon has no more and could not be delivered.</summary>
    /// <param name="Header">Names the session.</param>
    /// <param name="Events">Whether these are events, else segments.</param>
    /// <param name="First">The first number that is missing.</param>
    /// <param name="Last">The last number that is missing.</param>
    public sealed record Skipped(Map Header, bool Events, long First, long Last) : Published(Header);

    internal static class Crc32
    {
        private static readonly uint[] Table = Make();

        public static long Of(ReadOnlySpan<byte> bytes)
        {
            var crc = 0xffffffffu;
            foreach (var one in bytes)
            {
                crc = Table[(crc ^ one) & 0xff] ^ (crc >> 8);
            }

            return ~crc;
        }

        private static uint[] Make()
        {
            var table = new uint[256];
            for (uint index = 0; index < 256; index++)
            {
                var value = index;
                for (var bit = 0; bit < 8; bit++)
                {
                    value = (value & 1) != 0 ? 0xedb88320u ^ (value >> 1) : value >> 1;
                }

                table[index] = value;
            }

            return table;
        }
    }
}
