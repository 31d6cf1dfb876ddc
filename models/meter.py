"""What a process can say about its work in a few numbers: totals, averages over the recent past, and histograms.

Cheap enough for a hot loop, safe from any thread, and of constant size: an average is two decaying sums, a
histogram one count per bucket.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

RECENT = 32
"""Observations that an average looks back on, roughly: each new one weighs 1/32 of the sum."""
DIGITS = 3


BUCKETS_S = (
    0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of every histogram's buckets, seconds; one more bucket has what is longer. From a write to the
journal to the answer of a language model in steps of about two: the same for all, so that they can be added up."""


class Histogram(NamedTuple):
    """Durations that were observed since the process started."""

    sum_s: float
    counts: list[int]
    """How many fell into each bucket of ``BUCKETS_S`` and into the one beyond."""


class GpuUse(NamedTuple):
    """How much of a GPU is in use; None where it cannot be told."""

    memory_mb: float | None = None
    """Held by this process."""
    utilisation: float | None = None
    """Percent of the last sample period in which the device was busy, whoever kept it so."""
    device_used_mb: float | None = None
    """Held by all processes."""
    device_mb: float | None = None


class Meter:
    """Named totals and averages.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._totals: dict[str, int] = {}
        self._recent: dict[str, tuple[float, float]] = {}
        self._sums: dict[str, float] = {}
        self._counts: dict[str, list[int]] = {}

    def count(self, name: str, by: int = 1) -> None:
        """Add to a total."""
        with self._lock:
            self._totals[name] = self._totals.get(name, 0) + by

    def average(self, name: str, part: float, whole: float) -> None:
        """One more observation of a ratio: the average is the sum of recent parts over that of their wholes."""
        keep = 1 - 1 / RECENT
        with self._lock:
            old_part, old_whole = self._recent.get(name, (0.0, 0.0))
            self._recent[name] = old_part * keep + part, old_whole * keep + whole

    def took(self, phase: str, seconds: float, units: int = 1) -> None:
        """``phase`` took this long for so many units: becomes ``ms.<phase>``, milliseconds per unit, and one
        observation of that in the histogram ``phase``.
        """
        self.average(f"ms.{phase}", seconds * 1000, units)
        self.observe(phase, seconds / units if units else seconds)

    def observe(self, name: str, seconds: float) -> None:
        """One more duration in a histogram."""
        bucket = bisect_left(BUCKETS_S, seconds)
        with self._lock:
            counts = self._counts.get(name)
            if counts is None:
                counts = self._counts[name] = [0] * (len(BUCKETS_S) + 1)
            counts[bucket] += 1
            self._sums[name] = self._sums.get(name, 0.0) + seconds

    @contextmanager
    def timed(self, phase: str, units: int = 1) -> Iterator[None]:
        """``took`` for what happens inside."""
        began = self._clock()
        yield
        self.took(phase, self._clock() - began, units)

    def figures(self) -> dict[str, float]:
        """All of it, by name."""
        with self._lock:
            averages = {name: part / whole for name, (part, whole) in self._recent.items() if whole}
            return {**self._totals, **{name: round(value, DIGITS) for name, value in averages.items()}}

    def histograms(self) -> dict[str, Histogram]:
        """All of them, by name."""
        with self._lock:
            return {name: Histogram(round(self._sums[name], 6), [*row]) for name, row in self._counts.items()}
