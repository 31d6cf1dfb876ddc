"""Where an utterance begins and ends: a pure function of voice probabilities.

Positions are 16 kHz samples since the stream's start. One probability covers one window of ``vad.WINDOW``
samples. Hysteresis follows Silero's own reference: a voice begins at ``threshold`` and lasts while the
probability stays above ``threshold - 0.15``.
"""

from __future__ import annotations

from typing import NamedTuple

from configs.grid import ASR_RATE as RATE
from configs.schema import Asr

WINDOW = 512
HYSTERESIS = 0.15
GRID = 640
"""Utterances' audio begins at a multiple of this (40 ms): a whole sample at every usual rate, 11025 Hz included,
so a replay from there hears the very same samples."""
LOWEST = 0.01
"""The lower threshold is never below this, so that silence ends every utterance."""


class Started(NamedTuple):
    """A voice has begun; told when ``min_speech_ms`` of it are certain."""

    at: int
    """First voiced sample."""
    audio_from: int
    """Where the utterance's audio begins: up to ``pad_ms`` before ``at``, never inside the one before."""


class Confirmed(NamedTuple):
    """``barge_in_ms`` of the open utterance are voiced."""

    at: int
    """End of the window that made it so."""


class Paused(NamedTuple):
    """The voice has been silent for ``finished_silence_ms``; told once until it is heard again."""

    at: int
    """End of the last voiced window."""


class Resumed(NamedTuple):
    """The voice is heard again after it paused."""


class Ended(NamedTuple):
    """The voice has ended."""

    at: int
    """End of the last voiced window."""
    forced: bool
    """By the longest utterance or by the client, not by silence."""


Event = Started | Confirmed | Paused | Resumed | Ended


class Endpointer:
    """The policy of one stream.

    Args:
        settings: thresholds and durations.
        limit_s: an utterance is ended when its audio is this long.
        at: position of the first window.
        speaking: an utterance whose audio begins at ``at`` is already open (replay after a restart).
    """

    def __init__(self, settings: Asr, limit_s: float, at: int = 0, *, speaking: bool = False) -> None:
        self._on = settings.vad_threshold
        self._off = max(settings.vad_threshold - HYSTERESIS, min(LOWEST, settings.vad_threshold))
        self._min_speech = settings.min_speech_ms * RATE // 1000
        self._min_silence = max(settings.min_silence_ms * RATE // 1000, WINDOW)
        self._pause = max(settings.finished_silence_ms * RATE // 1000, WINDOW)
        self._confirm = settings.barge_in_ms * RATE // 1000
        self._confirmed = self._paused = False
        self._pad = settings.pad_ms * RATE // 1000
        self._limit = max(int(limit_s * RATE), WINDOW)
        self._floor = at
        """Audio before this belongs to the utterance before."""
        self.position = at
        """End of the last window seen."""
        self.speaking = speaking
        self._begun: int | None = at if speaking else None
        """First voiced sample of the open or of a candidate utterance."""
        self._audio_from = at
        # The pad before the first voice of a replayed utterance is not the silence that ends it.
        self._last_voiced = at + self._pad if speaking else at
        self._voiced = 0
        """Voiced samples of a candidate."""

    @property
    def needed_from(self) -> int:
        """Audio before this will not be asked for: an open (or possible) utterance's beginning, else the pad."""
        if self.speaking:
            return self._audio_from
        return self._padded(self.position if self._begun is None else self._begun)

    def window(self, probability: float) -> list[Event]:
        """Take the next window; what follows from it, in order."""
        begin, self.position = self.position, self.position + WINDOW
        active = self._begun is not None
        voiced = probability >= (self._off if active else self._on)
        events: list[Event] = []
        if voiced:
            if self._begun is None:
                self._begun, self._voiced = begin, 0
            self._last_voiced = self.position
            self._voiced += WINDOW
            if not self.speaking and self._voiced >= self._min_speech:
                events.append(self._start())
            if self._paused:
                self._paused = False
                events.append(Resumed())
            if self.speaking and not self._confirmed and self._voiced >= self._confirm:
                self._confirmed = True
                events.append(Confirmed(self.position))
        elif active and not self.speaking and self.position - self._last_voiced >= self._min_speech:
            self._begun = None  # a click, not a voice
        if self.speaking:
            if self.position - self._last_voiced >= self._min_silence:
                events.append(self._end(forced=False))
            elif self.position - self._audio_from >= self._limit:
                events.append(self._end(forced=True))
            elif not self._paused and self.position - self._last_voiced >= self._pause:
                self._paused = True
                events.append(Paused(self._last_voiced))
        return events

    def conclude(self) -> list[Event]:
        """What was said is a finished sentence: a voice that still pauses has ended."""
        return [self._end(forced=False)] if self.speaking and self._paused else []

    def end(self) -> list[Event]:
        """The client says that the utterance ends here: decide what was still open."""
        if self.speaking:
            return [self._end(forced=True)]
        if self._begun is not None and 2 * self._voiced >= self._min_speech:
            return [self._start(), self._end(forced=True)]
        self._begun = None
        return []

    def _padded(self, at: int) -> int:
        begin = at - self._pad
        return max(self._floor, begin - begin % GRID)

    def _start(self) -> Started:
        assert self._begun is not None
        self.speaking = True
        self._audio_from = self._padded(self._begun)
        return Started(self._begun, self._audio_from)

    def _end(self, *, forced: bool) -> Ended:
        at = min(self._last_voiced, self.position)
        self.speaking, self._begun, self._voiced = False, None, 0
        self._confirmed = self._paused = False
        # After a cut in mid-speech the next utterance begins with the very next sample.
        self._floor = self.position if forced else at
        return Ended(at, forced)
