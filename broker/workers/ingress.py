"""What stages say, routed to ledger, asr streams and status. No socket in here: frames in, effects out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from broker.errors import ErrorCode
from broker.ipc.messages import (
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSpeechConfirmed,
    AsrSpeechEnded,
    AsrSpeechStarted,
    Cancelled,
    Done,
    Failed,
    FromStage,
    Hello,
    Output,
    Ready,
    Started,
)
from broker.ipc.wire import WireError, unpack
from broker.workers.asr_streams import AsrStreams
from broker.workers.ledger import REFUSED, Ledger
from broker.workers.status import WorkerStatus
from configs.stages import STAGES
from models.meter import Meter

log = structlog.get_logger()

BROKEN = "messages.broken"
Touch = Callable[[str], None]


class Ingress:
    """Handles one message of the ingress socket at a time.

    Args:
        epoch: this broker's; what answers an older one is void.
        cancel: voids items and tells their workers.
        touch: called with a session id whose turn may go on.
        current: the epoch that is bound for an instance, None when none is.
        meter: counts messages that do not count: ``messages.refused`` of what is past, ``messages.broken``.
    """

    def __init__(
        self,
        epoch: int,
        ledger: Ledger,
        asr_streams: AsrStreams,
        status: WorkerStatus,
        cancel: Callable[[Sequence[str]], None],
        touch: Touch,
        current: Callable[[str], int | None],
        now: Callable[[], int],
        meter: Meter,
    ) -> None:
        self._epoch = epoch
        self._ledger = ledger
        self._asr_streams = asr_streams
        self._status = status
        self._cancel = cancel
        self._touch = touch
        self._current = current
        self._now = now
        self._meter = meter

    def receive(self, frames: Sequence[Any]) -> None:
        """Act on one message; a bad one is counted and logged, never fatal."""
        try:
            message, buffers = unpack(frames)
        except WireError as error:
            self._meter.count(BROKEN)
            log.warning("ingress.refused", reason=str(error))
            return
        if not isinstance(message, FromStage):
            self._meter.count(BROKEN)
            log.warning("ingress.refused", reason=f"{type(message).__name__} does not come from a stage")
            return
        if message.broker not in (0, self._epoch):
            self._meter.count(REFUSED)
            return
        if isinstance(message, Output):
            self._output(message, buffers)
        elif isinstance(message, Started):
            self._ledger.started(message.src, message.ep, message.id, message.attempt, self._now())
        elif isinstance(message, Done):
            self._done(message)
        elif isinstance(message, Failed):
            self._failed(message)
        elif isinstance(message, Cancelled):
            self._ledger.cancelled(message.src, message.ep, message.id, message.attempt)
        else:
            self._other(message)

    def _output(self, message: Output, buffers: list[memoryview]) -> None:
        entry = self._ledger.output(message, self._now())
        if entry is None:
            return
        try:
            entry.job.output(message, buffers)
        except Exception as error:  # a stage's wrong output fails its item, not the daemon
            self._meter.count(BROKEN)
            log.exception("output.refused", item=entry.id, src=message.src)
            self._cancel([entry.id])
            entry.job.failed(ErrorCode.FAILED, f"{message.src} sent an output that does not fit: {error}")
            self._touch(_sid(entry.id))
        if not STAGES[entry.stage].whole_items:
            self._touch(_sid(entry.id))

    def _done(self, message: Done) -> None:
        entry = self._ledger.done(message.src, message.ep, message.id, message.attempt)
        if entry is not None:
            try:
                entry.job.done()
            except Exception as error:  # the item is out of the ledger: whoever waits for it must hear of it
                log.exception("job.broke", item=entry.id)
                entry.job.failed(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
            self._touch(_sid(entry.id))

    def _failed(self, message: Failed) -> None:
        args = (message.src, message.ep, message.id, message.attempt)
        entry = self._ledger.failed(*args, retryable=message.retryable)
        # What is wrong with a client's own input is told to the client.
        tell = log.info if message.code == ErrorCode.INVALID_ARGUMENT else log.warning
        tell(
            "item.failed",
            item=message.id,
            src=message.src,
            code=message.code,
            reason=message.message,
            again=entry is None,
        )
        if entry is not None:
            entry.job.failed(ErrorCode.of(message.code), message.message)
            self._touch(_sid(entry.id))

    def _other(self, message: FromStage) -> None:
        if self._current(message.src) != message.ep:
            self._meter.count(REFUSED)
        elif isinstance(
            message, AsrMark | AsrSpeechStarted | AsrSpeechConfirmed | AsrSpeechEnded | AsrPartial | AsrFinal
        ):
            self._asr_streams.heard(message.sid, message)
            self._touch(_sid(message.sid))
        elif isinstance(message, Ready):
            self._ready(message)
        elif isinstance(message, Hello):
            log.debug("stage.hello", src=message.src, epoch=message.ep, pid=message.pid, held=message.held)

    def _ready(self, message: Ready) -> None:
        if self._ledger.ready(message.src, message.ep, message.credit, self._now()) is None:
            return
        self._status.ready(message)
        log.info("stage.ready", src=message.src, epoch=message.ep, engine=message.engine, load_s=message.load_s)
        if message.stage == "asr":
            self._asr_streams.up(message.src, message.credit)


def _sid(item_id: str) -> str:
    return item_id.split("/", 1)[0]
