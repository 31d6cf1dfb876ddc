using System;
using System.IO;

namespace Musecast.Tests
{
    /// <summary>A voice, more or less.</summary>
    public static class Voice
    {
        private const int Rate = 16000;

        /// <summary>So many seconds of it as a WAV file, beginning at a moment of it.</summary>
        public static byte[] Wav(double seconds, double from = 0)
        {
            var samples = (int)(seconds * Rate);
            using var stream = new MemoryStream();
            using var writer = new BinaryWriter(stream);
            writer.Write(0x46464952); // RIFF
            writer.Write(36 + (2 * samples));
            writer.Write(0x45564157); // WAVE
            writer.Write(0x20746d66); // fmt
            writer.Write(16);
            writer.Write((short)1);
            writer.Write((short)1);
            writer.Write(Rate);
            writer.Write(2 * Rate);
            writer.Write((short)2);
            writer.Write((short)16);
            writer.Write(0x61746164); // data
            writer.Write(2 * samples);
            for (var index = 0; index < samples; index++)
            {
                var time = from + ((double)index / Rate);
                writer.Write((short)(8000 * Math.Sin(2 * Math.PI * 140 * time) * (0.6 + (0.4 * Math.Sin(2 * Math.PI * 4 * time)))));
            }

            writer.Flush();
            return stream.ToArray();
        }
    }
}
