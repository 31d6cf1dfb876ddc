"""Whether an encoder has time enough: how busy it was of late decides. Pure, time is handed in."""

from __future__ import annotations

import threading
from collections import deque

WINDOW_S = 4.0
BUSY, FREE = 0.7, 0.4
"""Shares of the window's time: above the first it gives in, below the second it takes it back."""
HOLD_S = 8.0
"""At least so long it stays with what it has chosen."""


class Headroom:
    """Of one encode process. Any thread may tell of its work."""

    def __init__(self, now: float) -> None:
        """Begin with all the time there is.

        Args:
            now: seconds, monotonic.
        """
        self._lock = threading.Lock()
        self._work: deque[tuple[float, float]] = deque()
        """When each piece of work ended and how long it took."""
        self._changed = self._began = now
        self._short = False

    @property
    def short(self) -> bool:
        """There is too little time: take the lighter way."""
        return self._short

    def worked(self, seconds: float, now: float) -> None:
        """A segment has taken so long, until ``now``."""
        with self._lock:
            self._work.append((now, seconds))
            while self._work and self._work[0][0] <= now - WINDOW_S:
                self._work.popleft()
            # Of a piece of work that began before the window only what lies within counts.
            busy = sum(min(took, ended - (now - WINDOW_S)) for ended, took in self._work) / WINDOW_S
            if now - self._began < WINDOW_S or now - self._changed < HOLD_S:
                return
            wanted = busy > (FREE if self._short else BUSY)
            if wanted != self._short:
                self._short, self._changed = wanted, now
