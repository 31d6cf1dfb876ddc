using System;
using System.Threading;
using System.Threading.Tasks;
using Musecast;
using Musecast.Http;
using Musecast.Streaming;

namespace LiveAvatarService.Avatar
{
    /// <summary>A face for a service that has its own language model and voice, or for one that has neither.</summary>
    public sealed class LiveAvatar
    {
        private readonly MusecastControl _control;
        private readonly MusecastStream _stream;
        private readonly ILanguageModel _model;
        private readonly ISpeech _speech;
        private readonly IViewers _viewers;

        /// <summary>Its parts; they stay the caller's.</summary>
        public LiveAvatar(MusecastControl control, MusecastStream stream, ILanguageModel model, ISpeech speech, IViewers viewers) =>
            (_control, _stream, _model, _speech, _viewers) = (control, stream, model, speech, viewers);

        /// <summary>Begin a session, and push its media and events until it ends.</summary>
        /// <returns>The session, and the pushing, which fails when the daemon is gone.</returns>
        public async Task<(Session Session, Task Pushing)> StartAsync(string templateId, CancellationToken cancel = default)
        {
            var session = await _control.StartSessionAsync(templateId, new SessionOptions { Idle = "loop" }, cancel).ConfigureAwait(false);
            return (session, PushAsync(session.SessionId, cancel));
        }

        /// <summary>The service's own words and voice: each sentence is spoken as soon as the model has written it.</summary>
        /// <returns>The turn; null when the model had nothing to say.</returns>
        public async Task<int?> AnswerAsync(string sessionId, string question, CancellationToken cancel = default)
        {
            int? turn = null;
            var audio = Array.Empty<byte>();
            await foreach (var sentence in Sentences.OfAsync(_model.AnswerAsync(question, cancel), cancel).ConfigureAwait(false))
            {
                audio = await _speech.SpeakAsync(sentence, cancel).ConfigureAwait(false);
                turn = (await Patient(() => _control.ProcessSegmentAsync(sessionId, audio, cancel: cancel), turn is null, cancel)
                    .ConfigureAwait(false)).Turn;
            }

            if (turn != null)
            {
                // Nothing more comes: a call without a sample ends the turn now, else it ends 2 s later.
                await _control.ProcessSegmentAsync(sessionId, Wav.EmptyLike(audio), last: true, cancel: cancel).ConfigureAwait(false);
            }

            return turn;
        }

        /// <summary>The daemon's words and voice.</summary>
        public Task<int> ChatAsync(string sessionId, string question, CancellationToken cancel = default) =>
            _control.ChatAsync(sessionId, question, cancel);

        /// <summary>Stop speaking. What a page holds from <see cref="Interruption.FlushFrom"/> on is void.</summary>
        public Task<Interruption> InterruptAsync(string sessionId, CancellationToken cancel = default) =>
            _control.InterruptAsync(sessionId, null, cancel);

        /// <summary>End a session.</summary>
        public Task<SessionSummary> EndAsync(string sessionId, CancellationToken cancel = default) =>
            _control.EndSessionAsync(sessionId, false, cancel);

        private static async Task<T> Patient<T>(Func<Task<T>> work, bool first, CancellationToken cancel)
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    return await work().ConfigureAwait(false);
                }
                catch (MusecastException error) when (first && attempt < 5 && error.Code == ErrorCodes.Busy)
                {
                    await Task.Delay(error.RetryAfter ?? TimeSpan.FromSeconds(1), cancel).ConfigureAwait(false);
                }
            }
        }

        private async Task PushAsync(string sessionId, CancellationToken cancel)
        {
            await foreach (var message in _stream.FollowAsync(sessionId, null, cancel).ConfigureAwait(false))
            {
                await _viewers.PushAsync(sessionId, message, cancel).ConfigureAwait(false);
            }
        }
    }
}
