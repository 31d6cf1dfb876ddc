using System.Collections.Generic;
using System.Linq;
using System.Threading.Tasks;
using LiveAvatarService.Avatar;

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
    }
}
