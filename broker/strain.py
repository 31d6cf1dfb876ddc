"""When to let a session's lip-sync draw every other frame, and when to stop doing so. Pure."""

from __future__ import annotations

TIGHT = 0.7
"""Share of its time that a segment's crops may take before it counts as tight."""
EASY = 0.3
TIGHT_RUN = 2
"""Tight segments in a row that switch skipping on."""
EASY_RUN = 8
"""Easy segments in a row that switch it off: healing is slower than helping, so that it does not flutter."""


class Strain:
    """Hysteresis over how close to their deadline a session's crops come."""

    def __init__(self) -> None:
        self.skip = False
        self._tight = 0
        self._easy = 0

    def observe(self, used: int, available: int) -> None:
        """One segment's crops took ``used`` of the ``available`` microseconds before its deadline."""
        share = used / available if available > 0 else 1.0
        self._tight = self._tight + 1 if share > TIGHT else 0
        self._easy = self._easy + 1 if share < EASY else 0
        if self._tight >= TIGHT_RUN:
            self.skip = True
        elif self._easy >= EASY_RUN:
            self.skip = False
