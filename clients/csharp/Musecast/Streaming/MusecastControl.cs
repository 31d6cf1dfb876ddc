using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Http;
using Musecast.Messages;

namespace Musecast.Streaming
{
    /// <summary>The control socket: many requests at once, each with its time limit. Safe for many threads.</summary>
    /// <remarks>A daemon that was started anew, or says nothing for <see cref="Silence"/>, ends what was asked of it with
    /// <c>NOT_READY</c>; where its broker alone was, what was not answered is asked again.</remarks>
    public sealed class MusecastControl : IDisposable
    {
        /// <summary>For an ordinary request; the daemon answers these within milliseconds.</summary>
        public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

        /// <summary>For what loads, prepares or waits for speech.</summary>
        public static readonly TimeSpan LongLimit = TimeSpan.FromMinutes(15);

        /// <summary>A daemon says something every second.</summary>
        public static readonly TimeSpan Silence = TimeSpan.FromSeconds(6);

        private const int MaxPending = 1024;
        private static readonly TimeSpan Look = TimeSpan.FromSeconds(1);
        private static readonly HashSet<string> LongOperations = new HashSet<string>
        {
            "initialize", "preprocess_template", "start_session", "end_session", "process_segment", "drain", "drain_instance",
        };

        private readonly IMessageSocket _dealer;
        private readonly IMessageSocket _beacons;
        private readonly CancellationTokenSource _closed = new CancellationTokenSource();
        private readonly Dictionary<long, Pending> _pending = new Dictionary<long, Pending>();
        private readonly Task _replies;
        private readonly Task _watch;
        private long _ids;
        private string? _boot;
        private double _uptime;
        private long _heardAt = Environment.TickCount;

        /// <summary>Connect; the transport stays the caller's.</summary>
        public MusecastControl(ITransport transport)
        {
            _dealer = transport.OpenControl();
            _beacons = transport.OpenStream(new[] { "sys." });
            _replies = Task.Run(ReadReplies);
            _watch = Task.Run(ReadBeacons);
        }

        /// <summary>Ask for an operation.</summary>
        /// <param name="operation">Its name, such as "say".</param>
        /// <param name="arguments">Its arguments; bytes as <c>byte[]</c>.</param>
        /// <param name="limit">How long to wait; null: <see cref="Limit"/> or <see cref="LongLimit"/>.</param>
        /// <param name="cancel">Stops the waiting; the daemon does it all the same.</param>
        /// <returns>The result, without <c>v</c>, <c>id</c> and <c>ok</c>.</returns>
        /// <exception cref="MusecastException">It was refused, or nobody answered in time.</exception>
        public async Task<Map> RequestAsync(
            string operation, Map? arguments = null, TimeSpan? limit = null, CancellationToken cancel = default)
        {
            cancel.ThrowIfCancellationRequested(); // what nobody wants any more is not asked
            var wait = limit ?? (LongOperations.Contains(operation) ? LongLimit : Limit);
            var id = Interlocked.Increment(ref _ids);
            var message = new Map { { "v", 1 }, { "id", id }, { "op", operation } };
            foreach (var pair in arguments ?? new Map())
            {
                message[pair.Key] = pair.Value;
            }

            var pending = new Pending(MessagePack.Write(message));
            Enter(id, pending);
            try
            {
                using var timer = CancellationTokenSource.CreateLinkedTokenSource(cancel, _closed.Token);
                timer.CancelAfter(wait);
                using var registration = timer.Token.Register(() => pending.Reply.TrySetCanceled());
                _dealer.Send(pending.Bytes);
                return ResultOf(await pending.Reply.Task.ConfigureAwait(false));
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                throw new MusecastException(
                    ErrorCodes.NotReady,
                    _closed.IsCancellationRequested ? "this client was closed" : "no answer to " + operation + " within " + wait
                        + ": is the daemon running, or is it still starting? `musecast up` starts it");
            }
            finally
            {
                lock (_pending)
                {
                    _pending.Remove(id);
                }
            }
        }

        /// <summary>Begin a session.</summary>
        public async Task<Session> StartSessionAsync(
            string templateId = "default", SessionOptions? options = null, CancellationToken cancel = default) =>
            new Session(await RequestAsync("start_session", (options ?? new SessionOptions()).Arguments(templateId), null, cancel).ConfigureAwait(false));

        /// <summary>Speech in: WAV; with <paramref name="wait"/> it returns when the segments it completed are published.</summary>
        public async Task<SegmentResult> ProcessSegmentAsync(
            string sessionId, byte[] audio, bool last = false, bool wait = false, CancellationToken cancel = default) =>
            new SegmentResult(await RequestAsync(
                "process_segment",
                new Map { { "session_id", sessionId }, { "audio", audio }, { "last", last }, { "wait", wait } },
                null, cancel).ConfigureAwait(false));

        /// <summary>Say a text; the number of the turn.</summary>
        public async Task<int> SayAsync(
            string sessionId, string text, bool append = false, int? turn = null, bool? end = null, CancellationToken cancel = default) =>
            (int)((await RequestAsync(
                "say", Of(sessionId).With("text", text).With("append", append).With("turn", turn).With("end", end), null, cancel)
                .ConfigureAwait(false)).Integer("turn") ?? 0);

        /// <summary>Have the daemon's language model answer; the number of the turn.</summary>
        public async Task<int> ChatAsync(string sessionId, string text, CancellationToken cancel = default) =>
            (int)((await RequestAsync("chat", Of(sessionId).With("text", text), null, cancel).ConfigureAwait(false)).Integer("turn") ?? 0);

