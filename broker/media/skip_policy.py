"""How many of a session's frames lip-sync draws: all, every other, every fourth. Pure."""

from __future__ import annotations

STEPS = (1, 2, 4)
"""Of so many frames one is drawn, the rest interpolated."""
TIGHT = 0.7
"""Share of its time that a segment's crops may take before it counts as tight."""
EASY = 0.3
TIGHT_RUN = 2
"""Tight segments in a row that lead to the next step."""
EASY_RUN = 8
"""Easy segments in a row that lead back: healing is slower than helping, so that it does not flutter."""


class SkipPolicy:
    """Hysteresis over how close to their deadline a session's crops come."""

    def __init__(self) -> None:
        self.skip = STEPS[0]
        self._tight = 0
        self._easy = 0

    @property
    def exhausted(self) -> bool:
        """Whether fewer frames cannot be drawn."""
        return self.skip == STEPS[-1]

    def observe(self, used: int, available: int, skip: int = STEPS[-1]) -> None:
        """One segment's crops took ``used`` of the ``available`` microseconds before its deadline.

        Args:
            skip: with which it was drawn; one that was asked for before a step up says nothing about that step.
        """
        share = used / available if available > 0 else 1.0
        if share <= TIGHT:
            self._tight = 0
        elif skip >= self.skip:
            self._tight += 1
        self._easy = self._easy + 1 if share < EASY else 0
        if self._tight >= TIGHT_RUN:
            self._step(1)
        elif self._easy >= EASY_RUN:
            self._step(-1)

    def _step(self, by: int) -> None:
        self._tight = self._easy = 0
        self.skip = STEPS[min(max(STEPS.index(self.skip) + by, 0), len(STEPS) - 1)]
