"""One session's microphone inside the asr stage: audio in, beginnings and ends of utterances out. No threads.

Two kinds of positions: the client's (samples at its own rate since the session's start) and the stream's (16 kHz
samples since ``base``, where this process began to hear it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from configs.grid import ASR_RATE as RATE
from configs.schema import Config
from models.api import Pcm
from models.asr.background import Background
from models.asr.echo import WINDOW, EchoFilter, Published
from models.asr.endpointing import Confirmed, Endpointer, Event, Paused, Resumed, Started
from models.asr.vad import VoiceStream
from models.media.resample import Resampler

LATE = RATE // 4
"""Audio that comes so much later than expected was recorded later: the microphone was off."""
CREEP = RATE // 1000
"""A smaller delay is believed so much with each message."""


class Began(NamedTuple):
    """An utterance has begun."""

    utterance: int
    at: int
    """First voiced sample, client's position."""
    audio_from: int
    """Where its audio begins, client's position."""


class Sure(NamedTuple):
    """The voice is long enough to interrupt with."""

    utterance: int
    at: int
    """Position up to which it is, client's."""


class Still(NamedTuple):
    """The voice pauses; all its audio so far has been given."""

    utterance: int


class Again(NamedTuple):
    """The voice goes on after a pause."""

    utterance: int


class Audio(NamedTuple):
    """More audio (s16 16 kHz) of the open utterance."""

    utterance: int
    pcm: Pcm


class Over(NamedTuple):
    """The utterance has ended; all its audio has been given."""

    utterance: int
    at: int
    """End of the last voiced window, client's position."""
    audio_ms: int
    """From its first to its last voiced sample."""


Step = Began | Sure | Still | Again | Audio | Over


class MicrophoneStream:
    """The state of one stream.

    Args:
        config: endpointing and the longest utterance.
        voice: a fresh stream of the voice detector.
        rate: of the client's audio in Hz.
        base: client's position of the first sample.
        utterance: number of the next utterance, or of the open one.
        speaking: an utterance that begins at ``base`` is already open.
        published: what viewers of the session hear.

    Raises:
        ValueError: a sample rate outside the limits.
    """

    def __init__(
        self,
        config: Config,
        voice: VoiceStream,
        rate: int,
        base: int,
        utterance: int,
        *,
        speaking: bool,
        published: Published | None = None,
    ) -> None:
        self.rate = rate
        self.heard = base
        """Client's position after the last sample taken."""
        self.utterance = utterance
        self._base = base
        self._resampler = Resampler(rate, RATE)
        self._voice = voice
        self._background = Background()
        self._published = published or Published()
        self._echo: EchoFilter | None = None
        """From the first published sound on."""
        self._looked = self._judged = 0
        """Positions of the next window that the detector, and that the echo filter, looks at."""
        self._lead: int | None = None
        """Samples by which the clock is ahead of positions; None: not known."""
        self._ends = Endpointer(config.asr, config.limits.utterance_s, speaking=speaking)
        self._begun = 0
        self._given = 0
        self._kept = np.zeros(0, np.int16)
        self._kept_from = 0

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._ends.speaking

    @property
    def keep(self) -> int:
        """Client's position before which no audio is needed for an utterance that is open or yet to come."""
        return min(self.heard, self._client(self._ends.needed_from))

    def hear(self, pcm: Pcm, *, end: bool, time: int = 0) -> list[Step]:
        """Take the next samples.

        Args:
            end: the client says that its utterance ends after them.
            time: when the last of them was recorded, microseconds; 0: not known, an echo is not looked for.
        """
        self.heard += len(pcm)
        self._place(time)
        fresh = self._resampler.feed(pcm)
        if end:
            fresh = np.concatenate([fresh, self._resampler.flush(self.heard - self._base)])
        self._kept = np.concatenate([self._kept, fresh])
        steps: list[Step] = []
        for probability in self._voice.feed(fresh):
            for near in self._near(float(probability)):
                for certain in self._certain(near):
                    steps += self._window(certain)
        if end:
            for near in self._background.flush():
                for certain in self._certain(near):
                    steps += self._window(certain)
            if self._echo is not None:
                for certain in self._echo.flush():
                    steps += self._window(certain)
            for event in self._ends.end():
                steps += self._steps(event, self._kept_from + len(self._kept))
        if self.speaking:
            steps += self._audio(self._ends.position)
        self._forget()
        return steps

    def conclude(self) -> list[Step]:
        """What was said is a finished sentence: an utterance that still pauses is over."""
        steps: list[Step] = []
        for event in self._ends.conclude():
            steps += self._steps(event, self._ends.position)
        self._forget()
        return steps

    def _place(self, time: int) -> None:
        """Where the clock is: audio is never early, so what comes late on its way does not move it at once."""
        if time:
            lead = time * RATE // 1_000_000 - (self.heard - self._base) * RATE // self.rate
            late = lead - self._lead if self._lead is not None else LATE
            self._lead = lead if self._lead is None or not 0 < late < LATE else self._lead + min(late, CREEP)

    def _near(self, probability: float) -> Iterable[float]:
        """The voices that are no background, of this window and of those that have waited."""
        at, self._looked = self._looked - self._kept_from, self._looked + WINDOW
        return self._background.window(probability, self._kept[at : at + WINDOW], speaking=self.speaking)

    def _certain(self, probability: float) -> Iterable[float]:
        """The voices that are certainly not the avatar's, of this window and of those that have waited."""
        at, self._judged = self._judged, self._judged + WINDOW
        if self._echo is None and (self._lead is None or not self._published):
            return (probability,)
        self._echo = self._echo or EchoFilter()
        heard = self._kept[at - self._kept_from : at - self._kept_from + WINDOW]
        published = self._published.read(at + (self._lead or 0), WINDOW)
        return self._echo.window(probability, heard, published, speaking=self.speaking)

    def _window(self, probability: float) -> list[Step]:
        steps: list[Step] = []
        for event in self._ends.window(probability):
            steps += self._steps(event, self._ends.position)
        return steps

    def _steps(self, event: Event, until: int) -> list[Step]:
        """What an event means; ``until``: where the audio of an utterance that ends has its end."""
        if isinstance(event, Started):
            return [self._began(event)]
        if isinstance(event, Confirmed):
            return [Sure(self.utterance, self._client(event.at))]
        if isinstance(event, Paused):
            return [*self._audio(until), Still(self.utterance)]
        if isinstance(event, Resumed):
            return [Again(self.utterance)]
        return self._over(event.at, until)

    def _client(self, position: int) -> int:
        return self._base + position * self.rate // RATE

    def _began(self, event: Started) -> Began:
        self._begun, self._given = event.at, event.audio_from
        return Began(self.utterance, self._client(event.at), self._client(event.audio_from))

    def _audio(self, until: int) -> list[Step]:
        if until <= self._given:
            return []
        pcm = self._kept[self._given - self._kept_from : until - self._kept_from].copy()
        self._given = until
        return [Audio(self.utterance, pcm)]

    def _over(self, at: int, until: int) -> list[Step]:
        steps = self._audio(until)
        milliseconds = max(0, at - self._begun) * 1000 // RATE
        steps.append(Over(self.utterance, self._client(at), milliseconds))
        self.utterance += 1
        return steps

    def _forget(self) -> None:
        """Drop samples that no utterance can ask for."""
        needed = self._given if self.speaking else self._ends.needed_from
        drop = min(needed - self._kept_from, len(self._kept))
        if drop > 0:
            self._kept = self._kept[drop:]
            self._kept_from += drop
