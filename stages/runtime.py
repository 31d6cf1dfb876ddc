"""The loop that every stage shares: one thread owns all sockets, ``concurrency`` threads do the work.

Life: connect, Hello, ``setup`` in a thread while beats go out, serve, and on SIGTERM finish what is in hand.
A broker's Greeting names its epoch: items of another one are void. It is answered by Hello (with what is still
in hand) and, once loaded, by one Ready. Work is read only after the first Greeting, orders before work.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from broker.ipc import wire
from broker.ipc.faults import Faults
from broker.ipc.guards import DEVICE_GONE, PARENT_GONE
from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrSound,
    Beat,
    Cancel,
    ChainRow,
    Greeting,
    Hello,
    Item,
    Message,
    Ready,
    TensorAnswer,
    histogram_rows,
)
from broker.ipc.sockets import Endpoints, SocketFactory
from configs import logs
from configs.load import ConfigError
from configs.schema import Config
from models.api import EngineError, EngineGoneError, EngineLostError
from models.meter import GpuUse
from stages.feed import WorkFeed
from stages.gauge import UNKNOWN, Gauge
from stages.outbox import Outbox
from stages.recorder import Recorder, path_of
from stages.stage import Stage

EXIT_FAILED = 1
EXIT_CONFIG = 78
CONFIGURATION_CODES = frozenset({"UNSUPPORTED", "INVALID_ARGUMENT"})
"""Codes of an ``EngineError`` in ``setup`` that no restart will heal."""
KNOWN = EngineError | EngineLostError | ConfigError
"""Errors whose own words say enough."""
MAX_WAITING = 1024
"""Messages that no handler has taken; beyond it the work socket is left alone and its high-water mark holds."""
READ_AT_ONCE = 64
"""Messages read from one socket before the others get their turn."""
FLUSH_S = 1.0
"""For the last outputs to leave at exit."""
CUT_S = 0.5
"""From the end of stdin (nobody waits for results) to the exit of a stopping process."""
CHANGE_S = 0.2
"""Least time between two beats that tell of idle and busy, or of a phase of loading."""
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is."""

    instance: str
    epoch: int
    boot: str
    parent: int | None = None
    """Pid of the supervisor; None when started by hand."""


