using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using LiveAvatarService.Avatar;
using Musecast.Messages;
using Musecast.Streaming;

namespace Musecast.Tests
{
    /// <summary>What the sample does by itself.</summary>
    public static class SampleCases
    {
        public static async Task ATextInPiecesBecomesSentences()
        {
            Check.Same(
                new[] { "It costs 3.5 francs.", "Really?", "Yes!", "And then" },
                await All("It co", "sts 3.", "5 francs", ". Rea", "lly? Yes", "! And", " then"), "sentences");
            Check.Same(new[] { "你好。", "我由片段组成！", "再见" }, await All("你好。我由片", "段组成！再见"), "Chinese sentences");
            Check.Equal(0, (await All(" ", "\n\n")).Count, "nothing");
            Check.Same(new[] { 400, 400, 200 }, (await All(new string('a', 1000))).Select(one => one.Length), "a text without an end");
        }

        public static Task AnEmptyFileHasTheSameFormat()
        {
            var (full, empty) = (Voice.Wav(0.5), Wav.EmptyLike(Voice.Wav(0.5)));
            Check.Equal(44, empty.Length, "a head alone");
            Check.Same(full.Skip(8).Take(32), empty.Skip(8).Take(32), "the format");
            Check.Same(new byte[] { 0, 0, 0, 0 }, empty.Skip(40), "no samples");
            return Check.Throws<System.FormatException>(() => Task.Run(() => Wav.EmptyLike(new byte[100])));
        }

        public static async Task OfAnAnswerThatIsInterruptedNothingMoreIsSpoken()
        {
            var (asked, daemon) = Noted();
            using (daemon)
            {
                using var control = new MusecastControl(daemon);
                var parts = new Writer();
                var avatar = new LiveAvatar(control, new MusecastStream(daemon, control), parts, parts, parts);
                var answering = avatar.AnswerAsync("s", "question");
                await parts.WroteOne.WaitAsync();
                await avatar.InterruptAsync("s");
                parts.GoOn.Release();
                Check.Equal(null, await answering, "no turn");
                Check.Same(new[] { "process_segment", "interrupt" }, asked, "requests");
            }
        }

        public static async Task ANewQuestionInterruptsTheAnswerBefore()
        {
            var (asked, daemon) = Noted();
            using (daemon)
            {
                using var control = new MusecastControl(daemon);
                var parts = new Writer();
                var avatar = new LiveAvatar(control, new MusecastStream(daemon, control), parts, parts, parts);
                var first = avatar.AnswerAsync("s", "question");
                await parts.WroteOne.WaitAsync();
                var second = avatar.AnswerAsync("s", "another question");
                await parts.WroteOne.WaitAsync();
                parts.GoOn.Release(2);
                Check.Equal(null, await first, "no turn");
                Check.Equal(1, await second, "a turn");
                Check.Same(
                    new[] { "process_segment", "interrupt", "process_segment", "process_segment", "process_segment" }, asked,
                    "a sentence; two, and the end");
            }
        }

        private static (List<string> Asked, FakeDaemon Daemon) Noted()
        {
            var asked = new List<string>();
            return (asked, new FakeDaemon
            {
                Answer = request =>
                {
                    lock (asked)
                    {
                        asked.Add(request.Text("op")!);
                    }

                    return new Map { { "v", 1 }, { "ok", true }, { "turn", 1 }, { "gen", 1 }, { "flush_from", 0 } };
                },
            });
        }

        private static async Task<List<string>> All(params string[] pieces)
        {
            var all = new List<string>();
            await foreach (var one in Sentences.OfAsync(Of(pieces)))
            {
                all.Add(one);
            }

            return all;
        }

        private static async IAsyncEnumerable<string> Of(string[] pieces)
        {
            foreach (var one in pieces)
            {
                await Task.Yield();
                yield return one;
            }
        }

        /// <summary>A model that writes a sentence, and another one when it is told to.</summary>
        private sealed class Writer : ILanguageModel, ISpeech, IViewers
        {
            public SemaphoreSlim WroteOne { get; } = new SemaphoreSlim(0);

            public SemaphoreSlim GoOn { get; } = new SemaphoreSlim(0);

            public async IAsyncEnumerable<string> AnswerAsync(string question, [EnumeratorCancellation] CancellationToken cancel)
            {
                yield return "One. ";
                WroteOne.Release(); // spoken by now
                await GoOn.WaitAsync(); // and does not look at its token
                yield return "Two. ";
            }

            public Task<byte[]> SpeakAsync(string sentence, CancellationToken cancel) => Task.FromResult(Voice.Wav(0.1));

            public Task PushAsync(string sessionId, Published message, CancellationToken cancel) => Task.CompletedTask;
        }
    }
}
