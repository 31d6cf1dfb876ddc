"""How far ahead of its clock a live session is published, and in how long pieces. Pure.

What is published and not yet shown is old speech for a player that does not act on a cut. So a session is little
ahead while the machine makes its segments well before their time, and further where it does not: then a stall of
one process is ridden out by what viewers already have.
"""

from __future__ import annotations

SHORT = 2
"""Quanta of the longest segment while a voice may cut in. Shorter ones cost a key frame each."""
TIGHT_US = 400_000
"""Made no earlier than this before its time, a segment says that the machine hardly keeps up."""
EASY_US = 800_000
EASY_RUN = 8
"""Segments in a row, made as early as that, that lead back: healing is slower than helping, so that it does not
flutter.
"""


class Lead:
    """Hysteresis over how early a session's segments are finished.

    Args:
        least_us: ahead of the clock while the machine keeps up.
        most_us: ahead of it otherwise, and the most in any case.
    """

    def __init__(self, least_us: int, most_us: int) -> None:
        self._least = min(least_us, most_us)
        self._most = most_us
        self._easy = 0
        self._wide = False

    @property
    def wide(self) -> bool:
        """Whether the machine was seen not to keep up, and has not been seen to for long enough."""
        return self._wide

    @property
    def us(self) -> int:
        """How far ahead of the clock a segment may be published now."""
        return self._most if self._wide else self._least

    def longest(self, most: int, *, heard: bool) -> int:
        """Quanta of the longest segment to be cut now.

        Args:
            most: that are configured.
            heard: a voice may interrupt at any time.
        """
        return min(most, SHORT) if heard and not self._wide else most

    def finished(self, early: int) -> None:
        """A segment was finished ``early`` microseconds before its time; below 0: after it."""
        if early < TIGHT_US:
            self._wide, self._easy = True, 0
            return
        self._easy = self._easy + 1 if early >= EASY_US else 0
        if self._easy >= EASY_RUN:
            self._wide = False
