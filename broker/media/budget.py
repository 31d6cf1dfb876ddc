"""How much of something all sessions may have waiting together, and which of them is asked to wait. Pure."""

from __future__ import annotations

from collections.abc import Collection

LOW = 0.75
"""Of the limit: down to here sessions with more than an equal share are refused, once the limit was reached."""
BYTE_US = 65_000
"""Speech that one byte of UTF-8 stands for: 15 letters a second, or 5 Chinese characters of three bytes each."""


def speech_us(text: str) -> int:
    """About how long it takes to say this."""
    return len(text.encode(errors="replace")) * BYTE_US


class Budget:
    """A limit with two marks. Above the high one, and until what waits has come down to the low one, nobody gets
    more than an equal share of the low one.

    Args:
        high: in whatever is counted.
    """

    def __init__(self, high: float) -> None:
        self._high = high
        self._low = high * LOW
        self._closed = False

    def excess(self, own: float, others: Collection[float], more: float = 0) -> float:
        """By how much a session has too much to get more; 0: it may.

        Args:
            own: of this session.
            others: of each other session.
            more: what it asks for. It does not count against the share: who has little gets it.
        """
        total = own + sum(others)
        if total + more > self._high:
            self._closed = True
        elif total <= self._low:
            self._closed = False
        beside = sum(1 for one in others if one > 0)
        if not self._closed or not beside:
            return 0
        return max(0.0, own - self._low / (beside + 1))
