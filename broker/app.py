"""The broker process: one thread, one poll loop, the only owner of state. No models, no work per pixel."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import structlog
import zmq

from broker.control.operations import Operations
from broker.control.server import Control
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import Beat, Demand, Down, Fenced, Message, Report, TemplateReady, Up
from broker.ipc.sockets import Endpoints, SocketFactory, receive_now, send_now
from broker.ipc.wire import WireError, pack, unpack
from broker.media.pace import Pace
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.stream.events import Beacon
from broker.stream.joiners import Joiners
from broker.stream.publisher import Publisher
from broker.templates.catalog import BUILTIN, Catalog, Listed
from broker.templates.idle_cache import IdleCache
from broker.templates.preparation import Preparations
from broker.timers import Timers
from broker.workers.asr_streams import AsrStreams
from broker.workers.ingress import Ingress
from broker.workers.ledger import Entry, Ledger
from broker.workers.links import Links
from broker.workers.status import ON_DEMAND, WorkerStatus
from configs.schema import Config
from models.errors import EngineError
from models.templates.source import place_below

log = structlog.get_logger()

BATCH = 16
"""Messages taken from one socket before the others get their turn."""
SLICE_US = 1_000
"""The same for sockets whose messages may be large."""
GC_THRESHOLDS = (20_000, 20, 50)
"""Collections are rare and look only at what came after the start: a full one shows in the tail of the relay."""
DEFAULT_RETRY_S = 5.0
"""Until the default template is tried again after a failure."""
LOST_FACTOR = 1.5
"""A lease older than this many item timeouts, on a worker that lives, is lost (design 4)."""
DEAD_KEPT = 100
"""Poison items whose headers are kept."""
CLOSE_S = 1.0
"""For the last replies and events to leave at exit."""


class Broker:
    """Everything the daemon knows, and its loop.

    Args:
        config: resolved.
        boot: id of the supervisor's run.
        epoch: of this broker; items of another one are void.
    """

    builtin = frozenset(BUILTIN)

    def __init__(self, config: Config, boot: str, epoch: int) -> None:
        self.config = config
        self.boot = boot
        self.epoch = epoch
        self.draining = False
        self.stage_names = list(config.stages.__struct_fields__)
        self.versions = {
            "musecast": metadata.version("musecast"),
            "protocol": "1",
            "python": sys.version.split()[0],
        }
        self._started = self.now()
        self._stopping = False
        self._done = False
        self._dirty: dict[str, Session] = {}
        self._when_ready: list[Callable[[], None]] = []
        self.timers = Timers()
        self.ledger = Ledger()
        self.paces = {"lipsync": Pace(), "fallback": Pace(), "encode": Pace()}
        self.shelf = IdleCache(self)
        self.catalog = Catalog(config.state_dir)
        self.census = WorkerStatus(config)
        self._open_sockets()
        self.hearing = AsrStreams(self._links.send)
        self.sessions = Sessions(self, self.hearing.forget)
        self.workshop = Preparations(self, self.catalog, self._tell, self.sessions.shows, self._links.order)
        self._control = Control(self._router, Operations(self).table(), config.limits.control_bytes)
        self._ingress = Ingress(
            epoch, self.ledger, self.hearing, self.census, self.cancel, self._touch_id, self._links.epoch, self.now
        )
        self._limits_us = {
            s: int(getattr(config.stages, s).item_timeout_s * LOST_FACTOR * 1_000_000) for s in self.stage_names
        }

    def _open_sockets(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = 4096
        factory = SocketFactory(self._context)
        ends = Endpoints(self.config.runtime_dir)
        self._poller = zmq.Poller()
        self._pull = factory.pull_bind(ends.ingress)
        self._members = factory.pull_bind(ends.members, hwm=1000)
        self._health = factory.push_connect(ends.health, hwm=1000)
        self._router = factory.router_bind(self.config.endpoints.control)
        self._xpub = factory.xpub_bind(self.config.endpoints.stream, sessions=self.config.limits.sessions)
        self._joiners = Joiners(self._xpub)
        self._links = Links(factory, ends, self._poller, self.epoch)
        self.publisher = Publisher(self._xpub, self.boot, self.config.ring, self._joiners)
        for sock in (self._pull, self._members, self._router, self._xpub, self._joiners.monitor):
            self._poller.register(sock, zmq.POLLIN)
        self._wake, wake_up = socket.socketpair()
        self._wake.setblocking(False)
        wake_up.setblocking(False)
        self._wake_up = wake_up
        signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._poller.register(self._wake.fileno(), zmq.POLLIN)

    # --- Context ---

    def now(self) -> int:
        """Monotonic microseconds."""
        return time.monotonic_ns() // 1000

    def touch(self, session: Session) -> None:
        """Look at this session again before the loop sleeps."""
        self._dirty[session.id] = session

    def _touch_id(self, sid: str) -> None:
        session = self.sessions.live.get(sid)
        if session is not None:
            self._dirty[sid] = session

    def cancel(self, item_ids: Sequence[str]) -> None:
        """Void items and tell the workers that hold them."""
        for worker, ids in self.ledger.cancel(item_ids).items():
            self._links.cancel(worker.instance, ids)

    def _tell(self, message: Message) -> None:
        """To the supervisor; old news are worthless, so nothing waits."""
        try:
            send_now(self._health, pack(message))
        except zmq.Again:
            log.warning("supervisor.deaf", message=type(message).__name__)

    @property
    def lipsync_skips(self) -> bool:
        """Whether the lip-sync engine can draw fewer frames and interpolate the rest."""
        return self.census.skips

    # --- what operations ask ---

    @property
    def uptime_s(self) -> float:
        """Seconds since this broker started."""
        return (self.now() - self._started) / 1_000_000

    @property
    def ready(self) -> bool:
        """Every required stage is warm and the default template is there."""
        return self.census.serving and self.catalog.find("default") is not None

    @property
    def status(self) -> str:
        """``health``'s status."""
        if not self.ready and not self.draining:
            return "starting"
        status = self.census.status(draining=self.draining)
        if status == "ok" and any(s.degraded for s in self.sessions.live.values()):
            return "degraded"
        return status

    def missing(self) -> str:
        """What readiness waits for, in words."""
        late = [r.instance for r in self.census.rows if r.required and r.state not in ("idle", "busy")]
        return ", ".join(late) or "the template 'default'"

    def limits(self) -> dict[str, int]:
        """The limits a client may want to know."""
        limits, timeline = self.config.limits, self.config.timeline
        return {
            "sessions": limits.sessions,
            "turns_waiting": limits.turns_waiting,
            "text_chars": limits.text_chars,
            "control_bytes": limits.control_bytes,
            "lead_ms": timeline.lead_ms,
            "max_segment_ms": timeline.max_segment_ms,
        }

    def when_ready(self, then: Callable[[], None], late: Callable[[float], None]) -> None:
        """Call ``then`` once everything required is warm, or ``late`` with the limit when that takes too long."""
        if self.ready:
            then()
            return
        limit = max(getattr(self.config.stages, s).load_timeout_s for s in self.stage_names)
        self._when_ready.append(then)

        def over() -> None:
            if then in self._when_ready:
                self._when_ready.remove(then)
                late(limit)

        self.timers.at(self.now() + int(limit * 1_000_000), over)

    def check_template_path(self, path: str) -> None:
        """Refuse what is not below the configured roots. Nothing is opened here: ``prepare`` does that once, and
        checks what it has opened.

        Raises:
            ControlError: INVALID_ARGUMENT.
        """
        try:
            place_below(path, self.config.template_roots)
        except EngineError as error:
            raise ControlError(ErrorCode.of(error.code), str(error)) from None

    def drain(self, timeout_s: float, then: Callable[[dict[str, Any]], None]) -> None:
        """Take no more sessions; call ``then`` when all have ended or the time is over."""
        self.draining = True
        total = len(self.sessions.live)
        told = False

        def finish() -> None:
            nonlocal told
            if not told:
                told = True
                left = sorted(self.sessions.live)
                then({"sessions": total, "finished": total - len(left), "abandoned": left})

        for session in [*self.sessions.live.values()]:
            self.sessions.end(
                session, "ended", drain=True, then=lambda _: None if self.sessions.live else finish()
            )
        if not self.sessions.live:
            finish()
        self.timers.at(self.now() + int(timeout_s * 1_000_000), finish)

    # --- the loop ---

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        log.info("broker.started", control=self.config.endpoints.control, stream=self.config.endpoints.stream)
        self._every(self.config.supervisor.beat_s, self._beat)
        self._every(1.0, self._second)
        self._beat()
        self._prepare_default()
        self.when_ready(self.shelf.open, lambda _: self.shelf.open())
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        readers: dict[Any, Callable[[], None]] = {
            self._router: lambda: self._drain_socket(self._router, self._control.receive),
            self._pull: self._read_ingress,
            self._members: lambda: self._drain_socket(self._members, self._member),
            self._xpub: self._read_subscriptions,
            self._joiners.monitor: self._joiners.accepted,
            self._wake.fileno(): self._signalled,
        }
        while not self._done:
            wait = self.timers.wait(self.now())
            timeout = None if wait is None else -(-wait // 1000)
            for sock, _ in self._poller.poll(timeout):
                reader = readers.get(sock)
                if reader is not None:
                    reader()
                else:
                    self._writable(sock)
            self.timers.fire(self.now(), self._safely)
            self._settle()
        self._close()
        return 0

    def _prepare_default(self) -> None:
        """The template that a session gets without asking; nothing is ready before it is."""

        def then(found: Listed | ControlError, made: TemplateReady | None) -> None:
            if isinstance(found, ControlError):
                self.timers.at(self.now() + int(DEFAULT_RETRY_S * 1_000_000), self._prepare_default)

        self.workshop.template("default", then)

    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self.timers.at(self.now() + int(period_s * 1_000_000), again)

        self.timers.at(self.now() + int(period_s * 1_000_000), again)

    def _settle(self) -> None:
        """Let touched sessions go on and hand out work until nothing more happens."""
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for session in dirty.values():
                if session.id in self.sessions.live:
                    self._advance(session)
        self._dispatch()
        if self._when_ready and self.ready:
            waiting, self._when_ready = self._when_ready, []
            for then in waiting:
                self._safely("when_ready", then)
        if self._stopping and not self.sessions.live:
            self._done = True

    def _advance(self, session: Session) -> None:
        try:
            session.advance()
        except Exception as error:  # a defect in one session must not cost the others their daemon
            log.exception("session.broke", sid=session.id)
            turn, text = session.current, f"{type(error).__name__}: {error}; the broker's log has the trace"
            if turn is not None:
                self._safely("turn.fail", lambda: turn.fail(ErrorCode.INTERNAL, text))

    def _dispatch(self) -> None:
        for worker, entry in self.ledger.dispatch(self.now()):
            try:
                message, buffers = entry.build(self.epoch)
                sent = self._links.send(worker.instance, message, buffers)
            except Exception as error:  # one item that cannot be sent must not hold up the rest
                log.exception("item.unsendable", item=entry.id)
                self.ledger.cancel([entry.id])
                self.ledger.unlease(entry)
                self._fail(entry, ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
                continue
            if not sent:
                worker.blocked = True
                self.ledger.unlease(entry)

    def _fail(self, entry: Entry, code: ErrorCode, reason: str) -> None:
        """The entry is out of the ledger: tell whoever wanted it."""
        self._safely("job.failed", lambda: entry.job.failed(code, reason))
        self._touch_id(entry.id.split("/", 1)[0])

    @staticmethod
    def _safely(where: str, action: Callable[[], None]) -> None:
        """Run a step of the loop; a defect in it is logged and costs that step, not the daemon."""
        try:
            action()
        except Exception:
            log.exception("broker.defect", where=where)

    def _writable(self, sock: Any) -> None:
        instance = self._links.writable(sock)
        if instance is not None:
            worker = self.ledger.workers.get(instance)
            if worker is not None:
                worker.blocked = False
            self.hearing.writable(instance)

    def _drain_socket(
        self, sock: zmq.Socket[bytes], handle: Callable[[list[bytes]], None], slice_us: int = SLICE_US
    ) -> None:
        until = self.now() + slice_us
        while self.now() < until:
            found = receive_now(sock)
            if found is None:
                return
            frames = [frame.bytes for frame in found]
            self._safely("message", lambda: handle(frames))  # noqa: B023 - called at once

    def _read_ingress(self, most: int = BATCH) -> None:
        for _ in range(most):
            found = receive_now(self._pull)
            if found is None:
                return
            try:
                self._ingress.receive([found[0].bytes, *[frame.buffer for frame in found[1:]]])
            except Exception:
                log.exception("broker.defect", where="ingress")

    def _read_subscriptions(self) -> None:
        for _ in range(BATCH):
            try:
                topic = self._joiners.read()
            except zmq.Again:
                return
            if topic is not None:
                self.publisher.joined(topic)

    # --- supervisor ---

    def _member(self, frames: list[bytes]) -> None:
        try:
            message, _ = unpack(frames)
        except WireError as error:
            log.warning("members.refused", reason=str(error))
            return
        if isinstance(message, Up):
            self._links.up(message.instance, message.epoch, message.stage)
            self.ledger.up(message.instance, message.epoch, message.stage)
        elif isinstance(message, Down):
            self._down(message)
        elif isinstance(message, Report):
            self.census.report(message)
            for stage, reason in self.census.given_up().items():
                for entry in self.ledger.give_up(stage):
                    self._fail(
                        entry,
                        ErrorCode.FAILED,
                        f"{stage} was given up: {reason}; see the log, then restart the daemon",
                    )

    def _down(self, message: Down) -> None:
        """Drain what the dead worker sent, fence it, give its work to others."""
        self._read_ingress(1 << 30)
        if self._links.epoch(message.instance) == message.epoch:
            self._links.down(message.instance)
            self.census.down(message.instance)
            worker = self.ledger.workers.get(message.instance)
            fallout = self.ledger.down(
                message.instance,
                message.epoch,
                commanded=message.commanded,
                in_hand=message.in_hand,
                now=self.now(),
            )
            self.hearing.down(message.instance)
            self.workshop.asks.down(message.instance)
            for session in self.sessions.live.values():
                self.touch(session)
            log.warning(
                "stage.fenced",
                src=message.instance,
                epoch=message.epoch,
                reason=message.reason,
                in_hand=message.in_hand,
                requeued=[e.id for e in fallout.requeued],
                poisoned=[e.id for e in fallout.poisoned],
            )
            for entry in fallout.poisoned:
                self._bury(entry, message)
                reason = f"it ended {message.instance} twice ({message.reason}) and is set aside"
                self._fail(entry, ErrorCode.FAILED, reason)
            if worker is not None and worker.stage in ON_DEMAND and fallout.requeued:
                self._tell(Demand(stage=worker.stage))
        self._tell(Fenced(instance=message.instance, epoch=message.epoch))

    def _bury(self, entry: Entry, message: Down) -> None:
        """Set the poison item's header aside for whoever looks into it; the newest ones only."""
        folder = Path(self.config.state_dir) / "dead"
        with contextlib.suppress(OSError):  # a full disk costs the evidence, not the daemon
            item, _ = entry.build(self.epoch)
            folder.mkdir(parents=True, exist_ok=True)
            note = {"died": message.instance, "reason": message.reason, "item": msgspec.to_builtins(item)}
            path = folder / f"{time.time_ns()}.json"
            path.write_bytes(msgspec.json.format(msgspec.json.encode(note), indent=1))
            for old in sorted(folder.glob("*.json"))[:-DEAD_KEPT]:
                old.unlink()

    def _beat(self) -> None:
        state = "draining" if self.draining else "busy" if self.sessions.live else "idle"
        self._tell(
            Beat(src="broker", ep=self.epoch, broker=self.epoch, stage="broker", pid=os.getpid(), state=state)
        )

    def _second(self) -> None:
        self.publisher.beacon(Beacon(round(self.uptime_s, 3), len(self.sessions.live), self.status))
        self.publisher.pay_inits()
        for entry in self.ledger.overdue(self._limits_us, self.now()):
            log.error("item.lost", item=entry.id, stage=entry.stage, attempt=entry.attempt)
            if entry.worker is not None:
                self._links.cancel(entry.worker.instance, [entry.id])
            if self.ledger.lost(entry):
                self._fail(
                    entry,
                    ErrorCode.FAILED,
                    f"{entry.stage} lost it {entry.failures} times; see the log for item.lost",
                )

    # --- the end ---

    def _signalled(self) -> None:
        self._wake.recv(64)
        if self._stopping:
            return
        self._stopping = self.draining = True
        log.info("broker.stopping", sessions=len(self.sessions.live))
        for session in [*self.sessions.live.values()]:
            self.sessions.end(session, "shutdown", drain=False)

    def _close(self) -> None:
        self._control.stop()
        self._drain_socket(self._router, self._control.receive, int(CLOSE_S * 1_000_000))
        self._links.close()
        self._joiners.close()
        for sock in (self._pull, self._members):
            sock.close(0)
        for sock in (self._router, self._xpub, self._health):
            sock.close(int(CLOSE_S * 1000))
        self._context.term()
        signal.set_wakeup_fd(-1)
        self._wake.close()
        self._wake_up.close()
        log.info("broker.stopped")
