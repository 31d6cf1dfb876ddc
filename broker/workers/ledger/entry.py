"""What the ledger keeps account of: items, the jobs that own them, and the workers that have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from broker.errors import ErrorCode
from broker.ipc.messages import Item, Output


class Job(Protocol):
    """What the ledger calls back; built by the turn that wants the work done."""

    media_ms: int
    """Length of media the item stands for; ``status`` sums it up."""

    def build(self) -> tuple[Item, Sequence[Any]]:
        """The item as it is to be sent now: it says where its accepted output ends. The entry stamps its name."""
        ...

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """The next accepted output."""
        ...

    def done(self) -> None:
        """The item is finished."""
        ...

    def failed(self, code: ErrorCode, message: str) -> None:
        """The item will not be tried again."""
        ...


@dataclass(slots=True, eq=False)
class Entry:
    """One item and where it stands."""

    id: str
    stage: str
    job: Job
    priority: int
    """Smaller first: the deadline in monotonic microseconds."""
    cost: int = 1
    background: bool = False
    yields: bool = False
    """It waits until nobody else's speech is in the making, and for a worker that has nothing else in hand."""
    near: Entry | None = None
    """Who had this one has what it goes on from: preferred, where there is room."""
    attempt: int = 0
    outputs: int = 0
    """Accepted in the attempt in force."""
    worker: Worker | None = None
    host: str = ""
    """The instance that was handed it last."""
    started: bool = False
    alone: bool = False
    """It was in progress at a death together with others: tried by itself from now on."""
    deaths: int = 0
    died_on: str = ""
    """The instance of the last death that counted, and when."""
    died_at: int = 0
    failures: int = 0
    moved_at: int = 0
    """When it was handed out or its worker last reported progress, monotonic microseconds."""
    void: bool = False
    """Cancelled: its lease still holds credit, its outputs are refused."""

    def build(self, broker: int) -> tuple[Item, Sequence[Any]]:
        """The job's item and buffers, stamped with id, attempt and the epoch of the broker that hands it out."""
        item, buffers = self.job.build()
        item.id, item.attempt, item.broker = self.id, self.attempt, broker
        return item, buffers


@dataclass(slots=True, eq=False)
class Worker:
    """One incarnation of an instance."""

    instance: str
    epoch: int
    stage: str
    credit: int = 0
    """0 until READY."""
    ready_at: int = 0
    """When that was, monotonic microseconds."""
    leased: dict[str, Entry] = field(default_factory=dict)
    outstanding: int = 0
    alone: bool = False
    """What it holds is an item that is tried by itself."""
    blocked: bool = False
    """Its socket takes nothing at the moment."""
    moved_at: int = 0
    """Its last sign of life, monotonic microseconds."""

    def room(self, entry: Entry) -> bool:
        """Whether ``entry`` may be sent here; an item larger than the whole credit goes to an empty worker."""
        if self.blocked or not self.credit:
            return False
        if self.leased and (entry.alone or entry.yields or self.alone):
            return False
        return not self.leased or self.outstanding + entry.cost <= self.credit


@dataclass(slots=True)
class Fallout:
    """What a death did to the items that were leased."""

    requeued: list[Entry]
    poisoned: list[Entry]
