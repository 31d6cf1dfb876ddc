"""Where a turn's audio lies on the session's media timeline. Pure.

Speech is contiguous unless idle video filled a wait in between, so the axis is a short list of anchors, each a
sample of the turn and the pts where it is shown.
"""

from __future__ import annotations

from broker.media.speech_track import to_samples, to_us


class TimeMap:
    """Maps 48 kHz samples of a turn to microseconds of the session.

    Args:
        pts: of sample 0.
    """

    def __init__(self, pts: int) -> None:
        self._anchors = [(0, pts)]

    def move(self, sample: int, pts: int) -> None:
        """From ``sample`` on, the turn continues at ``pts``; later anchors are void."""
        self._anchors = [a for a in self._anchors if a[0] < sample] + [(sample, pts)]

    def pts(self, sample: int) -> int:
        """Where ``sample`` is shown."""
        at, pts = self._anchors[-1]
        if sample < at:
            at, pts = next((a for a in reversed(self._anchors) if a[0] <= sample), self._anchors[0])
        return pts + to_us(sample - at)

    def begins(self, sample: int) -> bool:
        """Whether something other than the turn's own audio comes before ``sample``."""
        return any(at == sample for at, _ in self._anchors)

    def shown_by(self, pts: int) -> int:
        """Samples of the turn that are over when the session's time is ``pts``; may be negative."""
        for (at, start), (following, _) in zip(self._anchors, [*self._anchors[1:], (1 << 62, 0)], strict=True):
            reached = at + to_samples(pts - start)
            if reached < following:
                return max(at, reached) if at else reached
        raise AssertionError("the last anchor has no end")
