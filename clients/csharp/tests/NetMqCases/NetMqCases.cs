using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using LiveAvatarService.Avatar;
using Musecast.Http;
using Musecast.Messages;
using Musecast.NetMq;
using Musecast.Streaming;

namespace Musecast.Tests
{
    /// <summary>The two sockets of a real daemon over NetMQ.</summary>
    public static class NetMqCases
    {
        /// <summary>The control address; MUSECAST_STREAM is the other one.</summary>
        public const string Needs = "MUSECAST_CONTROL";

        private const string Words = "This text is long enough for a connection to be lost while it is spoken. It goes on for a "
            + "while, sentence by sentence, and says nothing of importance. Whoever reads the stream has to have every piece of it. "
            + "Not one may be missing, and not one may come twice. The connection is lost for three seconds and comes back. "
            + "What was published meanwhile is read back from the daemon, and then it goes on as if nothing had happened.";

        public static async Task WhoJoinsLateAndLosesTheConnectionForThreeSecondsHasEverySegmentOnce()
        {
            using var proxy = new Proxy(Case.Setting("MUSECAST_STREAM")!);
            using var transport = new NetMqTransport(Case.Setting(Needs)!, "tcp://127.0.0.1:" + proxy.Port);
            using var control = new MusecastControl(transport);
            var session = await control.StartSessionAsync("default", new SessionOptions { Idle = "none" });
            await control.SayAsync(session.SessionId, Words);
            await HasPublished(control, session.SessionId, 2);
            var all = new List<Published>();
            Task? lost = null, ended = null;
            await foreach (var message in new MusecastStream(transport, control).FollowAsync(session.SessionId))
            {
                all.Add(message);
                if (message is Segment { Seq: >= 4 } && lost is null)
                {
                    lost = proxy.Lose(TimeSpan.FromSeconds(3));
                }

                if (message is SessionEvent { EndsTurn: true } && ended is null)
                {
                    ended = control.EndSessionAsync(session.SessionId);
                }
            }

            await lost!;
            await ended!;
            var segments = all.OfType<Segment>().ToList();
            Check.That(segments[0].IsInit && segments.Count(one => one.IsInit) == 1, "the beginning comes first and once");
            var media = segments.Skip(1).ToList();
            Console.WriteLine("      " + media.Count + " segments, " + media.Sum(one => one.Dur) / 1e6 + " s");
            Check.That(media.Sum(one => one.Dur) > 6_000_000, "longer than the loss");
            Check.Same(Enumerable.Range(0, media.Count).Select(one => (long)one), media.Select(one => one.Seq), "segments");
            Check.That(media.All(one => one.Intact), "each as it was sent");
            var events = all.OfType<SessionEvent>().ToList();
            Check.Same(Enumerable.Range(0, events.Count).Select(one => (long)one), events.Select(one => one.N), "events");
            Check.That(all.IndexOf(media[media.Count - 1]) < all.FindIndex(one => one is SessionEvent { Name: "turn.ended" }), "media before the turn's end");
        }

        public static async Task ManyRequestsAtOnceAreEachAnswered()
        {
            using var transport = new NetMqTransport(Case.Setting(Needs)!, Case.Setting("MUSECAST_STREAM")!);
            using var control = new MusecastControl(transport);
            var all = await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => control.RequestAsync("health")));
            Check.That(all.All(one => one.Text("status") is "ok" or "degraded"), "200 answers");
            await Check.Refused(ErrorCodes.NotFound, () => control.SayAsync("nobody", "words"));
            await Check.Refused(ErrorCodes.Unsupported, () => control.RequestAsync("no_such_operation"));
        }

        public static async Task NobodyThereIsNotReady()
        {
            using var transport = new NetMqTransport("tcp://127.0.0.1:9", "tcp://127.0.0.1:9");
            using var control = new MusecastControl(transport);
            await Check.Refused(ErrorCodes.NotReady, () => control.StartSessionAsync());
        }

        public static async Task TheSampleSpeaksWithItsOwnVoiceAndWithTheDaemons()
        {
            using var transport = new NetMqTransport(Case.Setting(Needs)!, Case.Setting("MUSECAST_STREAM")!);
            using var control = new MusecastControl(transport);
            var parts = new Parts();
            var avatar = new LiveAvatar(control, new MusecastStream(transport, control), parts, parts, parts);
            var (session, pushing) = await avatar.StartAsync("default");
            Check.Equal(1, await avatar.AnswerAsync(session.SessionId, "question"), "a turn of its own voice");
            Check.Equal(2, await avatar.ChatAsync(session.SessionId, "What can you do?"), "a turn of the daemon's");
            await parts.Until(2);
            await avatar.EndAsync(session.SessionId);
            await pushing;
            var pushed = parts.Pushed.OfType<Segment>().ToList();
            Check.That(pushed[0].IsInit, "the beginning first");
            Check.That(pushed.Where(one => one.Turn == 1).Sum(one => one.Dur) >= 1_600_000, "two sentences of 0.8 s");
            Check.That(pushed.Any(one => one.Turn == 2), "an answer");
        }

        private static async Task HasPublished(MusecastControl control, string sid, int count)
        {
            var until = DateTime.UtcNow.AddSeconds(60);
            while (((await control.RequestAsync("segments", new Map { { "session_id", sid }, { "from_seq", 0 }, { "max", 1 } }))
                .Integer("newest_seq") ?? -1) < count)
            {
                Check.That(DateTime.UtcNow < until, "something is published");
                await Task.Delay(50);
            }
        }

        private sealed class Parts : ILanguageModel, ISpeech, IViewers
        {
            private readonly SemaphoreSlim _turnEnded = new SemaphoreSlim(0);

            public List<Published> Pushed { get; } = new List<Published>();

            public async IAsyncEnumerable<string> AnswerAsync(string question, [EnumeratorCancellation] CancellationToken cancel)
            {
                foreach (var piece in new[] { "One sen", "tence. And ", "another." })
                {
                    await Task.Delay(20, cancel);
                    yield return piece;
                }
            }

            public Task<byte[]> SpeakAsync(string sentence, CancellationToken cancel) => Task.FromResult(Voice.Wav(0.8));

            public Task PushAsync(string sessionId, Published message, CancellationToken cancel)
            {
                Pushed.Add(message);
                if (message is SessionEvent { EndsTurn: true })
                {
                    _turnEnded.Release();
                }

                return Task.CompletedTask;
            }

            public async Task Until(int turns)
            {
                for (; turns > 0; turns--)
                {
                    Check.That(await _turnEnded.WaitAsync(TimeSpan.FromSeconds(60)), "turns end");
                }
            }
        }
    }
}
