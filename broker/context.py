"""What sessions and turns may ask of the broker that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from broker.media.throughput import Throughput
from broker.stream.publisher import Publisher
from broker.timers import Timers
from broker.workers.ledger import Ledger
from configs.schema import Config
from models.meter import Meter


class Context(Protocol):
    """The broker, as seen from below."""

    config: Config
    epoch: int
    ledger: Ledger
    throughputs: dict[str, Throughput]
    """How fast the stages work whose frames a viewer waits for: lipsync, fallback, encode."""
    timers: Timers
    publisher: Publisher
    meter: Meter
    """Counts and times what happens in the broker."""

    @property
    def lipsync_skips(self) -> bool:
        """Whether the lip-sync engine can draw fewer frames and interpolate the rest."""
        ...

    def now(self) -> int:
        """Monotonic microseconds."""
        ...

    def cancel(self, item_ids: Sequence[str]) -> None:
        """Void items and tell the workers that hold them."""
        ...

    def touch(self, session_id: str) -> None:
        """Look at this session again before the loop sleeps, if it still lives."""
        ...
