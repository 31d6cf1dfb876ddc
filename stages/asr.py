"""The asr stage: voices found in the loop thread, words found in another.

Streams, not items: a session's audio comes here as long as the process lives, and its successor is given again
what was not finished. What was begun, ended and said is told once per utterance number.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSound,
    AsrSpeechConfirmed,
    AsrSpeechEnded,
    AsrSpeechStarted,
    FromStage,
)
from configs import logs
from configs.grid import ASR_RATE
from models.api import Progress, Transcriber, Transcript
from models.asr.echo import Published
from models.asr.finished import backchannel
from models.asr.vad import VoiceDetector
from models.chain.build import transcribers
from models.chain.chain import Chain
from models.chain.transcriber import ChainTranscriber
from stages.asr_transcribe import Job, TranscriptionThread
from stages.microphone import Again, Audio, Began, MicrophoneStream, Step, Still, Sure
from stages.stage import Feed, Stage

SPARE_STREAMS = 2
"""Streams held per stream of credit: one that was moved away may linger until its AsrClose."""
BACKLOG_SAMPLES = 4 * ASR_RATE
"""Undecoded audio of one stream beyond which nothing more is reported as heard, so the broker waits."""

_log = logs.get()
_cooldown = logs.Cooldown()


class _Listener:
    """A stream and its utterances that have no transcript yet."""

    def __init__(self, ear: MicrophoneStream, message: AsrAudio, language: str) -> None:
        self.ear = ear
        self.sid = message.sid
        self.broker = message.broker
        self.language = language
        self.jobs: dict[int, Job] = {}
        """By utterance number, oldest first."""
        self.told = message.at
        """Client's position last reported as heard."""
        self.heard = self.keep = message.at
        """As of the loop thread's last complete step; see ``MicrophoneStream``."""
        self.speaking = ear.speaking
        self.held_back = False


class AsrStage(Stage):
    """Takes ``AsrAudio``, ``AsrSound``, ``AsrClose``; tells ``AsrMark``, ``AsrSpeech*`` and words."""

    name = "asr"

    def setup(self, progress: Progress) -> None:
        """Load the voice detector and the first engine of ``engines.asr`` that runs here."""
        self._detector = VoiceDetector()
        self._detector.load(progress)
        self._engine = transcribers(self.config, self.meter)
        self._engine.load(progress)

    @property
    def engine_chain(self) -> Chain[Transcriber] | None:
        """See ``Stage.engine_chain``."""
        return self._engine.chain if hasattr(self, "_engine") else None

    def teardown(self) -> None:
        """Release detector and engine."""
        if hasattr(self, "_engine"):
            self._engine.close()
        if hasattr(self, "_detector"):
            self._detector.close()

    def run(self, feed: Feed) -> None:
        """Hear all streams until the process ends."""
        _Hearing(self, feed, self._detector, self._engine).run()


