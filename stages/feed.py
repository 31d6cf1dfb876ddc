"""The two faces of a stage's work: the handlers' (``Feed``, ``Work`` of stages/stage.py) and the I/O thread's."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from broker.ipc import wire
from broker.ipc.faults import Faults
from broker.ipc.messages import Cancelled, Done, Failed, FromStage, Item, Message, Output, Started, TensorAnswer
from configs import logs
from models.api import Cancel, EngineError
from models.meter import Meter
from stages.outbox import Outbox
from stages.recorder import Recorder

MAX_EARLY = 256
"""Cancelled ids kept for items that are still on their way; the oldest is forgotten first."""

_log = logs.get()
_cooldown = logs.Cooldown()


class HeldWork:
    """One item in this process; see ``stages.stage.Work``."""

    __slots__ = (
        "_closed", "_feed", "_index", "answered", "begun", "buffers", "cancel", "flag", "item", "moved", "thread",
        "void",
    )  # fmt: skip

    def __init__(self, feed: WorkFeed, item: Item, buffers: list[memoryview]) -> None:
        self.item = item
        self.buffers = buffers
        self.flag = threading.Event()
        self.cancel: Cancel = self.flag
        self.begun: float | None = None
        """Monotonic time of ``started``."""
        self.moved = 0.0
        """Monotonic time of the last progress."""
        self.answered: tuple[TensorAnswer, list[memoryview]] | None = None
        """The latest answer; an item asks for one thing at a time."""
        self.void = False
        """The broker that sent it is gone: nothing about it is sent any more."""
        self.thread = 0
        """Which has taken it up."""
        self._feed = feed
        self._index = 0
        self._closed = False

    def started(self) -> None:
        """See ``Work.started``; a second call does nothing."""
        if self.begun is not None:
            return
        self.begun = self.moved = time.monotonic()
        self.thread = threading.get_ident()
        self._feed.recorder.begin(self.item.id)
        self._say(Started(src="", ep=0, id=self.item.id, attempt=self.item.attempt))

    def progress(self) -> None:
        """See ``Work.progress``."""
        self._feed.faults.passing("progress", self.item.id)
        self.moved = self._feed.moved = time.monotonic()

    def emit(self, output: Output, buffers: Sequence[Any] = ()) -> None:
        """See ``Work.emit``. After a cancel nothing is sent.

        Raises:
            RuntimeError: the item is already finished.
        """
        if self._closed:
            raise RuntimeError(f"item {self.item.id} emits after its end")
        self.progress()
        self._feed.faults.delay(self.item.id, getattr(output, "frames", 1))
        if self.cancel.is_set():
            return
        self._feed.faults.passing("before_output", self.item.id)
        output.id, output.attempt, output.index = self.item.id, self.item.attempt, self._index
        if self._say(output, buffers):
            self._index += 1
        elif not self.cancel.is_set():
            self.flag.set()  # a hole in the outputs would be refused downstream anyway
            _log.error("outbox.stuck", item=self.item.id, hint="the broker has taken nothing for a minute")

    def answer(self, number: int, timeout_s: float) -> tuple[TensorAnswer, list[memoryview]] | None:
        """See ``Work.answer``."""
        return self._feed.wait_answer(self, number, timeout_s)

    def done(self) -> None:
        """See ``Work.done``."""
        if self.cancel.is_set():
            self._close(Cancelled(src="", ep=0, id=self.item.id, attempt=self.item.attempt))
            return
        self._feed.faults.passing("before_done", self.item.id)
        busy_s = 0.0 if self.begun is None else time.monotonic() - self.begun
        self._feed.meter.count("items")
        self._feed.meter.took("item", busy_s)
        self._close(Done(src="", ep=0, id=self.item.id, attempt=self.item.attempt, busy_ms=busy_s * 1000))

    def fail(self, code: str, message: str, *, retryable: bool = False) -> None:
        """See ``Work.fail``; logged here, with the stack when an unexpected exception is being handled."""
        if self.cancel.is_set():
            self._close(Cancelled(src="", ep=0, id=self.item.id, attempt=self.item.attempt))
            return
        self._feed.meter.count("failed")
        held_back = _cooldown.ready("item.failed")
        if held_back is not None:
            error = sys.exc_info()[1]
            unexpected = error is not None and not isinstance(error, EngineError)
            own = code == "INVALID_ARGUMENT" and not unexpected  # the client's own, and the client is told
            (_log.info if own else _log.warning)(
                "item.failed",
                item=self.item.id,
                attempt=self.item.attempt,
                code=code,
                message=message,
                more=held_back,
                exc_info=unexpected,
            )
        self._close(
            Failed(
                src="",
                ep=0,
                id=self.item.id,
                attempt=self.item.attempt,
                code=code,
                message=message,
                retryable=retryable,
            )
        )

    def _close(self, message: FromStage) -> None:
        if self._closed:
            return
        self._closed = True
        self._say(message)
        self._feed.recorder.end(self.item.id)
        self._feed.release(self)

    def _say(self, message: FromStage, buffers: Sequence[Any] = ()) -> bool:
        return self._feed.say(message, buffers, self.item.broker, self._wanted)

    def _wanted(self) -> bool:
        self.progress()
        return not self.void


class WorkFeed:
    """All work of one process; see ``stages.stage.Feed``.

    Handler threads call ``get``, ``messages``, ``send``; other threads of the stage call ``send``, ``working``,
    ``fail``; the I/O thread calls the rest.
    """

    def __init__(
        self,
        src: str,
        epoch: int,
        outbox: Outbox,
        faults: Faults,
        recorder: Recorder,
        changed: Callable[[], None],
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter or Meter()
        self.faults = faults
        self.recorder = recorder
        self.moved = time.monotonic()
        """Monotonic time of the last progress on anything."""
        self._src = src
        self._epoch = epoch
        self._outbox = outbox
        self._changed = changed
        self._lock = threading.Lock()
        self._has_item = threading.Condition(self._lock)
        self._has_message = threading.Condition(self._lock)
        self._has_answer = threading.Condition(self._lock)
        self._queue: deque[HeldWork] = deque()
        self._stream: deque[tuple[Message, list[memoryview], int]] = deque()
        self._held: dict[HeldWork, None] = {}
        self._early: deque[str] = deque(maxlen=MAX_EARLY)
        """Ids whose CANCEL has overtaken them: orders and work come on two sockets."""
        self._heard: dict[int, tuple[str, float]] = {}
        """By thread: the stream message or piece that it is dealing with, and since when it has not moved."""
        self._failure: BaseException | None = None
        self._broker = 0
        self._stopping = False

    # --- handlers ---

    def get(self, timeout_s: float | None = None, *, start: bool = True) -> HeldWork | None:
        """See ``Feed.get``."""
        with self._has_item:
            self._has_item.wait_for(lambda: self._queue or self._stopping or self._failure, timeout_s)
            self._check()
            if self._stopping or not self._queue:
                return None
            work = self._queue.popleft()
            work.moved = time.monotonic()
            self._held[work] = None
        if start:
            work.started()
        return work

    def messages(self, timeout_s: float | None = None) -> tuple[Message, list[memoryview]] | None:
        """See ``Feed.messages``. Until its next call the thread counts as busy with the message."""
        thread = threading.get_ident()
        with self._has_message:
            was_busy = self._heard.pop(thread, None) is not None
            if not self._stream and was_busy:
                self._changed()
            self._has_message.wait_for(lambda: self._stream or self._stopping or self._failure, timeout_s)
            self._check()
            if self._stopping or not self._stream:
                return None
            message, buffers, _ = self._stream.popleft()
            label = f"{type(message).__name__} {getattr(message, 'sid', '')}"
            self._heard[thread] = (label, time.monotonic())
        return message, buffers

    def send(self, message: FromStage, buffers: Sequence[Any] = ()) -> None:
        """See ``Feed.send``."""
        thread = threading.get_ident()
        broker = self._broker

        def wanted() -> bool:
            heard = self._heard.get(thread)
            if heard is not None:
                self._heard[thread] = (heard[0], time.monotonic())
            return broker == self._broker

        wanted()
        self.say(message, buffers, broker, wanted)

    def wait_answer(
        self, work: HeldWork, number: int, timeout_s: float
    ) -> tuple[TensorAnswer, list[memoryview]] | None:
        """See ``Work.answer``."""

        def there() -> bool:
            return work.answered is not None and work.answered[0].number == number

        with self._has_answer:
            self._has_answer.wait_for(lambda: there() or work.flag.is_set(), timeout_s)
            found, work.answered = (work.answered if there() else None), None
        return found

    @contextmanager
    def working(self, label: str) -> Iterator[None]:
        """See ``Feed.working``."""
        thread = threading.get_ident()
        with self._lock:
            self._heard[thread] = (label, time.monotonic())
        self._changed()
        try:
            yield
        finally:
            with self._lock:
                self._heard.pop(thread, None)
            self._changed()

    def fail(self, error: BaseException) -> None:
        """See ``Feed.fail``."""
        with self._lock:
            self._failure = error
            self._has_item.notify_all()
            self._has_message.notify_all()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    @property
    def stopping(self) -> bool:
        """See ``Feed.stopping``."""
        return self._stopping

    def say(self, message: FromStage, buffers: Sequence[Any], broker: int, wanted: Callable[[], bool]) -> bool:
        """Stamp, pack and put into the outbox; False when it became void or the outbox stayed full."""
        if broker != self._broker:
            return False
        message.src, message.ep, message.broker = self._src, self._epoch, broker
        flat = [_flat(buffer) for buffer in buffers]
        return self._outbox.put(wire.pack(message, flat), broker, wanted)

    def release(self, work: HeldWork) -> None:
        """The item has ended."""
        with self._lock:
            self._held.pop(work, None)
            self.moved = time.monotonic()
        self._changed()

    # --- the I/O thread ---

    def offer(self, message: Message, buffers: list[memoryview]) -> None:
        """Queue an item or a stream message of the adopted broker; one that is cancelled already is answered."""
        with self._lock:
            if not isinstance(message, Item):
                self._stream.append((message, buffers, getattr(message, "broker", self._broker)))
                self._has_message.notify()
                return
            if message.id not in self._early:
                self._queue.append(HeldWork(self, message, buffers))
                self._has_item.notify()
                return
            self._early.remove(message.id)
        self._give_up(message)

    def cancel(self, ids: Iterable[str]) -> None:
        """Drop these when queued, flag them when in hand, else remember them: they may not have come yet."""
        wanted = set(ids)
        with self._lock:
            dropped = [work for work in self._queue if work.item.id in wanted]
            for work in dropped:
                self._queue.remove(work)
            held = [work for work in self._held if work.item.id in wanted]
            for work in held:
                work.flag.set()
            self._has_answer.notify_all()
            self._early.extend(wanted - {work.item.id for work in (*dropped, *held)} - set(self._early))
        for work in dropped:
            self._give_up(work.item)

    def answer(self, message: TensorAnswer, buffers: list[memoryview]) -> None:
        """Hand an answer to the item that asked; one for an older attempt or an item that has ended is dropped."""
        with self._lock:
            for work in self._held:
                if (work.item.id, work.item.attempt) == (message.id, message.attempt) and not work.void:
                    work.answered = (message, buffers)
            self._has_answer.notify_all()

    def _give_up(self, item: Item) -> None:
        self.post(Cancelled(src="", ep=0, id=item.id, attempt=item.attempt))

    def post(self, message: FromStage) -> None:
        """Say something small at once."""
        message.src, message.ep, message.broker = self._src, self._epoch, self._broker
        self._outbox.post(wire.pack(message), self._broker)

    def adopt(self, broker: int) -> list[str]:
        """Work for this broker from now on; returns the ids of void items that are still in hand."""
        with self._lock:
            self._broker = broker
            self._queue.clear()
            self._stream.clear()
            self._early.clear()
            for work in self._held:
                work.void = True
                work.flag.set()
            self._has_answer.notify_all()
            held = [work.item.id for work in self._held]
        self._outbox.purge(broker)
        return held

    def stop(self) -> None:
        """Hand out nothing more. What is queued is left to the next incarnation."""
        with self._lock:
            self._stopping = True
            self._queue.clear()
            self._stream.clear()
            self._has_item.notify_all()
            self._has_message.notify_all()

    def cut(self) -> None:
        """Flag everything in hand as cancelled."""
        with self._lock:
            for work in self._held:
                work.flag.set()
            self._has_answer.notify_all()

    def in_hand(self) -> list[str]:
        """Ids of the items that this thread has taken up and not finished; where it has none, of all threads.

        Takes no lock, for it is asked by whoever writes a line of the log.
        """
        begun = [work for work in (*self._held,) if work.begun is not None]
        mine = [work for work in begun if work.thread == threading.get_ident()]
        return [work.item.id for work in mine or begun]

    @property
    def waiting(self) -> int:
        """Items and messages that no handler has taken."""
        return len(self._queue) + len(self._stream)

    def oldest(self, now: float) -> tuple[str, float] | None:
        """The thing in hand that has gone longest without progress, and for how many seconds.

        An item that is taken but not started (a stage that batches) waits for its turn: it ages only while
        nothing in the process moves.
        """
        with self._lock:
            ages = [
                (now - (work.moved if work.begun is not None else max(work.moved, self.moved)), work.item.id)
                for work in self._held
            ]
            ages += [(now - since, label) for label, since in self._heard.values()]
            if not ages and not self.waiting:
                return None
        age, name = max(ages, default=(0.0, ""))
        return name, max(age, 0.0)


def _flat(buffer: Any) -> memoryview:
    """The bytes of any C-contiguous buffer; raises TypeError for others."""
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")
