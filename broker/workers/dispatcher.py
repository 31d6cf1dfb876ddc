"""Between the ledger and the links: items go out, are voided, found lost, and fail for whoever wanted them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from broker.errors import ErrorCode, contained
from broker.workers.ledger import Entry, Ledger
from broker.workers.links import Links
from configs.schema import Config

log = structlog.get_logger()

LOST_FACTOR = 1.5
"""A lease older than this many item timeouts, on a worker that lives, is lost."""


class Dispatcher:
    """Carries out what the ledger decides.

    Args:
        epoch: this broker's; stamped on every item.
        touch: called with a session id whose turn may go on.
        now: monotonic microseconds.
    """

    def __init__(
        self,
        config: Config,
        epoch: int,
        ledger: Ledger,
        links: Links,
        touch: Callable[[str], None],
        now: Callable[[], int],
    ) -> None:
        self._epoch = epoch
        self._ledger = ledger
        self._links = links
        self._touch = touch
        self._now = now
        self._limits_us = {
            stage: int(getattr(config.stages, stage).item_timeout_s * LOST_FACTOR * 1_000_000)
            for stage in config.stages.__struct_fields__
        }

    def dispatch(self) -> None:
        """Hand out what workers have room for."""
        for worker, entry in self._ledger.dispatch(self._now()):
            try:
                message, buffers = entry.build(self._epoch)
                sent = self._links.send(worker.instance, message, buffers)
            except Exception as error:  # one item that cannot be sent must not hold up the rest
                log.exception("item.unsendable", item=entry.id)
                self._ledger.cancel([entry.id])
                self._ledger.unlease(entry)
                self.fail(entry, ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
                continue
            if not sent:
                worker.blocked = True
                self._ledger.unlease(entry)

    def writable(self, instance: str) -> None:
        """The worker's socket takes items again."""
        worker = self._ledger.workers.get(instance)
        if worker is not None:
            worker.blocked = False

    def cancel(self, item_ids: Sequence[str]) -> None:
        """Void items and tell the workers that hold them."""
        for worker, ids in self._ledger.cancel(item_ids).items():
            self._links.cancel(worker.instance, ids)

    def fail(self, entry: Entry, code: ErrorCode, reason: str) -> None:
        """The entry is out of the ledger: tell whoever wanted it."""
        contained("job.failed", lambda: entry.job.failed(code, reason))
        self._touch(entry.id.split("/", 1)[0])

    def find_lost(self) -> None:
        """Take back leases that do not move though their worker lives; once a second is right."""
        for entry in self._ledger.overdue(self._limits_us, self._now()):
            log.error("item.lost", item=entry.id, stage=entry.stage, attempt=entry.attempt)
            if entry.worker is not None:
                self._links.cancel(entry.worker.instance, [entry.id])
            if self._ledger.lost(entry):
                lost = f"{entry.stage} lost it {entry.failures} times; see the log for item.lost"
                self.fail(entry, ErrorCode.FAILED, lost)
