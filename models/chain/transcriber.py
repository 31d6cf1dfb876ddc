"""A chain of recognisers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from configs.grid import ASR_RATE
from models.api import Cancel, EngineError, Pause, Pcm, Progress, Transcriber, Transcript, Utterance
from models.chain.chain import Chain, as_engine_error, exhausted

T = TypeVar("T")
_PROBE = np.zeros(ASR_RATE // 2, np.int16)


class ChainTranscriber:
    """See ``models.api.Transcriber``: a member that fails is followed by the next, with the whole utterance."""

    name = "chain"

    def __init__(self, chain: Chain[Transcriber]) -> None:
        self.chain = chain

    def load(self, progress: Progress) -> None:
        """See ``Chain.load``."""
        self.chain.load(progress)

    def close(self) -> None:
        """Release all members."""
        self.chain.close()

    def open(self, language: str) -> ChainUtterance:
        """See ``models.api.Transcriber``."""
        return ChainUtterance(self.chain, language)


class ChainUtterance:
    """See ``models.api.Utterance``. Its audio is kept for the next member, bounded by the longest utterance."""

    def __init__(self, chain: Chain[Transcriber], language: str) -> None:
        self._chain = chain
        self._language = language
        self._members = chain.order()
        self._alone = len(self._members) == 1
        self._heard: list[Pcm] = []
        self._failures: dict[str, EngineError] = {}
        self._current: Utterance | None = None

    def feed(self, pcm: Pcm) -> str | None:
        """See ``models.api.Utterance``. After a failure the audio is only kept, until ``finish``."""
        if not self._alone:
            self._heard.append(pcm)
        if self._failures or not self._members:
            return None
        name, engine = self._members[0]
        try:
            return self._utterance(engine).feed(pcm)
        except Exception as error:
            if self._alone:
                raise
            self._drop(name, as_engine_error(name, error))
            return None

    def pause(self, cancel: Cancel) -> Pause:
        """See ``models.api.Utterance``. A member that fails here is not asked again; ``finish`` asks the next."""
        if self._failures or not self._members or cancel.is_set():
            return Pause(finished=False)
        name, engine = self._members[0]
        try:
            paused = self._timed(name, self._utterance(engine).pause, cancel)
        except Exception as error:
            if self._alone:
                raise
            self._drop(name, as_engine_error(name, error))
            return Pause(finished=False)
        if paused is None or paused.transcript is None:
            return paused or Pause(finished=False)
        return paused._replace(transcript=paused.transcript._replace(engine=name, reason=self._reason(name)))

    def finish(self, cancel: Cancel) -> Transcript:
        """See ``models.api.Utterance``.

        Raises:
            EngineError: no member could.
        """
        while self._members:
            name, engine = self._members[0]
            try:
                if self._failures and not cancel.is_set():
                    for pcm in self._heard:
                        self._utterance(engine).feed(pcm)
                transcript = self._finish(name, self._utterance(engine), cancel)
            except Exception as error:
                self._drop(name, as_engine_error(name, error))
                continue
            return transcript._replace(engine=name, reason=self._reason(name))
        raise exhausted("asr", self._failures)

    def _finish(self, name: str, utterance: Utterance, cancel: Cancel) -> Transcript:
        found = self._timed(name, utterance.finish, cancel)
        return Transcript("", self._language, 0.0) if found is None else found

    def _timed(self, name: str, call: Callable[[Cancel], T], cancel: Cancel) -> T | None:
        """A member's call within its patience; None when it was cancelled."""
        if self._alone or cancel.is_set():  # nobody else is sooner; a cancelled one only frees what it holds
            return call(cancel)
        audio_s = sum(map(len, self._heard)) / ASR_RATE

        def whole(stop: Cancel) -> Iterator[T]:
            yield call(stop)

        began = time.monotonic()
        patience_s = self._chain.patience_s(name, audio_s, last=len(self._members) == 1)
        attempt = self._chain.attempt(name, whole, cancel)
        try:
            found = list(attempt.take(patience_s, "chain.first_output_s.asr and the length of the audio"))
        finally:
            attempt.abandon()
        if not found:  # cancelled
            return None
        self._chain.worked(name, audio_s, time.monotonic() - began)
        self._chain.succeeded(name)
        return found[0]

    def _utterance(self, engine: Transcriber) -> Utterance:
        if self._current is None:
            self._current = engine.open(self._language)
        return self._current

    def _drop(self, name: str, error: EngineError) -> None:
        self._chain.failed(name, error)
        self._failures[name] = error
        self._members = self._members[1:]
        self._current = None

    def _reason(self, name: str) -> str:
        if self._failures:
            return "; ".join(f"{failed}: {error}" for failed, error in self._failures.items())
        return self._chain.reason(name, self._chain.names)


def probe(engine: Transcriber, cancel: Cancel) -> Iterator[object]:
    """Whether it hears at all: half a second of silence."""
    utterance = engine.open("")
    utterance.feed(_PROBE)
    yield utterance.finish(cancel)