class Runtime:
    """One stage process. ``run`` is called once, from the main thread."""

    def __init__(self, stage: Stage, identity: Identity) -> None:
        """Raises ValueError for a malformed ``MUSECAST_FAULT``."""
        self._stage = stage
        self._me = identity
        self._log = logs.get()
        self._cooldown = logs.Cooldown()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._outbox = Outbox(self._wake)
        self._feed = WorkFeed(
            identity.instance,
            identity.epoch,
            self._outbox,
            Faults(stage.name, identity.instance, identity.epoch),
            Recorder(path_of(stage.config.runtime_dir, identity.instance, identity.epoch)),
            self._wake,
            stage.meter,
        )
        logs.trace_work(self._feed.in_hand)
        self._gauge: Gauge | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._handlers: list[threading.Thread] = []
        self._broker = 0
        self._terms = 0
        self._stopping_since: float | None = None
        self._parent_gone_at: float | None = None
        self._exit_code: int | None = None
        self._phase = self._told_phase = ""
        self._error = ""
        self._loader: threading.Thread | None = None
        self._load_failure: BaseException | None = None
        self._failure: BaseException | None = None
        self._begun = time.monotonic()
        self._load_s = 0.0
        self._ready = False
        self._blocked = False
        self._reading = False
        self._state = "starting"
        self._beat_at = 0.0
        self._idle_since = time.monotonic()

    # --- life ---

    def run(self) -> int:
        """Serve until told to end; returns the exit code."""
        signal.signal(signal.SIGTERM, self._on_term)
        self._connect()
        self._feed.post(Hello(src="", ep=0, stage=self._stage.name, pid=os.getpid()))
        self._beat(time.monotonic())
        self._loader = threading.Thread(target=self._load, name="load", daemon=True)
        self._loader.start()
        try:
            while self._exit_code is None:
                self._turn()
            return self._leave()
        finally:
            self._close()

    @property
    def clean(self) -> bool:
        """Whether no thread of ours is left, so that the interpreter may end in the ordinary way."""
        threads = [*self._handlers, *([self._loader] if self._loader else [])]
        return not any(thread.is_alive() for thread in threads)

    def _connect(self) -> None:
        endpoints = Endpoints(self._stage.config.runtime_dir)
        make = SocketFactory(self._context)
        self._ingress = make.push_connect(endpoints.ingress)
        self._health = make.push_connect(endpoints.health, hwm=4)
        self._orders = make.pull_connect(endpoints.orders(self._me.instance, self._me.epoch))
        self._work = make.pull_connect(endpoints.work(self._me.instance, self._me.epoch))
        self._poller.register(self._orders, zmq.POLLIN)
        self._poller.register(self._wake_fd, select.POLLIN)
        if self._me.parent is not None and stat.S_ISFIFO(os.fstat(0).st_mode):
            self._poller.register(0, select.POLLIN)

    def _turn(self) -> None:
        """One round of the I/O thread."""
        events = dict(self._poller.poll(self._timeout_ms(time.monotonic())))
        if self._wake_fd in events:
            os.eventfd_read(self._wake_fd)
        if 0 in events and not os.read(0, 4096):
            self._on_parent_gone()
        self._read_orders()
        if self._reading:
            self._read_work()
        self._flush()
        now = time.monotonic()
        self._after_load(now)
        self._watch(now)
        self._choose_sockets()

    def _timeout_ms(self, now: float) -> int:
        due = self._beat_at + self._stage.config.supervisor.beat_s
        idle_exit = self._stage.settings.idle_exit_s
        if idle_exit and self._state == "idle" and not self._outbox:
            due = min(due, self._idle_since + idle_exit)
        if (self._present_state(), self._phase) != (self._state, self._told_phase):
            due = min(due, self._beat_at + CHANGE_S)
        if self._parent_gone_at is not None:
            due = min(due, self._parent_gone_at + CUT_S)
        return max(0, int((due - now) * 1000) + 1)

    def _choose_sockets(self) -> None:
        """Poll for what there is something to do about."""
        reading = self._broker > 0 and not self._feed.stopping and self._feed.waiting < MAX_WAITING
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._poller.register(self._work, zmq.POLLIN)
            else:
                self._poller.unregister(self._work)
        blocked = len(self._outbox) > 0
        if blocked != self._blocked:
            self._blocked = blocked
            if blocked:
                self._poller.register(self._ingress, zmq.POLLOUT)
            else:
                self._poller.unregister(self._ingress)

    def _watch(self, now: float) -> None:
        """Beats, and the reasons to end."""
        state = self._present_state()
        if not (state == self._state == "idle"):
            self._idle_since = now
        changed = state != self._state or self._phase != self._told_phase
        beat_s = self._stage.config.supervisor.beat_s
        wait = min(CHANGE_S, beat_s) if changed else beat_s
        at_once = state != self._state and {state, self._state} != {"idle", "busy"}
        if at_once or now - self._beat_at >= wait:
            self._state = state
            self._beat(now)
        if self._terms and self._stopping_since is None:
            self._stopping_since = now
            self._feed.stop()
            self._log.info("stage.draining", item=(self._feed.oldest(now) or ("",))[0])
        if self._terms > 1:
            self._feed.cut()
        if self._stopping_since is not None:
            self._maybe_leave(now)
        elif self._failure is not None:
            self._exit_code = self._report_failure(self._failure, now)
        elif self._idle_too_long(now):
            self._log.info("stage.idle", idle_s=round(now - self._idle_since, 1))
            self._terms += 1
            self._wake()

    def _idle_too_long(self, now: float) -> bool:
        limit = self._stage.settings.idle_exit_s
        idle = self._state == self._present_state() == "idle"
        return bool(limit) and idle and not self._outbox and now - self._idle_since >= limit

    def _maybe_leave(self, now: float) -> None:
        loading = not self._ready and self._loader is not None and self._loader.is_alive()
        working = any(thread.is_alive() for thread in self._handlers)
        cut = self._parent_gone_at is not None and now - self._parent_gone_at >= CUT_S
        if loading or not working or cut:
            self._exit_code = 0

    def _leave(self) -> int:
        """Last outputs out, engine released."""
        if self._gauge is not None:
            self._gauge.stop()
        deadline = time.monotonic() + FLUSH_S
        while self._outbox and time.monotonic() < deadline and self._parent_gone_at is None:
            self._ingress.poll(int(FLUSH_S * 1000), zmq.POLLOUT)
            self._flush()
        if self._outbox:
            self._log.warning("outbox.abandoned", messages=len(self._outbox), limit_s=FLUSH_S)
        if self.clean:
            try:
                self._stage.teardown()
            except Exception:
                self._log.exception("engine.close_failed")
        return self._exit_code or 0

    def _close(self) -> None:
        for socket in (self._orders, self._work):
            socket.close(linger=0)
        self._ingress.close(linger=0 if self._parent_gone_at is not None else None)
        self._health.close()
        self._context.term()  # waits at most the sockets' linger

    # --- loading and handling, in threads of their own ---

    def _load(self) -> None:
        try:
            self._stage.setup(self._progress)
        except BaseException as error:  # whatever it is, the I/O thread must hear of it
            self._load_failure = error
        else:
            self._load_s = time.monotonic() - self._begun
            self._ready = True
        self._wake()

    def _progress(self, phase: str, done: int, total: int) -> None:
        phase = f"{phase} {done}/{total}" if total else phase
        if phase != self._phase:
            self._phase = phase
            self._wake()

    def _after_load(self, now: float) -> None:
        """React once to the end of ``setup``."""
        if self._load_failure is not None and self._exit_code is None:
            self._exit_code = self._load_failed(self._load_failure, now)
        if not self._ready or self._handlers or self._stopping_since is not None:
            return
        self._log.info("stage.ready", load_s=round(self._load_s, 2), engine=self._stage.serving)
        self._idle_since = now
        if self._stage.gpu is not None:
            self._gauge = Gauge(self._stage.gpu)
            self._gauge.start()
        if self._broker:
            self._feed.post(self._ready_message())
        for number in range(self._stage.settings.concurrency):
            thread = threading.Thread(target=self._handle, name=f"handler.{number}", daemon=True)
            self._handlers.append(thread)
            thread.start()

    def _load_failed(self, error: BaseException, now: float) -> int:
        config = isinstance(error, ConfigError) or (
            isinstance(error, EngineError) and error.code in CONFIGURATION_CODES
        )
        known = isinstance(error, KNOWN)
        self._log.error("stage.load_failed", reason=_reason(error), exc_info=None if known else error)
        code = self._report_failure(error, now)
        return EXIT_CONFIG if config else code

    def _report_failure(self, error: BaseException, now: float) -> int:
        """Tell the supervisor; returns the exit code, which says whether another start may help."""
        self._error = _reason(error)
        self._beat(now)
        return DEVICE_GONE if isinstance(error, EngineGoneError) else EXIT_FAILED

    def _handle(self) -> None:
        try:
            self._stage.run(self._feed)
            if not self._feed.stopping:
                raise RuntimeError("run() returned although the process is not stopping")
        except BaseException as error:
            self._log.exception("handler.failed")
            self._failure = error  # after the line in the log: the process ends upon it
        finally:
            self._wake()

    # --- what comes in ---

    def _receive(self, socket: zmq.Socket[bytes]) -> tuple[Message, list[memoryview]] | None:
        """The next good message, or None when the socket is empty. Bad ones are counted and skipped."""
        while True:
            try:
                frames: Sequence[Any] = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            try:
                return wire.unpack(frames)
            except wire.WireError as error:
                self._complain("wire.refused", reason=str(error))

    def _read_orders(self) -> None:
        while (received := self._receive(self._orders)) is not None:
            message, buffers = received
            if isinstance(message, Greeting):
                self._greet(message.broker)
            elif isinstance(message, Cancel):
                self._feed.cancel(message.items)
            elif isinstance(message, TensorAnswer):
                self._feed.answer(message, buffers)
            else:
                self._complain("order.unknown", type=type(message).__name__)

    def _greet(self, broker: int) -> None:
        """A broker is there. A repeated Greeting needs no second answer, an older one is a leftover."""
        if broker <= self._broker:
            return
        self._broker = broker
        held = self._feed.adopt(broker)
        self._log.info("broker.greeted", broker=broker, held=held)
        self._feed.post(Hello(src="", ep=0, stage=self._stage.name, pid=os.getpid(), ready=self._ready, held=held))
        if self._handlers:
            self._feed.post(self._ready_message())

    def _ready_message(self) -> Ready:
        return Ready(
            src="",
            ep=0,
            stage=self._stage.name,
            engine=self._stage.serving,
            device=self._stage.device,
            credit=self._stage.credit,
            load_s=round(self._load_s, 3),
            info=self._stage.info,
        )

    def _read_work(self) -> None:
        for _ in range(READ_AT_ONCE):
            received = self._receive(self._work)
            if received is None:
                return
            message, buffers = received
            if isinstance(message, Item | AsrAudio | AsrSound | AsrClose):
                self._accept(message, buffers)
            else:
                self._complain("work.unknown", type=type(message).__name__)

    def _accept(self, message: Item | AsrAudio | AsrSound | AsrClose, buffers: list[memoryview]) -> None:
        """A broker gives work only after the Ready that answers its Greeting, so any other's is a leftover."""
        if message.broker == self._broker:
            self._feed.offer(message, buffers)
        else:
            self._complain("work.void", broker=message.broker, adopted=self._broker)

    # --- what goes out ---

    def _flush(self) -> None:
        """Send until the outbox is empty or the socket is full."""
        while (parcel := self._outbox.head()) is not None:
            try:
                self._ingress.send_multipart(parcel.frames, zmq.NOBLOCK)
            except zmq.Again:
                return
            self._outbox.shift()

    def _present_state(self) -> str:
        if self._stopping_since is not None:
            return "draining"
        if not self._handlers:
            return "loading"
        return "idle" if self._feed.oldest(time.monotonic()) is None else "busy"

    def _beat(self, now: float) -> None:
        """Tell the supervisor; dropped when it does not read, because old beats are worthless."""
        self._beat_at = now
        self._told_phase = self._phase
        oldest = self._feed.oldest(now)
        chain = self._stage.engine_chain
        gpu = UNKNOWN if self._gauge is None else self._gauge.latest
        beat = Beat(
            src=self._me.instance,
            ep=self._me.epoch,
            stage=self._stage.name,
            pid=os.getpid(),
            state=self._state,
            phase=self._phase if self._state == "loading" else "",
            engine=self._stage.serving or None,
            device=self._stage.device,
            item=oldest[0] if oldest else "",
            busy_ms=int(oldest[1] * 1000) if oldest else 0,
            gpu_mem_mb=gpu.memory_mb,
            gpu_util=gpu.utilisation,
            metrics=self._stage.figures | _of_device(gpu),
            histograms=histogram_rows(self._stage.histograms),
            chain=[ChainRow(engine=one.engine, state=one.state) for one in (chain.standings if chain else ())],
            error=self._error,
        )
        try:
            self._health.send_multipart(wire.pack(beat), zmq.NOBLOCK)
        except zmq.Again:
            self._complain("beat.dropped")

    # --- signals ---

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _on_term(self, *_: object) -> None:
        self._terms += 1
        self._wake()

    def _on_parent_gone(self) -> None:
        """The pipe on stdin has ended: the supervisor is gone, or waits for nothing more from us."""
        self._poller.unregister(0)
        if self._stopping_since is None and not self._terms:
            self._log.error("parent.gone")
            os._exit(PARENT_GONE)
        self._feed.cut()
        self._parent_gone_at = time.monotonic()

    def _complain(self, event: str, **fields: Any) -> None:
        held_back = self._cooldown.ready(event)
        if held_back is not None:
            self._log.warning(event, more=held_back, **fields)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, KNOWN) else f"{type(error).__name__}: {error}"


def _of_device(gpu: GpuUse) -> dict[str, float]:
    """What is known of the whole GPU, beside what this process holds of it."""
    found = {"gpu_device_used_mb": gpu.device_used_mb, "gpu_device_mb": gpu.device_mb}
    return {name: value for name, value in found.items() if value is not None}


def report_failure(config: Config, identity: Identity, stage: str, reason: str) -> None:
    """Tell the supervisor why a stage could not even be constructed."""
    beat = Beat(
        src=identity.instance, ep=identity.epoch, stage=stage, pid=os.getpid(), state="loading", error=reason
    )
    with zmq.Context() as context:
        health = SocketFactory(context).push_connect(Endpoints(config.runtime_dir).health, hwm=4)
        health.send_multipart(wire.pack(beat), zmq.NOBLOCK)
        health.close()  # the context waits for its linger
