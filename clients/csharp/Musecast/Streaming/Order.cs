using System;
using System.Collections.Generic;
using System.Linq;
using Musecast.Messages;

namespace Musecast.Streaming
{
    /// <summary>A session's messages in order, each once: repeats dropped, holes found, cuts made. No input or output.</summary>
    internal sealed class Order
    {
        /// <summary>So many messages are held at most before the reader takes some.</summary>
        public const int MaxHeld = 256;

        private readonly List<Published> _ready = new List<Published>();
        private readonly Queue<SessionEvent> _events = new Queue<SessionEvent>();
        private readonly List<Segment> _segments = new List<Segment>();
        private readonly string _sid;
        private bool _initSeen;
        private long _gen = -1;

        public Order(string sid, long nextSeq, long nextN)
        {
            _sid = sid;
            NextSeq = nextSeq;
            NextN = nextN;
        }

        /// <summary>The next segment's number.</summary>
        public long NextSeq { get; private set; }

        /// <summary>The next event's number.</summary>
        public long NextN { get; private set; }

        /// <summary>Segments are to be read back, from <see cref="NextSeq"/> on.</summary>
        public bool SegmentsMissing { get; private set; } = true;

        /// <summary>Events are to be read back, from <see cref="NextN"/> on.</summary>
        public bool EventsMissing { get; private set; } = true;

        /// <summary>Whether something is to be read back now; only then are live messages left where they are.</summary>
        public bool Repairing => SegmentsMissing || EventsMissing || _events.Count > 0 || _segments.Count > 0;

        /// <summary>Whether segments are to be read back before more can be delivered.</summary>
        public bool WantsSegments => SegmentsMissing && _segments.Count == 0;

        /// <summary>Whether events are to be read back before more can be delivered.</summary>
        public bool WantsEvents => EventsMissing && _events.Count == 0;

        /// <summary>Whether as much is held as may be.</summary>
        public bool Full => _ready.Count >= MaxHeld;

        /// <summary>Something may have been missed without a trace: the last message may be the lost one.</summary>
        public void Doubt() => SegmentsMissing = EventsMissing = true;

        /// <summary>A message from the stream. What comes behind a hole is dropped: it is read back with what is missing.</summary>
        public void Live(Published message)
        {
            switch (message)
            {
                case SessionEvent one when one.N > NextN:
                case Segment { IsInit: false } media when media.Seq > NextSeq:
                    Doubt();
                    break;
                case SessionEvent one when one.N == NextN:
                    NextN++;
                    Cut(_ready, one);
                    _ready.Add(one);
                    break;
                case Segment { IsInit: true } init:
                    Init(init);
                    break;
                case Segment media when media.Seq == NextSeq:
                    NextSeq++;
                    Place(_ready, media);
                    break;
            }
        }

        /// <summary>A reply to <c>segments</c>.</summary>
        public void Segments(byte[]? init, IEnumerable<Segment> found, long? oldest, long? newest)
        {
            if (init != null && init.Length > 0)
            {
                Init(new Segment(new Map { { "kind", "init" }, { "sid", _sid }, { "gen", 0 } }, init));
            }

            if (oldest is long first && first > NextSeq)
            {
                _ready.Add(new Skipped(new Map { { "sid", _sid } }, false, NextSeq, first - 1));
                NextSeq = first;
            }

            foreach (var media in found.Where(one => one.Seq == NextSeq))
            {
                NextSeq++;
                Place(_segments, media);
            }

            SegmentsMissing = newest is long last && NextSeq <= last && _segments.Count > 0;
        }

        /// <summary>A reply to <c>events</c>.</summary>
        public void Events(IEnumerable<SessionEvent> found, long? oldest, long? newest)
        {
            if (oldest is long first && first > NextN)
            {
                _ready.Add(new Skipped(new Map { { "sid", _sid } }, true, NextN, first - 1));
                NextN = first;
            }

            foreach (var one in found.Where(one => one.N == NextN))
            {
                NextN++;
                _events.Enqueue(one);
            }

            EventsMissing = newest is long last && NextN <= last && _events.Count > 0;
        }

        /// <summary>The next message to be delivered; null when there is none yet.</summary>
        public Published? Next()
        {
            if (_ready.Count > 0)
            {
                var message = _ready[0];
                _ready.RemoveAt(0);
                return message;
            }

            if (WantsSegments || WantsEvents)
            {
                return null;
            }

            if (_segments.Count > 0 && (_events.Count == 0 || Before(_segments[0], _events.Peek())))
            {
                var media = _segments[0];
                _segments.RemoveAt(0);
                return media;
            }

            return _events.Count > 0 ? _events.Dequeue() : null;
        }

        /// <summary>Events and segments are numbered apart: whether a segment was published before an event, by what they say.</summary>
        internal static bool Before(Segment media, SessionEvent one)
        {
            if (one.Name == "session.ended")
            {
                return true;
            }

            if (one.Turn == 0 || media.Turn == 0)
            {
                return media.Turn == 0 && one.Pts is long start && media.Pts < start;
            }

            return media.Turn < one.Turn
                || (media.Turn == one.Turn && (one.EndsTurn || (one.Pts is long pts && media.Pts + media.Dur <= pts)));
        }

        /// <summary>Drop what a cut at this time makes void, and shorten the segment that straddles it.</summary>
        internal static void Cut<T>(List<T> held, long gen, long flushFrom)
            where T : Published
        {
            for (var index = held.Count - 1; index >= 0; index--)
            {
                if (!(held[index] is Segment { IsInit: false } media) || media.Gen >= gen || media.Pts + media.Keep <= flushFrom)
                {
                    continue;
                }

                if (media.Pts >= flushFrom)
                {
                    held.RemoveAt(index);
                }
                else
                {
                    held[index] = (T)(Published)(media with { Keep = flushFrom - media.Pts });
                }
            }
        }

        private static void Cut(List<Published> held, SessionEvent one)
        {
            // The turn of a sound that was no words cuts nothing: what is spoken goes on.
            if (one.Name == "turn.interrupted" && one.Data.Text("reason") != "no_speech"
                && one.Data.Integer("flush_from") is long flushFrom)
            {
                Cut(held, long.MaxValue, flushFrom);
            }
        }

        private void Place<T>(List<T> held, Segment media)
            where T : Published
        {
            if (_gen >= 0 && media.Gen > _gen)
            {
                Cut(held, media.Gen, media.Pts);
                media = media with { FlushFrom = media.Pts };
            }

            _gen = Math.Max(_gen, media.Gen);
            held.Add((T)(Published)media);
        }

        private void Init(Segment init)
        {
            if (!_initSeen)
            {
                _initSeen = true;
                _ready.Add(init);
            }
        }
    }
}
