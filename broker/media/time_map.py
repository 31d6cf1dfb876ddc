"""Where a turn's audio lies on the session's media timeline. Pure.

Speech is contiguous unless idle video filled a wait in between, so the map is a short list of anchors, each a
sample of the turn and the pts where it is shown.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.media.speech_track import to_samples, to_us


class TimeMap:
    """Maps 48 kHz samples of a turn to microseconds of the session.

    Args:
        end: tells where the session's media ends: the turn would begin there while none of it has a place.
    """

    def __init__(self, end: Callable[[], int]) -> None:
        self._end = end
        self._anchors: list[tuple[int, int]] = []

    @property
    def placed(self) -> bool:
        """Whether the turn's first sample has a place."""
        return bool(self._anchors)

    def move(self, sample: int, pts: int) -> None:
        """From ``sample`` on, the turn continues at ``pts``; later anchors are void."""
        self._anchors = [a for a in self._anchors if a[0] < sample] + [(sample, pts)]

    def pts(self, sample: int) -> int:
        """Where ``sample`` is (or would be) shown."""
        if not self._anchors:
            return self._end() + to_us(sample)
        at, pts = self._anchors[-1]
        if sample < at:
            at, pts = next((a for a in reversed(self._anchors) if a[0] <= sample), self._anchors[0])
        return pts + to_us(sample - at)

    def begins(self, sample: int) -> bool:
        """Whether something other than the turn's own audio comes before ``sample``."""
        return any(at == sample for at, _ in self._anchors)

    def shown_by(self, pts: int) -> int:
        """Samples of the turn, which has a place, that are over when the session's time is ``pts``; may be
        negative.
        """
        for (at, start), (following, _) in zip(self._anchors, [*self._anchors[1:], (1 << 62, 0)], strict=True):
            reached = at + to_samples(pts - start)
            if reached < following:
                return max(at, reached) if at else reached
        raise AssertionError("the last anchor has no end")
