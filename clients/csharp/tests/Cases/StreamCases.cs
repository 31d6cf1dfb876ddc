using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;
using Musecast.Streaming;

namespace Musecast.Tests
{
    /// <summary>Hole repair, cuts and bounds over the fake daemon.</summary>
    public static class StreamCases
    {
        private static readonly FollowOptions Patient = new FollowOptions { Quiet = TimeSpan.FromMilliseconds(200) };

        public static async Task WhoJoinsLateAndLosesTheConnectionForThreeSecondsHasEverySegmentOnce()
        {
            using var daemon = new FakeDaemon();
            daemon.Event("turn.started");
            daemon.Media(40); // before anybody listens, more than one batch
            await using var reader = new Reader(daemon, Patient);
            await reader.Until(40);
            daemon.Media(5);
            await reader.Until(45);
            daemon.Connected = false;
            var end = DateTime.UtcNow.AddSeconds(3);
            while (DateTime.UtcNow < end)
            {
                daemon.Media(1);
                daemon.Event("reply.delta");
                await Task.Delay(100);
            }

            daemon.Connected = true;
            daemon.Media(3);
            daemon.Event("turn.ended");
            daemon.Event("session.ended", 0);
            var all = await reader.Rest();
            var segments = all.OfType<Segment>().ToList();
            Check.That(segments[0].IsInit && segments.Count(one => one.IsInit) == 1, "the beginning comes first and once");
            Check.Same(Numbers(daemon.NewestSeq), segments.Skip(1).Select(one => one.Seq), "segments");
            Check.That(segments.Skip(1).All(one => BitConverter.ToInt32(one.Payload, 0) == one.Seq), "each with its payload");
            var events = all.OfType<SessionEvent>().ToList();
            Check.Same(Numbers(events.Count - 1), events.Select(one => one.N), "events");
            Check.Same(new[] { "turn.ended", "session.ended" }, events.Skip(events.Count - 2).Select(one => one.Name), "the end");
            Check.That(all.IndexOf(events[events.Count - 2]) > all.IndexOf(segments[segments.Count - 1]), "media of a turn come before its end");
        }

        public static async Task TheLastMessageMayBeTheLostOne()
        {
            using var daemon = new FakeDaemon();
            await using var reader = new Reader(daemon, Patient);
            daemon.Media(2);
            await reader.Until(2);
            daemon.Connected = false;
            daemon.Media(1);
            daemon.Event("session.ended", 0);
            daemon.Connected = true; // and nothing more comes
            Check.Same(Numbers(2), (await reader.Rest()).OfType<Segment>().Where(one => !one.IsInit).Select(one => one.Seq), "segments");
        }

        public static async Task ACutDropsWhatIsVoidAndShortensWhatStraddlesIt()
        {
            using var daemon = new FakeDaemon();
            using var control = new MusecastControl(daemon);
            var stream = new MusecastStream(daemon, control).FollowAsync(FakeDaemon.Sid, Patient).GetAsyncEnumerator();
            daemon.Media(1);
            Check.That(await stream.MoveNextAsync() && stream.Current is Segment { IsInit: true }, "the beginning");
            Check.That(await stream.MoveNextAsync() && stream.Current is Segment { Seq: 0, FlushFrom: null }, "a segment");
            daemon.Media(4); // 1 to 4 wait unread
            daemon.Cut((2 * FakeDaemon.Quantum) + 160000);
            daemon.Media(1, 2);
            daemon.Event("session.ended", 0);
            var rest = new List<Published>();
            while (await stream.MoveNextAsync())
            {
                rest.Add(stream.Current);
            }

            var media = rest.OfType<Segment>().ToList();
            Check.Same(new[] { 1L, 2L, 5L }, media.Select(one => one.Seq), "what is left");
            Check.Same(new[] { 320000L, 160000L, 320000L }, media.Select(one => one.Keep), "how much of each counts");
            Check.Same(new long?[] { null, null, 800000 }, media.Select(one => one.FlushFrom), "where the new generation begins");
            await stream.DisposeAsync();
        }

        public static async Task ASoundThatWasNoWordsCutsNothing()
        {
            using var daemon = new FakeDaemon();
            using var control = new MusecastControl(daemon);
            var stream = new MusecastStream(daemon, control).SegmentsAsync(FakeDaemon.Sid, Patient).GetAsyncEnumerator();
            daemon.Media(1);
            await stream.MoveNextAsync();
            daemon.Media(3);
            daemon.Event("turn.interrupted", 2, new Map { { "flush_from", FakeDaemon.Quantum }, { "reason", "no_speech" } });
            daemon.Event("session.ended", 0);
            var seqs = new List<long>();
            while (await stream.MoveNextAsync())
            {
                seqs.Add(stream.Current.Seq);
            }

            Check.Same(Numbers(3), seqs, "segments");
            await stream.DisposeAsync();
        }

