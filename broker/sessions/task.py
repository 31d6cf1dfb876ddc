"""A turn as its jobs see it: whose work they do, by when it is needed, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable

from broker.context import Context
from broker.errors import ErrorCode
from broker.media.patience import Patience
from broker.media.time_map import TimeMap
from broker.media.timeline import MediaTime
from broker.sessions.marks import Marks
from broker.workers.ledger import Entry, Job

OFFLINE_US = 3_600_000_000
"""Work of sessions without a clock comes so much later than what has a deadline."""


class Task:
    """Puts a turn's items into the ledger.

    Args:
        name: prefix of the items' ids; no other turn of the daemon's life has it.
        sid: of the session.
        number: of the turn.
        timeline: of the session.
        time_map: where the turn's samples are shown.
        marks: what ``timings_ms`` is made of.
        fail: ends the turn as failed.
        patience: of the session.
        served: ``served(number, stage, engine, reason)`` hears which engine of a chain does an item.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        sid: str,
        number: int,
        timeline: MediaTime,
        time_map: TimeMap,
        marks: Marks,
        fail: Callable[[ErrorCode, str], None],
        patience: Patience,
        served: Callable[[int, str, str, str], None],
    ) -> None:
        self.sid = sid
        self.number = number
        self.fail = fail
        self._patience = patience
        self._served = served
        self._context = context
        self._name = name
        self._timeline = timeline
        self._time_map = time_map
        self._marks = marks

    def submit(
        self, stage: str, index: int | str, job: Job, *, at: int, cost: int = 1, near: Entry | None = None
    ) -> Entry:
        """Put an item into the ledger; ``at`` is the 48 kHz sample of the turn that it is needed for, ``near`` an
        item whose worker is preferred.
        """
        item_id = f"{self._name}/{stage}/{index}"
        priority = self.urgency(self._time_map.pts(at))
        submit = self._context.ledger.submit
        return submit(item_id, stage, job, priority=priority, cost=cost, yields=self.yields, near=near)

    def cancel(self, *items: Entry | None) -> None:
        """Void those that are not finished, and tell the workers that hold them."""
        self._context.cancel([item.id for item in items if item is not None])

    def deadline(self, pts: int) -> int:
        """Monotonic microseconds when the clock reaches ``pts``. Offline work has none: it comes after all that
        has, in its own order.
        """
        now = self._context.now()
        if not self._timeline.paced:
            return now + OFFLINE_US + pts
        return now + max(0, pts - self._timeline.clock(now))

    @property
    def yields(self) -> bool:
        """Whether the session presses: others come first."""
        return self._patience.pressing(self._context.now())

    def urgency(self, pts: int) -> int:
        """The deadline by which the stages order their work: that of a session that presses comes later."""
        return self.deadline(pts) + self._patience.late_by(self._context.now())

    def served(self, stage: str, engine: str, reason: str) -> None:
        """An item is done by this engine of a chain; ``reason`` as in ``Serving``."""
        self._served(self.number, stage, engine, reason)

    def mark(self, name: str) -> None:
        """Note the first time that something happened."""
        self._marks.first(name, self._context.now())
