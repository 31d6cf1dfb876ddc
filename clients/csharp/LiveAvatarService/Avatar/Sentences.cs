using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace LiveAvatarService.Avatar
{
    /// <summary>Cuts a text that is still being written into sentences, each as soon as it is complete.</summary>
    public static class Sentences
    {
        private const string Ends = ".!?。！？\n";
        private const int MaxChars = 400;

        /// <summary>The sentences of these pieces; what is left at the end is one, too.</summary>
        public static async IAsyncEnumerable<string> OfAsync(
            IAsyncEnumerable<string> pieces, [EnumeratorCancellation] CancellationToken cancel = default)
        {
            var text = new StringBuilder();
            await foreach (var piece in pieces.WithCancellation(cancel).ConfigureAwait(false))
            {
                foreach (var one in piece)
                {
                    // "3.5" goes on; "end. Next" does not: a Latin full stop needs the space after it.
                    if (char.IsWhiteSpace(one) && text.Length > 0 && ".!?".IndexOf(text[text.Length - 1]) >= 0)
                    {
                        yield return Taken(text);
                        continue;
                    }

                    text.Append(one);
                    if ((Ends.IndexOf(one) > 2 || text.Length >= MaxChars) && text.ToString().Trim().Length > 0)
                    {
                        yield return Taken(text);
                    }
                }
            }

            if (text.ToString().Trim().Length > 0)
            {
                yield return Taken(text);
            }
        }

        private static string Taken(StringBuilder text)
        {
            var sentence = text.ToString().Trim();
            text.Clear();
            return sentence;
        }
    }
}
