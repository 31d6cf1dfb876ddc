using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;
using Musecast.Streaming;

namespace Musecast.Tests
{
    /// <summary>A daemon of one session behind the transport's interface: publishes, keeps, answers, and loses connections.</summary>
    public sealed class FakeDaemon : ITransport
    {
        public const string Sid = "s1";
        public const long Quantum = 320000;
        private readonly List<Socket> _sockets = new List<Socket>();
        private readonly List<(byte[] Header, byte[] Payload)> _segments = new List<(byte[], byte[])>();
        private readonly List<byte[]> _events = new List<byte[]>();
        private long _pts;
        private double _uptime;

        /// <summary>Nothing arrives either way while it is false.</summary>
        public bool Connected { get; set; } = true;

        /// <summary>What is older is not kept.</summary>
        public long Oldest { get; set; }

        public string Boot { get; set; } = "b1";

        public long Gen { get; private set; }

        public int InboxMessages { get; set; } = 4096;

        /// <summary>How many requests were answered, by operation.</summary>
        public Dictionary<string, int> Asked { get; } = new Dictionary<string, int>();

        /// <summary>Answers of a case's own; null: none at all.</summary>
        public Func<Map, Map?>? Answer { get; set; }

        public long NewestSeq => _segments.Count - 1;

        public IMessageSocket OpenControl() => Opened(new Socket(this, null));

        public IMessageSocket OpenStream(IReadOnlyList<string> topics) => Opened(new Socket(this, topics));

        public void Dispose()
        {
        }

        /// <summary>Publish so many segments of a turn.</summary>
        public void Media(int count, int turn = 1)
        {
            for (var index = 0; index < count; index++)
            {
                var payload = BitConverter.GetBytes(_segments.Count);
                var header = new Map
                {
                    { "v", 1 }, { "boot", Boot }, { "sid", Sid }, { "kind", "media" }, { "gen", Gen }, { "turn", turn },
                    { "seq", _segments.Count }, { "pts", _pts }, { "dur", Quantum }, { "frames", 8 }, { "last", false },
                };
                _pts += Quantum;
                _segments.Add((MessagePack.Write(header), payload));
                Publish("seg." + Sid + ".", _segments[_segments.Count - 1].Header, payload);
            }
        }

        /// <summary>Publish an event.</summary>
        public void Event(string name, int turn = 1, Map? data = null)
        {
            _events.Add(MessagePack.Write(new Map
            {
                { "v", 1 }, { "boot", Boot }, { "sid", Sid }, { "n", _events.Count }, { "event", name }, { "turn", turn }, { "data", data ?? new Map() },
            }));
            Publish("evt." + Sid + ".", _events[_events.Count - 1], Array.Empty<byte>());
        }

        /// <summary>Cut: the event, and a new generation that begins there.</summary>
        public void Cut(long flushFrom, int turn = 1)
        {
            Gen++;
            _pts = flushFrom;
            Event("turn.interrupted", turn, new Map { { "flush_from", flushFrom }, { "reason", "client" } });
        }

        /// <summary>A beacon of this start, or of another broker.</summary>
        public void Beacon(double uptime) =>
            Publish("sys.", MessagePack.Write(new Map { { "v", 1 }, { "boot", Boot }, { "uptime_s", _uptime = uptime } }), Array.Empty<byte>());

        private IMessageSocket Opened(Socket socket)
        {
            lock (_sockets)
            {
                _sockets.Add(socket);
            }

            return socket;
        }

        private void Publish(string topic, byte[] header, byte[] payload)
        {
            lock (_sockets)
            {
                foreach (var one in _sockets.Where(one => Connected && one.Topics?.Any(topic.StartsWith) == true))
                {
                    one.Inbox.Post(new[] { System.Text.Encoding.ASCII.GetBytes(topic), header, payload });
                }
            }
        }

        private void Ask(byte[] frame, Inbox to)
        {
            if (!Connected)
            {
                return;
            }

            var request = MessagePack.ReadMap(frame);
            var operation = request.Text("op")!;
            lock (Asked)
            {
                Asked[operation] = (Asked.TryGetValue(operation, out var count) ? count : 0) + 1;
            }

            var reply = Answer != null ? Answer(request) : Reply(request);
            if (reply != null)
            {
                reply["id"] = request["id"];
                to.Post(new[] { MessagePack.Write(reply) });
            }
        }

        private Map Reply(Map request)
        {
            var reply = new Map { { "v", 1 }, { "id", null }, { "ok", true } };
            if (request.Text("session_id") != Sid)
            {
                reply["ok"] = false;
                reply["error"] = new Map { { "code", "NOT_FOUND" }, { "message", "no such session" } };
            }
            else if (request.Text("op") == "segments")
            {
                var from = Math.Max(Oldest, request.Integer("from_seq") ?? 0);
                var found = _segments.Skip((int)from).Take((int)(request.Integer("max") ?? 16));
                reply["init"] = new byte[] { 9 };
                reply["segments"] = found.Select(one => new List<object?> { one.Header, one.Payload }).Cast<object?>().ToList();
                reply["oldest_seq"] = _segments.Count > 0 ? Oldest : (object?)null;
                reply["newest_seq"] = _segments.Count > 0 ? NewestSeq : (object?)null;
            }
            else if (request.Text("op") == "events")
            {
                var found = _events.Skip((int)(request.Integer("from_n") ?? 0)).Take((int)(request.Integer("max") ?? 256));
                reply["events"] = found.Cast<object?>().ToList();
                reply["oldest_n"] = _events.Count > 0 ? 0 : (object?)null;
                reply["newest_n"] = _events.Count > 0 ? _events.Count - 1 : (object?)null;
            }

            return reply;
        }

        private sealed class Socket : IMessageSocket
        {
            private readonly FakeDaemon _daemon;

            public Socket(FakeDaemon daemon, IReadOnlyList<string>? topics) =>
                (_daemon, Topics, Inbox) = (daemon, topics, new Inbox(daemon.InboxMessages));

            public IReadOnlyList<string>? Topics { get; }

            public Inbox Inbox { get; }

            public void Send(byte[] frame) => _daemon.Ask(frame, Inbox);

            public Task<byte[][]?> ReceiveAsync(TimeSpan wait, CancellationToken cancel) => Inbox.ReceiveAsync(wait, cancel);

            public byte[][]? TryReceive() => Inbox.TryReceive();

            public void Dispose()
            {
                lock (_daemon._sockets)
                {
                    _daemon._sockets.Remove(this);
                }
            }
        }
    }
}
