"""A ceiling over any second of a stream whose segments are made apart from each other. Pure.

A bucket of bytes fills at a steady rate and pays for every frame. Each segment is held to two things: beginning
with what ``OPENING`` says it never finds the bucket empty, and it leaves at least as much behind. Then whatever
segments follow each other, in whatever lengths, a second costs at most the full bucket and what comes in
meanwhile: the ceiling. No segment needs to know another.

A key frame may so take 0.23 of a second's bytes, and a long segment on the average 0.75 of the ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.api import FPS

CAPACITY, OPENING = 0.25, 0.2
RATE = (1 - CAPACITY) / FPS
"""Shares of the ceiling's bytes per second: what the bucket holds, has at a segment's beginning and end, and gets
for every frame."""
_STEPS_PER_DOUBLING = 6.0
"""Of the quantiser: measured, key frames become 10 % smaller with each, the others 13 to 16 %."""
_GUESSES = 8
"""Then the coarsest."""
_DIFFERENCE = 1 / 12
"""Of a key frame: what a frame that is not known yet is taken to need."""


class Allowance:
    """What one segment may cost."""

    def __init__(self, kbps: float, other: Sequence[int]) -> None:
        """A segment of ``len(other)`` frames.

        Args:
            kbps: the ceiling over everything, kbit/s.
            other: bytes of each frame's time that are not its picture: sound and boxes.
        """
        second = kbps * 1000 / 8
        self._capacity, self._opening, self._rate = CAPACITY * second, OPENING * second, RATE * second
        self._level = self._opening
        self._other = other
        self._sizes: list[int] = []

    def excess(self, size: int) -> float:
        """Pay for the next frame's picture of ``size`` bytes.

        Returns:
            0 while the segment can stay within its allowance; else by what factor its pictures are too large,
            roughly, above 1.
        """
        paid = self._other[: len(self._sizes) + 1]
        coming = self._other[len(paid) :]
        self._sizes.append(size)
        self._level = min(self._capacity, self._level + self._rate - size - paid[-1])
        if self._level < 0:
            return _ratio(sum(self._sizes), self._opening + self._rate * len(paid) - sum(paid))
        if self._level + self._rate * len(coming) - sum(coming) < self._opening:
            room = self._rate * len(self._other) - sum(self._other)
            return _ratio(sum(self._sizes) + len(coming) * self._usual(), room)
        return 0.0

    @property
    def ample(self) -> bool:
        """After the key frame: even if seven others take a seventh of it each, there is room for all."""
        return len(self._sizes) == 1 and 2 * self._sizes[0] + sum(self._other) < self._rate * len(self._other)

    def _usual(self) -> float:
        key, *later = self._sizes
        return sum(later) / len(later) if later else key * _DIFFERENCE


def _ratio(is_: float, may_be: float) -> float:
    return max(is_ / may_be, 1.001) if may_be > 0 else math.inf


class Fitted(NamedTuple):
    """A segment's pictures and how they came about."""

    pictures: list[bytes]
    quantiser: int
    tries: int
    fits: bool
    """False: not even with the coarsest quantiser."""


def fit(first: int, coarsest: int, attempt: Callable[[int, bool], list[bytes] | float | None]) -> Fitted | None:
    """The first of a few ever coarser quantisers with which a segment stays within its allowance.

    Args:
        first: the quantiser that is tried first.
        coarsest: the last.
        attempt: encodes with a quantiser: the pictures; how much too large they are; None when it was cancelled.
            With True it gives the pictures whatever their size.
    """
    quantiser, tries = min(first, coarsest), 1
    while True:
        made = attempt(quantiser, False)
        if not isinstance(made, float):
            return None if made is None else Fitted(made, quantiser, tries, True)
        if quantiser == coarsest:
            made = attempt(quantiser, True)
            assert not isinstance(made, float), "it was asked for whatever comes"
            return None if made is None else Fitted(made, quantiser, tries, False)
        tries += 1
        quantiser = coarsest if tries > _GUESSES else min(coarsest, quantiser + steps(made))


def steps(ratio: float) -> int:
    """By how many steps of the quantiser pictures that are ``ratio`` times too large become small enough."""
    return math.ceil(_STEPS_PER_DOUBLING * math.log2(min(ratio, 1024.0))) or 1
