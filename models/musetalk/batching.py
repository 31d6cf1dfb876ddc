"""Which batch sizes to run: pure policy, the clock is handed in."""

from __future__ import annotations

from collections.abc import Sequence

RETRY_S = 60.0
"""After running out of memory, the larger batch is tried again this much later."""
MOST_PADDING = 0.25
"""A batch is filled up to the next size when at most this share of it is padding."""


def split(count: int, buckets: Sequence[int]) -> list[tuple[int, int]]:
    """Cut ``count`` frames into batches: pairs of frames and bucket, frames at most the bucket.

    Args:
        count: not negative.
        buckets: ascending.
    """
    parts = []
    while count:
        fitting = [size for size in buckets if size >= count]
        if fitting and (fitting[0] - count) <= MOST_PADDING * fitting[0]:
            parts.append((count, fitting[0]))
            break
        size = max((b for b in buckets if b <= count), default=buckets[0])
        taken = min(size, count)
        parts.append((taken, size))
        count -= taken
    return parts


class BucketLimit:
    """The batch sizes that fit into memory just now.

    Args:
        buckets: ascending.
    """

    def __init__(self, buckets: Sequence[int]) -> None:
        self._buckets = tuple(buckets)
        self._most = self._buckets[-1]
        self._retry_at = 0.0

    @property
    def most(self) -> int:
        """The largest size in use."""
        return self._most

    def usable(self, now: float) -> Sequence[int]:
        """Sizes to use, ascending; the next larger one is offered again when its time has come."""
        if self._most < self._buckets[-1] and now >= self._retry_at:
            self._most = next(size for size in self._buckets if size > self._most)
            self._retry_at = now + RETRY_S
        return [size for size in self._buckets if size <= self._most]

    def failed(self, size: int, now: float) -> int:
        """A batch of ``size`` ran out of memory; returns the largest one still used, 0 when none is left."""
        smaller = [bucket for bucket in self._buckets if bucket < size]
        if not smaller:
            return 0
        self._most = smaller[-1]
        self._retry_at = now + RETRY_S
        return self._most
