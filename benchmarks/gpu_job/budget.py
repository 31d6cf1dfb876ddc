"""How the time of one job is divided among its parts: what one does not use, the later ones get. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class Budget:
    """Deadlines by the monotonic clock.

    Args:
        seconds: of the whole job, from now on.
        shares: of the parts that will run, in their order.
        clock: monotonic seconds.
    """

    def __init__(
        self, seconds: float, shares: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.begin = clock()
        self.end = self.begin + seconds
        self._open = dict(shares)

    def start(self, part: str) -> float:
        """Begin a part: until when it may run. Parts that were passed over are done with."""
        for name in [*self._open]:
            if name == part:
                break
            del self._open[name]
        now, whole = self._clock(), sum(self._open.values())
        share = self._open.pop(part)
        return now + max(0.0, self.end - now) * share / whole

    @property
    def passed_s(self) -> float:
        """Since the beginning."""
        return self._clock() - self.begin