class _Hearing:
    """One run of the stage's loop. Everything is done in the loop thread, except what says otherwise."""

    def __init__(self, stage: AsrStage, feed: Feed, detector: VoiceDetector, engine: ChainTranscriber) -> None:
        self._config = stage.config
        self._most = max(1, stage.credit) * SPARE_STREAMS
        self._feed = feed
        self._detector = detector
        self._meter = stage.meter
        self._chain = engine.chain
        self._listeners: OrderedDict[str, _Listener] = OrderedDict()
        self._published: OrderedDict[str, Published] = OrderedDict()
        """By stream, the one used last at the end."""
        self._broker = 0
        self._lock = threading.Lock()
        """Guards each listener's jobs and marks, which both threads use."""
        self._words = TranscriptionThread(engine, feed, self._on_partial, self._on_final, self._on_eased)

    def run(self) -> None:
        """See ``AsrStage.run``."""
        self._words.start()
        try:
            while not self._feed.stopping:
                received = self._feed.messages()
                if received is None:
                    continue
                message, buffers = received if isinstance(received, tuple) else (received, [])
                if isinstance(message, AsrAudio):
                    self._audio(message, buffers)
                elif isinstance(message, AsrSound):
                    self._sound(message, buffers)
                elif isinstance(message, AsrClose):
                    self._forget(message.sid)
                    self._published.pop(message.sid, None)
        finally:
            self._words.stop()

    def _audio(self, message: AsrAudio, buffers: list[memoryview]) -> None:
        data = buffers[0] if buffers else memoryview(b"")
        pcm = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)
        listener = self._listener(message)
        if listener is None:
            heard = message.at + len(pcm)  # it is of no use, but the broker need not wait for it
            self._feed.send(AsrMark(src="", ep=0, sid=message.sid, consumed=heard, keep=heard, speaking=False))
            return
        self._conclude(listener)
        repeated = listener.ear.heard - message.at
        for step in listener.ear.hear(pcm[max(0, repeated) :], end=message.end, time=message.time):
            self._take(listener, step)
        with self._lock:
            ear = listener.ear
            listener.heard, listener.keep, listener.speaking = ear.heard, ear.keep, ear.speaking
        self._mark(listener)

    def _sound(self, message: AsrSound, buffers: list[memoryview]) -> None:
        """What viewers will hear; it comes before a new stream's first audio, too."""
        data = buffers[0] if buffers else memoryview(b"")
        pcm = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)
        self._heard_by(message.sid).add(message.at, pcm)

    def _heard_by(self, sid: str) -> Published:
        found = self._published.setdefault(sid, Published())
        self._published.move_to_end(sid)
        if len(self._published) > 2 * self._most:
            self._published.popitem(last=False)
        return found

    def _listener(self, message: AsrAudio) -> _Listener | None:
        """The stream of this session, begun anew where the message does not go on from it."""
        sid = message.sid
        if message.broker != self._broker:
            self._broker = message.broker
            for other in [name for name, held in self._listeners.items() if held.broker != message.broker]:
                self._forget(other)
        listener = self._listeners.get(sid)
        if listener is not None:
            goes_on = message.at <= listener.ear.heard and message.sample_rate == listener.ear.rate
            if goes_on and not message.reset:
                self._listeners.move_to_end(sid)
                return listener
            self._forget(sid)
        try:
            ear = MicrophoneStream(
                self._config,
                self._detector.stream(),
                message.sample_rate,
                message.at,
                message.utterance,
                speaking=message.reset and message.speaking,
                published=self._heard_by(sid),
            )
        except ValueError as error:
            if _cooldown.ready("asr.refused") is not None:
                _log.warning("asr.refused", sid=sid, reason=str(error))
            return None
        if len(self._listeners) >= self._most:
            oldest = next(iter(self._listeners))
            _log.warning("asr.stream_evicted", sid=oldest, limit=self._most, hint="raise stages.asr.credit")
            self._forget(oldest)
        listener = _Listener(ear, message, message.language or self._config.asr.language)
        self._listeners[sid] = listener
        if ear.speaking:
            self._open(listener, ear.utterance, message.at)
        return listener

    def _forget(self, sid: str) -> None:
        listener = self._listeners.pop(sid, None)
        if listener is None:
            return
        with self._lock:
            jobs = list(listener.jobs.values())
            listener.jobs.clear()
        for job in jobs:
            self._words.drop(job)

    def _open(self, listener: _Listener, utterance: int, audio_from: int) -> None:
        job = Job(listener.sid, utterance, listener.language, listener.broker, audio_from)
        with self._lock:
            listener.jobs[utterance] = job

    def _conclude(self, listener: _Listener) -> None:
        """End an utterance whose words were found to be a finished sentence in a pause that still lasts."""
        with self._lock:
            job = listener.jobs.get(listener.ear.utterance)
        if job is not None and job.complete:
            for step in listener.ear.conclude():
                self._take(listener, step)

    def _take(self, listener: _Listener, step: Step) -> None:
        sid = listener.sid
        if isinstance(step, Began):
            self._open(listener, step.utterance, step.audio_from)
            self._feed.send(AsrSpeechStarted(src="", ep=0, sid=sid, utterance=step.utterance, at=step.at))
            return
        with self._lock:
            job = listener.jobs[step.utterance]
        if isinstance(step, Audio):
            self._words.feed(job, step.pcm)
            return
        if isinstance(step, Sure):
            sure = AsrSpeechConfirmed(src="", ep=0, sid=sid, utterance=step.utterance, at=step.at)
            self._feed.send(sure)
            return
        if isinstance(step, Still | Again):
            self._words.pause(job, still=isinstance(step, Still))
            return
        ended = AsrSpeechEnded(src="", ep=0, sid=sid, utterance=step.utterance, at=step.at, audio_ms=step.audio_ms)
        self._feed.send(ended)
        self._words.finish(job)

    def _mark(self, listener: _Listener) -> None:
        """Both threads: say how far the stream is heard, and what of it is still needed."""
        with self._lock:
            waiting = sum(job.backlog for job in listener.jobs.values())
            listener.held_back = waiting > BACKLOG_SAMPLES
            if not listener.held_back:
                listener.told = listener.heard
            keep = min([listener.keep, *(job.audio_from for job in listener.jobs.values())])
            mark = AsrMark(
                src="",
                ep=0,
                sid=listener.sid,
                consumed=listener.told,
                keep=min(keep, listener.told),
                speaking=listener.speaking,
            )
        self._feed.send(mark)

    # --- in the transcription thread ---

    def _current(self, job: Job) -> _Listener | None:
        listener = self._listeners.get(job.sid)
        with self._lock:
            return listener if listener is not None and listener.jobs.get(job.utterance) is job else None

    def _say(self, job: Job, message: FromStage) -> bool:
        if self._current(job) is None:
            return False
        self._feed.send(message)
        return True

    def _on_partial(self, job: Job, text: str) -> None:
        partial = AsrPartial(src="", ep=0, sid=job.sid, utterance=job.utterance, text=text, language=job.language)
        self._say(job, partial)

    def _on_final(self, job: Job, transcript: Transcript) -> None:
        final = AsrFinal(
            src="",
            ep=0,
            sid=job.sid,
            utterance=job.utterance,
            text=transcript.text,
            confidence=transcript.confidence,
            language=transcript.language or job.language,
            rejected=transcript.rejected,
            backchannel=bool(transcript.text) and backchannel(transcript.text),
            engine=transcript.engine if len(self._chain.names) > 1 else "",
            reason=transcript.reason,
        )
        listener = self._current(job)
        if listener is None or not self._say(job, final):
            return
        with self._lock:
            listener.jobs.pop(job.utterance, None)
        self._meter.count("items")
        # At once: without it a successor would be given this utterance's audio again.
        self._mark(listener)

    def _on_eased(self, job: Job) -> None:
        listener = self._current(job)
        if listener is not None and listener.held_back:
            self._mark(listener)
