"""Whether whoever speaks through a session comes back when it was told to. Pure; times are monotonic microseconds.

There is no fair share of too little: beside fifty that speak all the time, everybody is late. What tells a client
that behaves from one that does not is whether it waits. One that asks again and again before its time gets what
the others leave, until it has waited for a while.
"""

from __future__ import annotations

EARLY = 2
"""So many times in a row before its time, and a client presses."""
PRESSING_US = 10_000_000
"""So long after the last such time it does no more."""
YIELD_US = 1_800_000_000
"""Its work comes so much later than its deadline: behind that of others, and before what has none. Less, and what
has waited for so long would come before everybody else's."""
TOLERANCE = 0.9
"""Of the time that a client is told; clocks differ."""


class Patience:
    """Of one session."""

    def __init__(self) -> None:
        self._back_at = 0
        self._early = 0
        self.pressing_until = 0

    def told(self, now: int, wait: int) -> None:
        """It was refused, and told to ask again after so long."""
        self._back_at = now + int(wait * TOLERANCE)

    def came(self, now: int) -> bool:
        """It asks for a turn; whether it has begun to press."""
        if now >= self._back_at:
            self._early = 0
            return False
        self._early += 1
        if self._early < EARLY:
            return False
        begins = not self.pressing(now)
        self.pressing_until = now + PRESSING_US
        return begins

    def pressing(self, now: int) -> bool:
        """Whether others come first."""
        return now < self.pressing_until

    def late_by(self, now: int) -> int:
        """How much later its work is put."""
        return YIELD_US if self.pressing(now) else 0
