"""The asr stage's second thread: recognition, so that it never delays anybody's voice detection."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from configs import logs
from models.api import EngineError, Pause, Pcm, Transcriber, Transcript, Utterance
from stages.stage import Feed

_log = logs.get()
_cooldown = logs.Cooldown()

JOIN_S = 2.0
"""How long the end of the stage waits for a native call."""

Partial = Callable[["Job", str], None]
Final = Callable[["Job", Transcript], None]
Eased = Callable[["Job"], None]


class Job:
    """One utterance on its way to a transcript."""

    def __init__(self, sid: str, utterance: int, language: str, broker: int, audio_from: int) -> None:
        self.sid = sid
        self.utterance = utterance
        self.language = language
        self.broker = broker
        self.audio_from = audio_from
        """Client's position; kept by the broker until the transcript is there."""
        self.void = threading.Event()
        """Nobody wants it any more."""
        self.waiting: deque[Pcm] = deque()
        self.ended = False
        self.backlog = 0
        """Samples that were not decoded yet."""
        self.pauses = 0
        """Odd while the voice pauses. Written by the loop thread alone."""
        self.looked = 0
        """The pause that the recogniser was asked about last."""
        self.paused: Pause | None = None
        """What it said then; of no use once the voice goes on."""
        self.heard: Utterance | None = None
        self.refused: EngineError | None = None

    @property
    def complete(self) -> bool:
        """Whether what was said before the present pause is a finished sentence."""
        paused = self.paused
        return self._pausing and paused is not None and paused.finished

    @property
    def known(self) -> Transcript | None:
        """The transcript, where it was found in a pause that has lasted to the end."""
        paused = self.paused
        return paused.transcript if self._pausing and paused is not None else None

    @property
    def _pausing(self) -> bool:
        return self.pauses % 2 == 1 and self.looked == self.pauses


class _Unless:
    """A cancel flag: the job is void, or its pause is over."""

    def __init__(self, job: Job, pause: int) -> None:
        self._job, self._pause = job, pause

    def is_set(self) -> bool:
        """See ``models.api.Cancel``."""
        return self._job.void.is_set() or self._job.pauses != self._pause


_CANCELLED = threading.Event()
_CANCELLED.set()


class TranscriptionThread:
    """Feeds jobs to the recogniser, in order within a session, sessions taking turns piece by piece.

    All methods are for the stage's loop thread.

    Each piece counts as work in hand, so that a native call that never returns is found. An exception that escapes
    the thread ends the process: its successor is given the audio again.

    Args:
        engine: loaded.
        feed: told of each piece, and of the thread's failure.
        partial: told each new partial text, in this thread.
        final: told each transcript, exactly once per job that is not void, in this thread.
        eased: told when a job's backlog has been worked off, in this thread.
    """

    def __init__(self, engine: Transcriber, feed: Feed, partial: Partial, final: Final, eased: Eased) -> None:
        self._engine = engine
        self._feed = feed
        self._partial, self._final, self._eased = partial, final, eased
        self._turn = threading.Condition()
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        """By session: jobs without a transcript, oldest first; the session whose turn it is comes first."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="transcribe", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the piece in hand; utterances that are open get no transcript from this process."""
        with self._turn:
            self._stopping = True
            self._lines.clear()
            self._turn.notify()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            _log.warning("asr.thread_stuck", hint="the recogniser's native call has not returned")

    def feed(self, job: Job, pcm: Pcm) -> None:
        """More audio of a job."""
        with self._turn:
            job.waiting.append(pcm)
            job.backlog += len(pcm)
            self._queue(job)

    def pause(self, job: Job, *, still: bool) -> None:
        """The job's voice pauses (its audio so far was fed), or goes on."""
        with self._turn:
            job.pauses += 1
            if still:
                self._queue(job)

    def finish(self, job: Job) -> None:
        """The job's audio is complete."""
        with self._turn:
            job.ended = True
            self._queue(job)

    def drop(self, job: Job) -> None:
        """Nobody wants this job any more; its recogniser is freed."""
        job.void.set()
        with self._turn:
            job.waiting.clear()
            self._turn.notify()

    def _queue(self, job: Job) -> None:
        if self._stopping:
            return
        line = self._lines.setdefault(job.sid, deque())
        if job not in line:
            line.append(job)
        self._turn.notify()

    def _next(self) -> Job | None:
        """The first session's oldest job, when there is something to do for it."""
        for sid, line in self._lines.items():
            job = line[0]
            if job.waiting or job.ended or job.void.is_set():
                self._lines.move_to_end(sid)
                return job
        # A pause is looked at when nobody else waits for words.
        for line in self._lines.values():
            if line[0].pauses % 2 == 1 and line[0].looked != line[0].pauses:
                return line[0]
        return None

    def _leave(self, job: Job) -> None:
        line = self._lines.get(job.sid)
        if line is not None and line[0] is job:
            line.popleft()
            if not line:
                del self._lines[job.sid]

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # whatever it is: without this thread nothing is understood
            self._feed.fail(error)

    def _serve(self) -> None:
        job: Job | None = None

        def something() -> bool:
            nonlocal job
            job = None if self._stopping else self._next()
            return self._stopping or job is not None

        while True:
            with self._turn:
                self._turn.wait_for(something)
                if job is None:
                    return
                pcm = job.waiting.popleft() if job.waiting else None
                last = job.ended and not job.waiting
                if last or job.void.is_set():
                    self._leave(job)
            with self._feed.working(f"words of {job.sid}"):
                self._work(job, pcm, last=last)

    def _work(self, job: Job, pcm: Pcm | None, *, last: bool) -> None:
        if pcm is not None and not job.void.is_set():
            text = self._guarded(job, lambda heard: heard.feed(pcm))
            with self._turn:
                job.backlog -= len(pcm)
            if isinstance(text, str) and not job.void.is_set():
                self._partial(job, text)
            self._eased(job)
        if pcm is None and not last and not job.void.is_set():
            self._look(job)
        elif job.void.is_set():
            if job.heard is not None:
                self._guarded(job, lambda heard: heard.finish(job.void))
            job.heard = None
        elif last:
            known = job.known
            transcript: object = known
            if known is None:
                transcript = self._guarded(job, lambda heard: heard.finish(job.void))
            elif job.heard is not None:
                self._guarded(job, lambda heard: heard.finish(_CANCELLED))  # it only frees what it holds
            job.heard = None
            if not isinstance(transcript, Transcript):
                transcript = Transcript("", job.language, 0.0, rejected=True)
            if not job.void.is_set():
                self._final(job, transcript)

    def _look(self, job: Job) -> None:
        """Ask the recogniser about a pause."""
        pause = job.pauses
        if pause % 2 == 0:
            return
        found = self._guarded(job, lambda heard: heard.pause(_Unless(job, pause)))
        job.paused = found if isinstance(found, Pause) else None
        job.looked = pause

    def _guarded(self, job: Job, call: Callable[[Utterance], object]) -> object:
        """Call the recogniser; its failure ends in an empty, rejected transcript and a line in the log."""
        if job.refused is not None:
            return None
        try:
            if job.heard is None:
                job.heard = self._engine.open(job.language)
            return call(job.heard)
        except Exception as error:  # one bad utterance never ends the process
            known = isinstance(error, EngineError)
            job.refused = error if isinstance(error, EngineError) else EngineError("FAILED", str(error))
            more = _cooldown.ready("asr.failed")
            if more is not None:
                _log.warning("asr.failed", sid=job.sid, reason=str(error), more=more, exc_info=not known)
            return None
