"""What the supervisor says: which processes come, which have died, how everyone is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from broker.errors import ErrorCode
from broker.ipc.messages import Demand, Down, Fenced, Message, Report, Up
from broker.ipc.wire import WireError, unpack
from broker.workers.dispatcher import Dispatcher
from broker.workers.ledger import Ledger
from broker.workers.links import Links
from broker.workers.poison import bury
from broker.workers.status import WorkerStatus
from configs.stages import ON_DEMAND

log = structlog.get_logger()


class Membership:
    """Handles one message of the supervisor at a time.

    Args:
        dead_items: folder for the headers of poison items.
        read_ingress: takes in everything that has arrived from workers.
        gone: called with an instance whose process is dead, once its items are requeued.
        reported: called when the supervisor has told how everyone is.
        tell: sends to the supervisor.
        now: monotonic microseconds.
    """

    def __init__(
        self,
        epoch: int,
        dead_items: Path,
        ledger: Ledger,
        links: Links,
        dispatcher: Dispatcher,
        status: WorkerStatus,
        read_ingress: Callable[[], None],
        gone: Callable[[str], None],
        reported: Callable[[], None],
        tell: Callable[[Message], None],
        now: Callable[[], int],
    ) -> None:
        self._epoch = epoch
        self._dead_items = dead_items
        self._ledger = ledger
        self._links = links
        self._dispatcher = dispatcher
        self._status = status
        self._read_ingress = read_ingress
        self._gone = gone
        self._reported = reported
        self._tell = tell
        self._now = now

    def receive(self, frames: list[bytes]) -> None:
        """Act on one message."""
        try:
            message, _ = unpack(frames)
        except WireError as error:
            log.warning("members.refused", reason=str(error))
            return
        if isinstance(message, Up):
            self._links.up(message.instance, message.epoch, message.stage)
            self._ledger.up(message.instance, message.epoch, message.stage)
        elif isinstance(message, Down):
            self._down(message)
        elif isinstance(message, Report):
            self._report(message)

    def _report(self, message: Report) -> None:
        self._status.report(message)
        for stage, reason in self._status.given_up().items():
            given_up = f"{stage} was given up: {reason}; see the log, then restart the daemon"
            for entry in self._ledger.give_up(stage):
                self._dispatcher.fail(entry, ErrorCode.FAILED, given_up)
        self._reported()

    def _down(self, message: Down) -> None:
        """Drain what the dead worker sent, fence it, give its work to others."""
        self._read_ingress()
        if self._links.epoch(message.instance) == message.epoch:
            self._fence(message)
        self._tell(Fenced(instance=message.instance, epoch=message.epoch))

    def _fence(self, message: Down) -> None:
        self._links.down(message.instance)
        self._status.down(message.instance)
        worker = self._ledger.workers.get(message.instance)
        fallout = self._ledger.down(
            message.instance,
            message.epoch,
            commanded=message.commanded,
            in_hand=message.in_hand,
            now=self._now(),
        )
        self._gone(message.instance)
        # A process that ended because it was told to, or had nothing to do, has lost nothing.
        quiet = not fallout.requeued and not fallout.poisoned and (message.commanded or message.reason == "exit 0")
        tell = log.info if quiet else log.warning
        tell(
            "stage.fenced",
            src=message.instance,
            epoch=message.epoch,
            reason=message.reason,
            in_hand=message.in_hand,
            requeued=[e.id for e in fallout.requeued],
            poisoned=[e.id for e in fallout.poisoned],
        )
        for entry in fallout.poisoned:
            bury(self._dead_items, entry, self._epoch, died=message.instance, reason=message.reason)
            last = f"the last was {message.instance}: {message.reason}"
            reason = f"it ended its process twice ({last}) and is set aside"
            self._dispatcher.fail(entry, ErrorCode.FAILED, reason)
        if worker is not None and worker.stage in ON_DEMAND and fallout.requeued:
            self._tell(Demand(stage=worker.stage))