        public static async Task ASlowReaderHoldsLittleAndMissesNothing()
        {
            using var daemon = new FakeDaemon { InboxMessages = 8 };
            using var control = new MusecastControl(daemon);
            var stream = new MusecastStream(daemon, control).SegmentsAsync(FakeDaemon.Sid, Patient).GetAsyncEnumerator();
            daemon.Media(1);
            Check.That(await stream.MoveNextAsync(), "the beginning");
            daemon.Media(500); // far more than the inbox takes
            daemon.Event("session.ended", 0);
            var seqs = new List<long>();
            while (await stream.MoveNextAsync())
            {
                seqs.Add(stream.Current.Seq);
            }

            Check.Same(Numbers(500), seqs, "segments");
            await stream.DisposeAsync();
        }

        public static async Task WhatTheDaemonHasNoMoreIsNamed()
        {
            using var daemon = new FakeDaemon();
            daemon.Media(10);
            daemon.Oldest = 7;
            daemon.Event("session.ended", 0);
            await using var reader = new Reader(daemon, Patient);
            var all = await reader.Rest();
            var skipped = all.OfType<Skipped>().Single();
            Check.Equal((false, 0L, 6L), (skipped.Events, skipped.First, skipped.Last), "what is missing");
            Check.Same(new[] { -1L, 7L, 8L, 9L }, all.OfType<Segment>().Select(one => one.Seq), "segments");
        }

        public static async Task FromNowOnIsFromNowOn()
        {
            using var daemon = new FakeDaemon();
            daemon.Media(10);
            await using var reader = new Reader(daemon, Patient with { FromNow = true });
            await reader.Until(1); // the beginning of the film
            daemon.Media(2);
            daemon.Event("session.ended", 0);
            Check.Same(new[] { -1L, 10L, 11L }, (await reader.Rest()).OfType<Segment>().Select(one => one.Seq), "segments");
        }

        public static async Task NoSessionAndNoDaemonAreExceptions()
        {
            using var daemon = new FakeDaemon();
            using var control = new MusecastControl(daemon);
            var stream = new MusecastStream(daemon, control);
            await Check.Refused(ErrorCodes.NotFound, async () =>
            {
                await foreach (var _ in stream.FollowAsync("nobody"))
                {
                }
            });
            daemon.Connected = false;
            await Check.Refused(ErrorCodes.NotReady, async () =>
            {
                await foreach (var _ in stream.FollowAsync(FakeDaemon.Sid, Patient with { Gone = TimeSpan.FromSeconds(1) }))
                {
                }
            });
            using var cancel = new CancellationTokenSource(200);
            await Check.Throws<OperationCanceledException>(async () =>
            {
                await foreach (var _ in stream.FollowAsync(FakeDaemon.Sid, Patient, cancel.Token))
                {
                }
            });
        }

        private static IEnumerable<long> Numbers(long last) => Enumerable.Range(0, (int)last + 1).Select(one => (long)one);

        /// <summary>Reads a session beside the case.</summary>
        private sealed class Reader : IAsyncDisposable
        {
            private readonly MusecastControl _control;
            private readonly List<Published> _all = new List<Published>();
            private readonly SemaphoreSlim _more = new SemaphoreSlim(0);
            private readonly Task _reading;

            public Reader(FakeDaemon daemon, FollowOptions options)
            {
                _control = new MusecastControl(daemon);
                _reading = Task.Run(() => Read(new MusecastStream(daemon, _control).FollowAsync(FakeDaemon.Sid, options)));
            }

            /// <summary>Wait until so many segments have come (of a film that begins later: its beginning counts).</summary>
            public async Task Until(int segments)
            {
                while (true)
                {
                    lock (_all)
                    {
                        var media = _all.OfType<Segment>().ToList();
                        if (media.Count >= (media.Any(one => !one.IsInit) ? segments + 1 : segments))
                        {
                            return;
                        }
                    }

                    Check.That(await _more.WaitAsync(TimeSpan.FromSeconds(30)), "segments come");
                }
            }

            public async Task<List<Published>> Rest()
            {
                Check.That(await Task.WhenAny(_reading, Task.Delay(TimeSpan.FromSeconds(60))) == _reading, "the stream ends");
                await _reading;
                return _all;
            }

            public ValueTask DisposeAsync()
            {
                _control.Dispose();
                return default;
            }

            private async Task Read(IAsyncEnumerable<Published> stream)
            {
                await foreach (var message in stream)
                {
                    lock (_all)
                    {
                        _all.Add(message);
                    }

                    _more.Release();
                }
            }
        }
    }
}
