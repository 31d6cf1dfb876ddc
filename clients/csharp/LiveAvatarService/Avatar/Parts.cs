using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;

namespace LiveAvatarService.Avatar
{
    /// <summary>The service's own language model.</summary>
    public interface ILanguageModel
    {
        /// <summary>The answer, piece by piece as it is made.</summary>
        IAsyncEnumerable<string> AnswerAsync(string question, CancellationToken cancel);
    }

    /// <summary>The service's own text to speech.</summary>
    public interface ISpeech
    {
        /// <summary>A sentence as a WAV file.</summary>
        Task<byte[]> SpeakAsync(string sentence, CancellationToken cancel);
    }

    /// <summary>The browsers that watch a session.</summary>
    public interface IViewers
    {
        /// <summary>Push a message of its stream to all of them.</summary>
        Task PushAsync(string sessionId, Published message, CancellationToken cancel);
    }
}
