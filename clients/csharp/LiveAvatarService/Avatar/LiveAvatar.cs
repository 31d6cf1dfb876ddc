using System;
using System.Collections.Generic;
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

        /// <summary>What is being answered, by session. Whoever takes one out of it disposes of it.</summary>
        private readonly Dictionary<string, CancellationTokenSource> _answers = new Dictionary<string, CancellationTokenSource>();

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
        /// <remarks>A question that comes while another one is answered interrupts that answer.</remarks>
        /// <returns>The turn; null when the model had nothing to say, or was interrupted.</returns>
        public async Task<int?> AnswerAsync(string sessionId, string question, CancellationToken cancel = default)
        {
            var answer = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            var interrupted = answer.Token;
            var before = Replaced(sessionId, answer);
            try
            {
                if (before != null)
                {
                    Stop(before);
                    await _control.InterruptAsync(sessionId, null, interrupted).ConfigureAwait(false);
                }

                return await SpeakAsync(sessionId, question, answer, interrupted).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                return null;
            }
            finally
            {
                if (IsOver(sessionId, answer))
                {
                    answer.Dispose();
                }
            }
        }

        /// <summary>The daemon's words and voice.</summary>
        public Task<int> ChatAsync(string sessionId, string question, CancellationToken cancel = default) =>
            _control.ChatAsync(sessionId, question, cancel);

        /// <summary>Stop speaking. What a page holds from <see cref="Interruption.FlushFrom"/> on is void.</summary>
        public async Task<Interruption> InterruptAsync(string sessionId, CancellationToken cancel = default)
        {
            if (Replaced(sessionId, null) is CancellationTokenSource answer)
            {
                Stop(answer); // or its next sentence would begin another turn
            }

            return await _control.InterruptAsync(sessionId, null, cancel).ConfigureAwait(false);
        }

        /// <summary>End a session.</summary>
        public Task<SessionSummary> EndAsync(string sessionId, CancellationToken cancel = default)
        {
            if (Replaced(sessionId, null) is CancellationTokenSource answer)
            {
                Stop(answer);
            }

            return _control.EndSessionAsync(sessionId, false, cancel);
        }

        private static void Stop(CancellationTokenSource answer)
        {
            answer.Cancel();
            answer.Dispose();
        }

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

        private async Task<int?> SpeakAsync(string sessionId, string question, CancellationTokenSource answer, CancellationToken cancel)
        {
            int? turn = null;
            var audio = Array.Empty<byte>();
            await foreach (var sentence in Sentences.OfAsync(_model.AnswerAsync(question, cancel), cancel).ConfigureAwait(false))
            {
                audio = await _speech.SpeakAsync(sentence, cancel).ConfigureAwait(false);
                turn = (await Patient(() => SendAsync(sessionId, audio, false, answer, cancel), turn is null, cancel).ConfigureAwait(false)).Turn;
            }

            if (turn != null)
            {
                // Nothing more comes: a call without a sample ends the turn now, else it ends 2 s later.
                await SendAsync(sessionId, Wav.EmptyLike(audio), true, answer, cancel).ConfigureAwait(false);
            }

            return turn;
        }

        /// <summary>Speech of an answer, unless another one or an interruption has taken its place.</summary>
        private Task<SegmentResult> SendAsync(string sessionId, byte[] audio, bool last, CancellationTokenSource answer, CancellationToken cancel)
        {
            lock (_answers)
            {
                // Sent within the lock, so that nothing of an answer leaves after what interrupts it.
                return _answers.TryGetValue(sessionId, out var current) && ReferenceEquals(current, answer)
                    ? _control.ProcessSegmentAsync(sessionId, audio, last, cancel: cancel)
                    : throw new OperationCanceledException(cancel);
            }
        }

        /// <summary>Put another answer, or none, in the place of the one that is; that one.</summary>
        private CancellationTokenSource? Replaced(string sessionId, CancellationTokenSource? by)
        {
            lock (_answers)
            {
                _answers.Remove(sessionId, out var before);
                if (by != null)
                {
                    _answers[sessionId] = by;
                }

                return before;
            }
        }

        private bool IsOver(string sessionId, CancellationTokenSource answer)
        {
            lock (_answers)
            {
                return _answers.TryGetValue(sessionId, out var current) && ReferenceEquals(current, answer) && _answers.Remove(sessionId);
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
