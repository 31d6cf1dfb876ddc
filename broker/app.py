"""The broker process: one thread, one poll loop, the only owner of state. No models, no work per pixel.

Here the parts are made and joined, and their sockets read; what they do is theirs.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
import zmq

from broker.access import door
from broker.access.door import Door
from broker.access.keyring import Keyring
from broker.control.admission import Admission
from broker.control.daemon import DaemonHandlers
from broker.control.microphone import MicrophoneHandlers
from broker.control.readback import ReadBackHandlers
from broker.control.server import Control, Operations
from broker.control.sessions import SessionHandlers
from broker.control.templates import TemplateHandlers
from broker.control.turns import TurnHandlers
from broker.errors import ErrorCode, contained
from broker.ipc.connections import Connections
from broker.ipc.faults import Faults
from broker.ipc.messages import Beat, Message, histogram_rows
from broker.ipc.sockets import Endpoints, Lock, SocketFactory, receive_now, remove_local, send_now
from broker.ipc.wire import pack
from broker.journal.journal import FOLDER, Journal
from broker.lifecycle import Lifecycle
from broker.media.throughput import Throughput
from broker.sessions.registry import REJOIN_S, Sessions
from broker.sessions.session import Session
from broker.stream.events import Beacon
from broker.stream.joiners import Joiners
from broker.stream.publisher import Publisher
from broker.templates.catalog import Catalog
from broker.templates.idle_cache import IdleCache
from broker.templates.preparation import Preparations
from broker.timers import Timers
from broker.workers.asr_streams import AsrStreams
from broker.workers.dispatcher import Dispatcher
from broker.workers.drains import Drains
from broker.workers.ingress import Ingress
from broker.workers.ledger import Ledger
from broker.workers.links import Links
from broker.workers.membership import Membership
from broker.workers.status import WorkerStatus
from configs import keys
from configs.schema import Config
from models.meter import Meter

log = structlog.get_logger()

BATCH = 16
"""Messages taken from one socket before the others get their turn."""
SLICE_US = 1_000
"""The same for the sockets of clients and of the supervisor, whose messages may be large."""
GC_THRESHOLDS = (20_000, 20, 50)
"""Collections are rare and look only at what came after the start: a full one shows in the tail of the relay."""
LOOK_S = 0.025
"""How often it is looked what clients make the broker hold."""
CLOSE_S = 1.0
"""For the last replies and events to leave at exit."""


class Broker:
    """The broker's parts, and its loop. It is the ``Context`` of those below.

    Args:
        config: resolved.
        boot: id of the supervisor's run.
        epoch: of this broker; items of another one are void.
    """

    def __init__(self, config: Config, boot: str, epoch: int) -> None:
        self.config = config
        self.epoch = epoch
        self._dirty: dict[str, Session] = {}
        self.timers = Timers()
        self.meter = Meter()
        self.ledger = Ledger(self.meter)
        self.throughputs = {"lipsync": Throughput(), "fallback": Throughput(), "encode": Throughput()}
        self._workers = WorkerStatus(config)
        self._open_sockets(boot)
        self._join_workers()
        self._idle_cache = IdleCache(self)
        self._catalog = Catalog(config.state_dir)
        self._sessions = Sessions(self, self._asr_streams, self._idle_cache)
        self._preparations = Preparations(
            self, self._catalog, self._tell, self._idle_cache, self._sessions.shows, self._links.order
        )
        for found in self._journal.take():
            self._sessions.adopt(found)
        self._lifecycle = Lifecycle(
            config, self.timers, self.now, self._workers, self._catalog, self._preparations, self._sessions
        )
        admission = Admission(
            config, self._lifecycle, self._sessions, self._keyring, now=self.now, meter=self.meter
        )
        operations = self._operations(boot, admission)
        self._control = Control(self._router, operations, admission, self.meter, self._clients, self._keyring)
        if self._keyring is not None:
            self._keyring.on_change = self._end_unlisted

    def _open_sockets(self, boot: str) -> None:
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zmq.max_sockets = 4096
        factory = SocketFactory(self._zmq)
        ends = Endpoints(self.config.runtime_dir)
        self._poller = zmq.Poller()
        self._pull = factory.pull_bind(ends.ingress)
        self._members = factory.pull_bind(ends.members, hwm=1000)
        self._health = factory.push_connect(ends.health, hwm=1000)
        self._open_public(factory)
        self._links = Links(factory, ends, self._poller, self.epoch)
        folder = Path(self.config.runtime_dir) / FOLDER
        self._journal = Journal(folder, boot, self.config.ring, self.config.journal.max_bytes)
        faults = Faults("broker", "broker", self.epoch)
        self.publisher = Publisher(self._xpub, boot, self._joiners, self._journal, faults, self.meter)
        monitors = self._clients.monitor, self._joiners.monitor
        for sock in (self._pull, self._members, self._router, self._xpub, *monitors):
            self._poller.register(sock, zmq.POLLIN)
        self._wake, wake_up = socket.socketpair()
        self._wake.setblocking(False)
        wake_up.setblocking(False)
        self._wake_up = wake_up
        signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._poller.register(self._wake.fileno(), zmq.POLLIN)

    def _open_public(self, factory: SocketFactory) -> None:
        """Where clients come in; who answers their handshakes is there first."""
        config, self._keyring, self._door, lock = self.config, None, None, None
        if config.security.curve:
            secret_file = config.security.secret_key_file
            own = keys.local_pair(config.state_dir).public.decode()
            self._keyring = Keyring(own, config.security.clients_dir)
            self._door = Door(factory.zap_bind(door.ADDRESS), self._keyring, self.meter)
            self._poller.register(self._door.socket, zmq.POLLIN)
            lock = Lock(*keys.read_pair(secret_file), door.DOMAIN)
        self._router = factory.router_bind(config.endpoints.control, lock)
        self._xpub = factory.xpub_bind(config.endpoints.stream, lock, sessions=config.limits.sessions)
        self._clients = Connections(self._router)
        self._joiners = Joiners(self._xpub, config.limits.subscribers, self._keyring)

    def _join_workers(self) -> None:
        """What stands between the ledger and the processes."""
        self._asr_streams = AsrStreams(self._links.send)
        self._dispatcher = Dispatcher(self.config, self.epoch, self.ledger, self._links, self.touch, self.now)
        self._ingress = Ingress(
            self.epoch,
            self.ledger,
            self._asr_streams,
            self._workers,
            self.cancel,
            self.touch,
            self._links.epoch,
            self.now,
            self.meter,
        )
        self._drains = Drains(
            self.ledger,
            self._asr_streams,
            self._workers,
            self._links.cancel,
            self._tell,
            self.timers,
            self.now,
        )
        self._membership = Membership(
            self.epoch,
            Path(self.config.state_dir) / "dead",
            self.ledger,
            self._links,
            self._dispatcher,
            self._workers,
            lambda: self._read_ingress(1 << 30),
            self._worker_gone,
            self._drains.reported,
            self._tell,
            self.now,
        )

    def _operations(self, boot: str, admission: Admission) -> Operations:
        """Every operation of the control socket."""
        stages = list(self.config.stages.__struct_fields__)
        daemon = DaemonHandlers(
            boot,
            stages,
            {"control": self.config.endpoints.control, "stream": self.config.endpoints.stream},
            self.now,
            self._lifecycle,
            admission,
            self._workers,
            self.ledger,
            self._sessions,
            self._journal,
            self._drains,
        )
        templates = TemplateHandlers(
            self.config.template_roots, self._catalog, self._preparations, self._sessions.shows
        )
        sessions = SessionHandlers(self, admission, self._catalog, self._preparations, self._sessions)
        turns = TurnHandlers(self, admission, self._sessions)
        microphone = MicrophoneHandlers(admission, self._sessions)
        read_back = ReadBackHandlers(self._sessions)
        return {
            name: operation
            for handlers in (daemon, templates, sessions, turns, microphone, read_back)
            for name, operation in handlers.operations.items()
        }

    # --- Context ---

    def now(self) -> int:
        """Monotonic microseconds."""
        return time.monotonic_ns() // 1000

    def touch(self, session_id: str) -> None:
        """Look at this session again before the loop sleeps, if it still lives."""
        session = self._sessions.live.get(session_id)
        if session is not None:
            self._dirty[session_id] = session

    def cancel(self, item_ids: Sequence[str]) -> None:
        """Void items and tell the workers that hold them."""
        self._dispatcher.cancel(item_ids)

    @property
    def lipsync_skips(self) -> bool:
        """Whether the lip-sync engine can draw fewer frames and interpolate the rest."""
        return self._workers.skips

    # --- the loop ---

    def run(self, *, last_words: bool = False) -> int:
        """Serve until told to stop; returns the exit code.

        Args:
            last_words: only end the sessions that another broker has left, once who listens may be here again.
        """
        log.info("broker.started", control=self.config.endpoints.control, stream=self.config.endpoints.stream)
        self._every(self.config.supervisor.beat_s, self._beat)
        self._every(1.0, self._second)
        self._every(LOOK_S, self._control.look)
        self._beat()
        if last_words:
            self.timers.at(self.now() + int(REJOIN_S * 1_000_000), self._lifecycle.stop)
        self._lifecycle.start()
        self._lifecycle.when_ready(self._idle_cache.open, lambda _: self._idle_cache.open())
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        readers: dict[Any, Callable[[], None]] = {
            self._router: lambda: self._control.read(SLICE_US),
            self._clients.monitor: self._control.changed,
            self._pull: self._read_ingress,
            self._members: self._read_members,
            self._xpub: self._read_subscriptions,
            self._joiners.monitor: self._joiners.accepted,
            self._wake.fileno(): self._signalled,
        }
        if self._door is not None:
            readers[self._door.socket] = self._door.read
        while not self._lifecycle.over:
            wait = self.timers.wait(self.now())
            timeout = None if wait is None else -(-wait // 1000)
            for sock, _ in self._poller.poll(timeout):
                reader = readers.get(sock)
                if reader is not None:
                    reader()
                else:
                    self._writable(sock)
            self.timers.fire(self.now(), contained)
            self._settle()
        self._close()
        return 0

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
                if session.id in self._sessions.live:
                    self._advance(session)
        self._dispatcher.dispatch()
        self._drains.look()
        self._lifecycle.look()

    def _advance(self, session: Session) -> None:
        try:
            session.advance()
        except Exception as error:  # a defect in one session must not cost the others their daemon
            log.exception("session.broke", sid=session.id)
            turn, text = session.current, f"{type(error).__name__}: {error}; the broker's log has the trace"
            if turn is not None:
                contained("turn.fail", lambda: turn.fail(ErrorCode.INTERNAL, text))

    # --- sockets ---

    def _read_members(self) -> None:
        until = self.now() + SLICE_US
        while self.now() < until:
            found = receive_now(self._members)
            if found is None:
                return
            frames = [frame.bytes for frame in found]
            contained("message", lambda: self._membership.receive(frames))  # noqa: B023 - called at once

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

    def _end_unlisted(self) -> None:
        """A key was removed, perhaps: who has it goes now, and is not let in again."""
        self._control.end_unlisted()
        self._joiners.end_unlisted()

    def _writable(self, sock: Any) -> None:
        instance = self._links.writable(sock)
        if instance is not None:
            self._dispatcher.writable(instance)
            self._asr_streams.writable(instance)

    def _worker_gone(self, instance: str) -> None:
        """A process is dead and fenced."""
        self._asr_streams.down(instance)
        self._preparations.asks.down(instance)
        for session in self._sessions.live.values():
            self.touch(session.id)

    # --- supervisor ---

    def _tell(self, message: Message) -> None:
        """To the supervisor; old news are worthless, so nothing waits."""
        try:
            send_now(self._health, pack(message))
        except zmq.Again:
            log.warning("supervisor.deaf", message=type(message).__name__)

    def _beat(self) -> None:
        beat = Beat(src="broker", ep=self.epoch, broker=self.epoch, stage="broker", pid=os.getpid(), state="")
        beat.state, beat.metrics = self._lifecycle.beat_state, self.meter.figures() | self._sessions.waiting()
        beat.histograms = histogram_rows(self.meter.histograms())
        beat.note = self._lifecycle.obstacle
        self._tell(beat)

    def _second(self) -> None:
        uptime_s = round(self._lifecycle.uptime_s, 3)
        self.publisher.beacon(Beacon(uptime_s, len(self._sessions.live), self._lifecycle.status))
        self.publisher.pay_inits()
        self._dispatcher.find_lost()
        if self._keyring is not None:
            self._keyring.look()

    # --- the end ---

    def _signalled(self) -> None:
        self._wake.recv(64)
        self._lifecycle.stop()

    def _close(self) -> None:
        self._control.stop()
        self._control.read(int(CLOSE_S * 1_000_000))
        self._control.close()
        self._links.close()
        self._joiners.close()
        for sock in (self._pull, self._members):
            sock.close(0)
        for sock in (self._router, self._xpub, self._health):
            sock.close(int(CLOSE_S * 1000))
        if self._door is not None:
            self._door.socket.close(0)
        self._zmq.term()
        for endpoint in (self.config.endpoints.control, self.config.endpoints.stream):
            remove_local(endpoint)
        signal.set_wakeup_fd(-1)
        self._wake.close()
        self._wake_up.close()
        log.info("broker.stopped")