        /// <summary>What a microphone heard: s16le, mono.</summary>
        public Task<Map> AudioAsync(
            string sessionId, byte[] pcm, int sampleRate = 16000, bool end = false, CancellationToken cancel = default) =>
            RequestAsync("audio", Of(sessionId).With("pcm", pcm).With("sample_rate", sampleRate).With("end", end), null, cancel);

        /// <summary>Cut what is spoken and what waits.</summary>
        public async Task<Interruption> InterruptAsync(string sessionId, int? turn = null, CancellationToken cancel = default) =>
            new Interruption(await RequestAsync("interrupt", Of(sessionId).With("turn", turn), null, cancel).ConfigureAwait(false));

        /// <summary>Tell how far the viewer has seen.</summary>
        public Task PlayedAsync(string sessionId, long pts, CancellationToken cancel = default) =>
            RequestAsync("played", Of(sessionId).With("pts", pts), null, cancel);

        /// <summary>Keep a session from expiring.</summary>
        public Task KeepAliveAsync(string sessionId, CancellationToken cancel = default) =>
            RequestAsync("keep_alive", Of(sessionId), null, cancel);

        /// <summary>End a session; what it was.</summary>
        public async Task<SessionSummary> EndSessionAsync(string sessionId, bool drain = true, CancellationToken cancel = default) =>
            new SessionSummary(await RequestAsync("end_session", Of(sessionId).With("drain", drain), null, cancel).ConfigureAwait(false));

        /// <summary>Close both sockets; whatever waits ends with <c>NOT_READY</c>.</summary>
        public void Dispose()
        {
            if (_closed.IsCancellationRequested)
            {
                return;
            }

            _closed.Cancel();
            Task.WaitAll(new[] { _replies, _watch }, TimeSpan.FromSeconds(5));
            _dealer.Dispose();
            _beacons.Dispose();
        }

        private static Map Of(string sessionId) => new Map { { "session_id", sessionId } };

        private static Map ResultOf(Map reply)
        {
            if (!reply.Flag("ok"))
            {
                throw MusecastException.From(reply.Inner("error") ?? new Map());
            }

            var result = new Map();
            foreach (var pair in reply)
            {
                if (pair.Key != "v" && pair.Key != "id" && pair.Key != "ok")
                {
                    result[pair.Key] = pair.Value;
                }
            }

            return result;
        }

        private void Enter(long id, Pending pending)
        {
            lock (_pending)
            {
                if (_pending.Count >= MaxPending)
                {
                    throw new MusecastException(
                        ErrorCodes.Busy, MaxPending + " requests of this client wait for their answers, which is the limit: await some first",
                        TimeSpan.FromMilliseconds(100));
                }

                _pending[id] = pending;
            }
        }

        private async Task ReadReplies()
        {
            while (!_closed.IsCancellationRequested)
            {
                try
                {
                    var frames = await _dealer.ReceiveAsync(Look, _closed.Token).ConfigureAwait(false);
                    if (frames != null)
                    {
                        Reply(MessagePack.ReadMap(frames[frames.Length - 1]));
                    }
                }
                catch (FormatException)
                {
                    // Not a reply of any request; its time limit ends it.
                }
                catch (OperationCanceledException)
                {
                    return;
                }
            }
        }

        private void Reply(Map reply)
        {
            Volatile.Write(ref _heardAt, Environment.TickCount);
            Pending? pending = null;
            lock (_pending)
            {
                if (reply.Integer("id") is long id)
                {
                    _pending.TryGetValue(id, out pending);
                }
            }

            pending?.Reply.TrySetResult(reply);
        }

        private async Task ReadBeacons()
        {
            while (!_closed.IsCancellationRequested)
            {
                try
                {
                    var frames = await _beacons.ReceiveAsync(Look, _closed.Token).ConfigureAwait(false);
                    if (frames != null && frames.Length > 1)
                    {
                        Beacon(MessagePack.ReadMap(frames[1]));
                    }

                    CheckSilence();
                }
                catch (FormatException)
                {
                    // Of a later version, perhaps.
                }
                catch (OperationCanceledException)
                {
                    return;
                }
            }
        }

        private void Beacon(Map header)
        {
            Volatile.Write(ref _heardAt, Environment.TickCount);
            var (boot, uptime) = (header.Text("boot"), header.Number("uptime_s") ?? 0);
            if (_boot != null && boot != _boot)
            {
                Fail(_ => true, "the daemon was started anew, and what was under way is lost: ask again");
            }
            else if (_boot != null && uptime < _uptime)
            {
                foreach (var pending in Waiting())
                {
                    _dealer.Send(pending.Bytes);
                }
            }

            (_boot, _uptime) = (boot, uptime);
        }

        private void CheckSilence()
        {
            var silent = unchecked(Environment.TickCount - (int)Volatile.Read(ref _heardAt));
            if (silent >= Silence.TotalMilliseconds)
            {
                Fail(
                    one => one.Age >= Silence,
                    "the daemon says nothing for " + Silence.TotalSeconds + " s: it was stopped, killed or halted, or cannot be reached");
            }
        }

        private void Fail(Func<Pending, bool> which, string reason)
        {
            foreach (var pending in Waiting())
            {
                if (which(pending))
                {
                    pending.Reply.TrySetException(new MusecastException(ErrorCodes.NotReady, reason));
                }
            }
        }

        private List<Pending> Waiting()
        {
            lock (_pending)
            {
                return new List<Pending>(_pending.Values);
            }
        }

        private sealed class Pending
        {
            private readonly int _since = Environment.TickCount;

            public Pending(byte[] bytes) => Bytes = bytes;

            public byte[] Bytes { get; }

            public TimeSpan Age => TimeSpan.FromMilliseconds(unchecked(Environment.TickCount - _since));

            public TaskCompletionSource<Map> Reply { get; } =
                new TaskCompletionSource<Map>(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }
}
