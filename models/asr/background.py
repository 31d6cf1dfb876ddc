"""Voices in the background are not the user's: other people in a room, a television. Pure.

To the voice detector they are voices, so in a room full of people an utterance would begin at once and never end.
What tells them from whoever speaks into the microphone is that they are quieter, and that many at once are even:
within a second their level moves by 10 dB, that of one person by 25 to 40. So the level of what is heard between
utterances is kept, and while that has voices in it, a voice counts only well above it. Where the background has no
voices, nothing is changed.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from models.api import Pcm

FIRST = 31
"""Windows (1 s) after which it is known whether a stream began with voices in the background."""
EVEN_DB = 19.0
"""What moves by less within them is no single person: eight voices move by 10 dB (99 % below 19), one by 21."""
VOICE = 0.35
"""Probability from which a window may be a voice."""
SOME = 0.15
"""Share of such windows from which the background has voices in it."""
ABOVE_DB, PEAK_DB, STILL_DB = 3.0, 6.5, 4.0
"""Above the background's level: a voice that may begin, one that has begun, and one that goes on. Eight voices
stay within 6 dB of their mean.
"""
QUIETER_DB = 6.0
"""Who has not come so near to his loudest for a second has ended."""
LOW_DB = 3.0
"""Of eight voices, from the lowest of ten levels to somewhat below the mean. One person in noise has his peaks far
above that.
"""
PATIENCE = 12
"""Windows above the background that wait for a peak."""
SMOOTH = 3
"""Windows whose middle level counts."""
LEVEL_GAINED, SHARE_GAINED, SHARE_LOST = 1 / 31, 1 / 15, 1 / 94
"""Per window: the level follows within 1 s, the share within 0.5 s upwards and 3 s downwards."""


class Background:
    """What one stream has in its background, and which of its voices are in front of that."""

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=FIRST)
        self._begun = False
        """Whether it is known how the stream began."""
        self._power = 0.0
        self._share = 0.0
        self._loudest = 0.0
        """Level that the open utterance has had,"""
        self._since = 0
        """and for how many windows it has not come near it."""
        self._waiting: list[float] = []
        """Probabilities of the last windows, of which it is not known yet whether they are a voice in front."""

    @property
    def speaks(self) -> bool:
        """Whether there are voices in the background."""
        return self._share >= SOME

    def window(self, probability: float, heard: Pcm, *, speaking: bool) -> list[float]:
        """The probabilities of a voice in front that are certain now: of windows that waited, and of this one.

        Args:
            probability: of any voice in this window.
            heard: its samples, s16.
            speaking: an utterance is open.
        """
        power = float(np.mean(np.square(heard, dtype=np.float64)))
        self._levels.append(_db(power))
        voice = probability >= VOICE
        if not self._begun:
            return self._begin(probability, power, speaking=speaking)
        level = sorted(list(self._levels)[-SMOOTH:])[SMOOTH // 2]
        if not speaking:
            self._loudest, self._since = 0.0, 0
        elif level > self._loudest - QUIETER_DB:
            self._loudest, self._since = max(self._loudest, level), 0
        else:
            self._since += 1
            if self._since >= len(self._levels):
                self._power = self._mean  # whoever spoke has ended, and the background is louder than it was
        above = level - _db(self._power)
        below = above < (STILL_DB if speaking else ABOVE_DB)
        if not speaking and (below or not voice):
            self._learn(power, voice)
        if not self.speaks or (not below and (speaking or above >= PEAK_DB)):
            return [*self.flush(), probability]
        if below:
            return [*self._refuse(), 0.0]
        self._waiting.append(probability)
        return self._refuse() if len(self._waiting) > PATIENCE else []

    def flush(self) -> list[float]:
        """Those that wait, as they are."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _refuse(self) -> list[float]:
        return [0.0] * len(self.flush())

    def _learn(self, power: float, voice: bool) -> None:
        self._power += (power - self._power) * LEVEL_GAINED
        self._share += (1.0 - self._share) * SHARE_GAINED if voice else -self._share * SHARE_LOST

    @property
    def _even(self) -> bool:
        return max(self._levels) - min(self._levels) < EVEN_DB

    @property
    def _mean(self) -> float:
        return float(np.mean(np.power(10.0, np.array(self._levels) / 10)))

    def _begin(self, probability: float, power: float, *, speaking: bool) -> list[float]:
        """How the stream begins: a voice in an even sound waits for up to a second."""
        self._learn(power, probability >= VOICE)
        self._waiting.append(probability)
        even = self._even and not speaking
        if even and len(self._levels) < FIRST:
            return [] if max(self._waiting) >= VOICE else self.flush()
        self._begun = True
        low = float(np.quantile(self._levels, 0.1))
        if even and (not self.speaks or max(self._levels) < low + LOW_DB + PEAK_DB):
            self._power = self._mean
            return self._refuse() if self.speaks else self.flush()
        self._power = 10 ** ((low + LOW_DB * even) / 10)
        self._share *= even
        return self.flush()


def _db(power: float) -> float:
    return 10 * math.log10(power + 1.0)
