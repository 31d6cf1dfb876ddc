using System;
using System.Text;

namespace LiveAvatarService.Avatar
{
    /// <summary>WAV files, as far as a service has to know them.</summary>
    public static class Wav
    {
        /// <summary>A file of the same format without a sample: the last call of a turn must have the turn's format.</summary>
        /// <exception cref="FormatException">It is no WAV file.</exception>
        public static byte[] EmptyLike(byte[] wav)
        {
            var at = wav.AsSpan().IndexOf(Encoding.ASCII.GetBytes("data"));
            if (at < 12)
            {
                throw new FormatException("no WAV file: it has no samples");
            }

            var empty = new byte[at + 8];
            Array.Copy(wav, empty, at + 4);
            BitConverter.GetBytes(at).CopyTo(empty, 4); // of what follows the first eight bytes
            return empty;
        }
    }
}
