"""Deadlines of the broker's loop: one heap, lazily cancelled. Pure; times are monotonic microseconds."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]


class Timer:
    """A pending call; ``cancel`` makes it nothing."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Action) -> None:
        self.at = at
        self.action: Action | None = action

    def cancel(self) -> None:
        """Do not fire."""
        self.action = None


class Timers:
    """Calls ordered by time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = count()

    def at(self, when: int, action: Action) -> Timer:
        """Call ``action`` at ``when``."""
        timer = Timer(when, action)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        return timer

    def wait(self, now: int) -> int | None:
        """Microseconds until the next one, None when there is none."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return max(0, self._heap[0][0] - now) if self._heap else None

    def fire(self, now: int, run: Callable[[str, Action], None] = lambda _, action: action()) -> None:
        """Run everything that is due, each through ``run(where, action)``."""
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                run("timer", action)
