"""What a stage has to say, on its way from the handler threads to the one thread that owns the socket."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from broker.ipc import wire

MAX_MESSAGES = 256
MAX_BYTES = 32 << 20
WAIT_S = 60.0
"""How long a handler waits for room; a broker is found dead and replaced in a fraction of that."""
TICK_S = 1.0
"""How often a waiting handler says that it is alive: the broker is slow, not the handler."""


@dataclass(slots=True, eq=False)
class Parcel:
    """One message, packed."""

    frames: Sequence[Any]
    nbytes: int
    broker: int
    """Epoch of the broker it is meant for."""


class Outbox:
    """A queue bounded in messages and bytes. Handlers wait for room; the I/O thread never waits."""

    def __init__(
        self, wake: Callable[[], None], max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._wake = wake
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._parcels: deque[Parcel] = deque()
        self._nbytes = 0
        self._room = threading.Condition()

    def __len__(self) -> int:
        return len(self._parcels)

    def post(self, frames: Sequence[Any], broker: int) -> None:
        """Add at once, beyond the bounds if need be: for the I/O thread's own few small messages."""
        self._append(Parcel(frames, sum(map(wire.nbytes, frames)), broker))

    def put(
        self,
        frames: Sequence[Any],
        broker: int,
        wanted: Callable[[], bool],
        wait_s: float = WAIT_S,
    ) -> bool:
        """Add when there is room, in the order of the calling thread.

        Args:
            frames: the packed message; its buffers must stay unchanged until it is sent.
            broker: epoch of the broker it is meant for.
            wanted: asked while waiting, about once a second; False gives up (the item has become void).
            wait_s: how long to wait for room.

        Returns:
            Whether it was added.
        """
        parcel = Parcel(frames, sum(map(wire.nbytes, frames)), broker)
        deadline = time.monotonic() + wait_s
        with self._room:
            while not self._fits(parcel.nbytes):
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not wanted():
                    return False
                self._room.wait(min(remaining, TICK_S))
            self._append(parcel)
        return True

    def head(self) -> Parcel | None:
        """The next parcel, left in place until ``shift``. I/O thread only, like the two below."""
        return self._parcels[0] if self._parcels else None

    def shift(self) -> None:
        """The socket has taken the head."""
        with self._room:
            self._nbytes -= self._parcels.popleft().nbytes
            self._room.notify_all()

    def purge(self, broker: int) -> int:
        """Drop what is meant for any other broker than this; returns how many."""
        with self._room:
            void = [parcel for parcel in self._parcels if parcel.broker != broker]
            for parcel in void:
                self._parcels.remove(parcel)
                self._nbytes -= parcel.nbytes
            self._room.notify_all()
        return len(void)

    def _fits(self, nbytes: int) -> bool:
        if not self._parcels:
            return True  # a message larger than the bound still has to leave
        return len(self._parcels) < self._max_messages and self._nbytes + nbytes <= self._max_bytes

    def _append(self, parcel: Parcel) -> None:
        with self._room:
            self._parcels.append(parcel)
            self._nbytes += parcel.nbytes
        self._wake()
