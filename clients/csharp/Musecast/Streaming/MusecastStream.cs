using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;

namespace Musecast.Streaming
{
    /// <summary>Where to begin, and how patient to be.</summary>
    public sealed record FollowOptions
    {
        /// <summary>The first segment; 0: from the session's beginning, as far as the daemon still has it.</summary>
        public long FromSeq { get; init; }

        /// <summary>The first event.</summary>
        public long FromN { get; init; }

        /// <summary>Begin with what is published next, whatever the two above say.</summary>
        public bool FromNow { get; init; }

        /// <summary>After so long without a message it is asked whether one was lost.</summary>
        public TimeSpan Quiet { get; init; } = TimeSpan.FromSeconds(2);

        /// <summary>After so long without any answer the daemon is gone: <c>NOT_READY</c>.</summary>
        public TimeSpan Gone { get; init; } = TimeSpan.FromSeconds(60);
    }

    /// <summary>The stream of sessions: in order, each message once, also over lost connections.</summary>
    /// <remarks>
    /// Holes are read back with <c>segments</c> and <c>events</c>; what the daemon has no more is a <see cref="Skipped"/>.
    /// Whoever reads slowly holds no more than the transport's inbox and a batch: what does not fit is read back later.
    /// </remarks>
    public sealed class MusecastStream
    {
        private readonly ITransport _transport;
        private readonly MusecastControl _control;

        /// <summary>A stream beside this control socket; both stay the caller's.</summary>
        public MusecastStream(ITransport transport, MusecastControl control)
        {
            _transport = transport;
            _control = control;
        }

        /// <summary>Media of a session: first <see cref="Segment.IsInit"/>, then by number; ends with the session.</summary>
        /// <exception cref="MusecastException"><c>NOT_FOUND</c>: no such session; <c>NOT_READY</c>: the daemon is gone.</exception>
        public async IAsyncEnumerable<Segment> SegmentsAsync(
            string sessionId, FollowOptions? options = null, [EnumeratorCancellation] CancellationToken cancel = default)
        {
            await foreach (var message in FollowAsync(sessionId, options, cancel).ConfigureAwait(false))
            {
                if (message is Segment segment)
                {
                    yield return segment;
                }
            }
        }

        /// <summary>Media and events of a session (<see cref="Segment"/>, <see cref="SessionEvent"/>, <see cref="Skipped"/>); ends with it.</summary>
        /// <exception cref="MusecastException"><c>NOT_FOUND</c>: no such session; <c>NOT_READY</c>: the daemon is gone.</exception>
        public async IAsyncEnumerable<Published> FollowAsync(
            string sessionId, FollowOptions? options = null, [EnumeratorCancellation] CancellationToken cancel = default)
        {
            options ??= new FollowOptions();
            using var socket = _transport.OpenStream(new[] { "evt." + sessionId + ".", "seg." + sessionId + "." });
            var heard = Stopwatch.StartNew();
            var (seq, n) = options.FromNow ? await Newest(sessionId, cancel).ConfigureAwait(false) : (options.FromSeq, options.FromN);
            var order = new Order(sessionId, seq, n);
            while (true)
            {
                cancel.ThrowIfCancellationRequested();
                if (order.Repairing)
                {
                    await Repair(order, sessionId, options, heard, cancel).ConfigureAwait(false);
                }
                else
                {
                    Drain(socket, order, heard);
                }

                if (order.Next() is Published message)
                {
                    yield return message;
                    if (message is SessionEvent { Name: "session.ended" })
                    {
                        yield break;
                    }
                }
                else if (!order.Repairing)
                {
                    await Wait(socket, order, options, heard, cancel).ConfigureAwait(false);
                }
            }
        }

        private static void Take(byte[][] frames, Order order)
        {
            try
            {
                if (frames.Length > 1 && Published.Of(MessagePack.ReadMap(frames[1]), frames.Length > 2 ? frames[2] : Array.Empty<byte>())
                    is Published message)
                {
                    order.Live(message);
                }
            }
            catch (FormatException)
            {
                order.Doubt(); // damaged on its way: it is read back
            }
        }

        private static void Drain(IMessageSocket socket, Order order, Stopwatch heard)
        {
            while (!order.Full && !order.Repairing && socket.TryReceive() is byte[][] frames)
            {
                heard.Restart();
                Take(frames, order);
            }
        }

        private static async Task Wait(IMessageSocket socket, Order order, FollowOptions options, Stopwatch heard, CancellationToken cancel)
        {
            var frames = await socket.ReceiveAsync(options.Quiet, cancel).ConfigureAwait(false);
            if (frames is null)
            {
                order.Doubt();
                return;
            }

            heard.Restart();
            Take(frames, order);
        }

        private async Task Repair(Order order, string sessionId, FollowOptions options, Stopwatch heard, CancellationToken cancel)
        {
            try
            {
                if (order.WantsEvents)
                {
                    var reply = await Ask("events", sessionId, "from_n", order.NextN, cancel).ConfigureAwait(false);
                    var found = reply.Items("events").Select(Header).Select(one => Published.Of(one, Array.Empty<byte>()));
                    order.Events(found.OfType<SessionEvent>(), reply.Integer("oldest_n"), reply.Integer("newest_n"));
                    heard.Restart();
                }

                if (order.WantsSegments)
                {
                    var reply = await Ask("segments", sessionId, "from_seq", order.NextSeq, cancel).ConfigureAwait(false);
                    var found = reply.Items("segments").OfType<List<object?>>().Where(one => one.Count > 1)
                        .Select(one => Published.Of(Header(one[0]), one[1] as byte[] ?? Array.Empty<byte>()));
                    order.Segments(reply.Bytes("init"), found.OfType<Segment>(), reply.Integer("oldest_seq"), reply.Integer("newest_seq"));
                    heard.Restart();
                }
            }
            catch (MusecastException error) when (error.Code == ErrorCodes.NotReady && heard.Elapsed < options.Gone)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(250), cancel).ConfigureAwait(false); // connects again meanwhile
            }
        }

        private static Map Header(object? raw) => raw switch
        {
            Map map => map,
            byte[] bytes => MessagePack.ReadMap(bytes),
            _ => new Map(),
        };

        private async Task<(long Seq, long N)> Newest(string sessionId, CancellationToken cancel)
        {
            var events = await Ask("events", sessionId, "from_n", 0, cancel, 1).ConfigureAwait(false);
            var segments = await Ask("segments", sessionId, "from_seq", 0, cancel, 1).ConfigureAwait(false);
            return ((segments.Integer("newest_seq") ?? -1) + 1, (events.Integer("newest_n") ?? -1) + 1);
        }

        private Task<Map> Ask(string operation, string sessionId, string from, long number, CancellationToken cancel, int? max = null) =>
            _control.RequestAsync(
                operation, new Map { { "session_id", sessionId }, { from, number } }.With("max", max), TimeSpan.FromSeconds(3), cancel);
    }
}
