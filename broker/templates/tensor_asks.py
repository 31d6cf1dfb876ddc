"""Network work that preparations ask of lip-sync: a batch at a time, behind everything that will be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from broker.context import Context
from broker.errors import ErrorCode
from broker.ipc.messages import Item, Message, Output, PrepareAsk, TensorAnswer, TensorItem, TensorResult

log = structlog.get_logger()

Order = Callable[[str, Message, Sequence[Any]], None]
"""Sends a message to an instance on its socket for orders."""


class Asks:
    """One ask is in the ledger at a time, whoever asks; the others wait here in their order.

    A preparation waits for each answer, so there are never more of them than preparations.
    """

    def __init__(self, context: Context, order: Order) -> None:
        self._context = context
        self._order = order
        self._waiting: deque[TensorJob] = deque()
        self._current: TensorJob | None = None
        self._count = 0

    def submit(self, ask: PrepareAsk, buffers: Sequence[Any]) -> None:
        """Take up an ask; it is answered in any case, unless its preparation is gone by then."""
        if ask.engine not in self._context.config.engines.lipsync:
            self.refuse(ask, ErrorCode.FAILED, f"{ask.engine} is not in engines.lipsync, so no process runs it")
            return
        self._waiting.append(TensorJob(self, ask, buffers))
        self._next()

    def withdraw(self, item_id: str) -> None:
        """The preparation ``item_id`` waits for nothing any more."""
        self._drop(lambda ask: ask.id == item_id)

    def down(self, instance: str) -> None:
        """This worker is gone, and with it the preparation that waited."""
        self._drop(lambda ask: ask.src == instance)

    def _drop(self, void: Callable[[PrepareAsk], bool]) -> None:
        self._waiting = deque(job for job in self._waiting if not void(job.ask))
        current = self._current
        if current is not None and void(current.ask):
            self._context.cancel([current.item_id])
            self._current = None
            self._next()

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        self._current = job = self._waiting.popleft()
        self._count += 1
        job.item_id = f"{job.ask.id}/tensors/{self._count}"
        # The processes of "lipsync" run the first engine of the chain, those of "fallback" one of the others.
        stage = "lipsync" if job.ask.engine == self._context.config.engines.lipsync[0] else "fallback"
        self._context.ledger.submit(job.item_id, stage, job, priority=self._context.now(), background=True)

    def ended(self, job: TensorJob) -> None:
        """An ask has been answered."""
        if self._current is job:
            self._current = None
            self._next()

    def answer(self, ask: PrepareAsk, result: TensorResult, buffers: Sequence[Any]) -> None:
        """Hand the arrays to the worker that asked."""
        self._order(ask.src, self._reply(ask, heads=result.heads), buffers)

    def refuse(self, ask: PrepareAsk, code: ErrorCode, message: str) -> None:
        """Tell the worker that asked why there are none."""
        log.warning("ask.failed", item=ask.id, engine=ask.engine, kind=ask.kind, code=code, reason=message)
        self._order(ask.src, self._reply(ask, code=code, message=message), ())

    def _reply(self, ask: PrepareAsk, **fields: Any) -> TensorAnswer:
        return TensorAnswer(
            broker=self._context.epoch, id=ask.id, attempt=ask.attempt, number=ask.number, **fields
        )


class TensorJob:
    """One ask on its way through the ledger."""

    media_ms = 0

    def __init__(self, asks: Asks, ask: PrepareAsk, buffers: Sequence[Any]) -> None:
        self.ask = ask
        self.item_id = ""
        self._asks, self._buffers = asks, buffers
        self._result: tuple[TensorResult, list[memoryview]] | None = None

    def build(self) -> tuple[Item, Sequence[Any]]:
        """The same each time: another worker's answer is as good."""
        self._result = None
        ask = self.ask
        item = TensorItem(
            engine=ask.engine,
            kind=ask.kind,
            heads=ask.heads,
        )
        return item, self._buffers

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """The arrays."""
        assert isinstance(message, TensorResult)
        self._result = (message, buffers)

    def done(self) -> None:
        """Answer."""
        if self._result is None:
            self.failed(ErrorCode.FAILED, f"{self.ask.engine} ended the work without a result")
            return
        self._asks.answer(self.ask, *self._result)
        self._asks.ended(self)

    def failed(self, code: ErrorCode, message: str) -> None:
        """Answer with the reason; the preparation decides what it costs."""
        self._asks.refuse(self.ask, code, message)
        self._asks.ended(self)
