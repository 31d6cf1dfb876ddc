using System.Runtime.CompilerServices;
using LiveAvatarService.Avatar;

/// <summary>In the place of a language model: says what it was told.</summary>
internal sealed class Echo : ILanguageModel
{
    public async IAsyncEnumerable<string> AnswerAsync(string question, [EnumeratorCancellation] CancellationToken cancel)
    {
        foreach (var word in question.Split(' '))
        {
            await Task.Delay(50, cancel);
            yield return word + " ";
        }
    }
}

/// <summary>In the place of a voice: a second of nothing for each sentence.</summary>
internal sealed class Silence : ISpeech
{
    public Task<byte[]> SpeakAsync(string sentence, CancellationToken cancel)
    {
        const int rate = 16000;
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write(System.Text.Encoding.ASCII.GetBytes("RIFF"));
        writer.Write(36 + (2 * rate));
        writer.Write(System.Text.Encoding.ASCII.GetBytes("WAVEfmt "));
        writer.Write(16);
        writer.Write((short)1);
        writer.Write((short)1);
        writer.Write(rate);
        writer.Write(2 * rate);
        writer.Write((short)2);
        writer.Write((short)16);
        writer.Write(System.Text.Encoding.ASCII.GetBytes("data"));
        writer.Write(2 * rate);
        writer.Write(new byte[2 * rate]);
        writer.Flush();
        return Task.FromResult(stream.ToArray());
    }
}
