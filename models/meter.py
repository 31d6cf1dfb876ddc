"""What a process can say about its work in a few numbers: totals, and averages over the recent past.

Cheap enough for a hot loop, safe from any thread, and of constant size: an average is two decaying sums.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

RECENT = 32
"""Observations that an average looks back on, roughly: each new one weighs 1/32 of the sum."""
DIGITS = 3


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
        """``phase`` took this long for so many units: becomes ``ms.<phase>``, milliseconds per unit."""
        self.average(f"ms.{phase}", seconds * 1000, units)

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
