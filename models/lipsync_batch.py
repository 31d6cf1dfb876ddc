"""Which frames go into the next lip-sync batch: pure policy, no clock, no threads.

Earliest deadline first across sessions: a batch is filled with the frames of the most urgent item, then with
those of the next. An item's frames are always taken in order. Items without a deadline come last, in the
order of arrival.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from configs.grid import QUANTUM_FRAMES


class Slice(NamedTuple):
    """Consecutive frames of one item: ``first`` .. ``first + frames - 1``, counted from its first job."""

    key: Hashable
    first: int
    frames: int


class _Entry(NamedTuple):
    deadline_ns: int
    arrival: int


class BatchPolicy:
    """The frames that wait, and the choice of the next batch.

    Args:
        buckets: batch sizes that the engine accepts, ascending.
        piece: the largest batch, one of them, that begins with an item of a quantum: the first of a turn are as
            short, and what is made of them goes on at once; 0: no other than for longer ones.
    """

    def __init__(self, buckets: Sequence[int], piece: int = 0) -> None:
        if not buckets or list(buckets) != sorted(set(buckets)) or buckets[0] != 1:
            raise ValueError(f"buckets {list(buckets)} must ascend from 1")
        self._buckets = tuple(buckets)
        self._piece = piece or self._buckets[-1]
        self._entries: dict[Hashable, _Entry] = {}
        self._taken: dict[Hashable, int] = {}
        self._total: dict[Hashable, int] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        """Items with frames waiting."""
        return len(self._entries)

    @property
    def waiting(self) -> int:
        """Frames waiting."""
        return sum(self._total.values()) - sum(self._taken.values())

    def add(self, key: Hashable, frames: int, deadline_ns: int) -> None:
        """Take up an item; ``deadline_ns`` is monotonic, 0 for none.

        Raises:
            ValueError: the key is already waiting or there is no frame.
        """
        if key in self._entries or frames < 1:
            raise ValueError(f"item {key!r} with {frames} frames cannot be added")
        self._entries[key] = _Entry(deadline_ns or 1 << 62, self._arrivals)
        self._taken[key], self._total[key] = 0, frames
        self._arrivals += 1

    def drop(self, key: Hashable) -> None:
        """Forget an item; nothing happens when it is not there."""
        if self._entries.pop(key, None) is not None:
            del self._taken[key], self._total[key]

    def next_batch(self) -> list[Slice]:
        """The next batch, most urgent first; its size is a bucket; empty when nothing waits.

        The largest bucket that the waiting frames fill is taken, so no frame is rendered for nothing.
        """
        waiting = self.waiting
        if not waiting:
            return []
        keys = sorted(self._entries, key=self._entries.__getitem__)
        most = self._piece if self._total[keys[0]] <= QUANTUM_FRAMES else waiting
        room = max(size for size in self._buckets if size <= min(waiting, most))
        batch: list[Slice] = []
        for key in keys:
            count = min(room, self._total[key] - self._taken[key])
            batch.append(Slice(key, self._taken[key], count))
            self._taken[key] += count
            room -= count
            if not room:
                break
        for key, _, _ in batch:
            if self._taken[key] == self._total[key]:
                self.drop(key)
        return batch
