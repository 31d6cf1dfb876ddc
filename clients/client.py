"""A synchronous client of a running daemon: plain ZeroMQ and msgpack, nothing of the daemon's own code.

With ``clients/follower.py`` it is the shortest complete example of docs/protocol.md: requests with ids over a
DEALER here; there the stream over a SUB, and the repair of holes with ``segments`` and ``events``.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgpack
import zmq

from clients.follower import Follower, Subscription
from clients.keys import Handshake, Keys, connect
from clients.liveness import FROZEN_S, LOOK_S, Liveness
from clients.pending import Pending
from clients.reach import reach

VERSION = 1
FPS = 25
SAMPLE_RATE = 48_000
"""Of the media of every session."""
REQUEST_TIMEOUT_S = 30.0
"""For a reply to an ordinary request; the daemon answers these within milliseconds."""
LONG_REQUEST_TIMEOUT_S = 900.0
"""For ``initialize``, ``preprocess_template``, ``start_session`` (its template may have to be made first),
``end_session`` and ``process_segment`` with ``wait``."""
SEND_S = 5.0
"""For ZeroMQ to take a request, which it does at once unless nobody is there to take it from it."""
REACH_S = 0.3
"""For a look whether anybody still listens at the control address."""
BEACONS_HWM = 64
LONG_OPERATIONS = frozenset(
    {"initialize", "preprocess_template", "start_session", "end_session", "process_segment", "drain"}
)


class RequestError(Exception):
    """The daemon refused a request.

    Attributes:
        code: one of the contract's error codes.
        message: the fact, the limit and the next step.
        retry_after_ms: with ``BUSY``, when to try again.
        op: what was asked.
    """

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None, op: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.op = op
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class NoDaemonError(Exception):
    """Nothing answers on the control address."""


class RefusedError(NoDaemonError):
    """The daemon is there and does not take this client: keys do not fit."""


class DaemonGoneError(NoDaemonError):
    """The daemon that was asked has stopped, was killed or does not run any more; noticed within 3 s."""


class Client:
    """One connection to a daemon; use it from one thread.

    Args:
        control: address of the ROUTER, e.g. ``tcp://127.0.0.1:28880``.
        stream: address of the XPUB.
        keys: where the daemon has them on.
    """

    def __init__(self, control: str, stream: str, keys: Keys | None = None) -> None:
        self.control = control
        self.stream = stream
        self._keys = keys
        self._context = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.setsockopt(zmq.LINGER, 0)
        self._handshake = Handshake(self._dealer, has_keys=keys is not None)
        connect(self._dealer, control, keys)
        self._beacons = self._context.socket(zmq.SUB)
        self._beacons.setsockopt(zmq.RCVHWM, BEACONS_HWM)
        self._beacons.setsockopt(zmq.SUBSCRIBE, b"sys.")
        connect(self._beacons, stream, keys)
        self._liveness = Liveness()
        self._next_id = 0
        self._pending = Pending()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection and every subscription made from here."""
        self._context.destroy(linger=0)

    def send(self, op: str, **arguments: Any) -> int:
        """Send a request without waiting; returns its id for ``receive``. ``None`` arguments are left out.

        Raises:
            RequestError: a text has bytes that are no UTF-8 (a surrogate, as Python reads them from a terminal).
            RefusedError: the daemon does not take this client.
            NoDaemonError: nobody takes it within ``SEND_S``.
        """
        self._hear()
        self._next_id += 1
        request = {"v": VERSION, "id": self._next_id, "op": op}
        request |= {name: value for name, value in arguments.items() if value is not None}
        try:
            packed = msgpack.packb(request)
        except UnicodeEncodeError as error:
            name = next((name for name, value in arguments.items() if value is error.object), "a text")
            message = f"{name!r} has bytes that are no UTF-8 (after {error.start} characters): send UTF-8"
            raise RequestError("INVALID_ARGUMENT", message, op=op) from error
        self._put(packed)
        self._pending.sent(self._next_id, op, packed, self._liveness.starts, self._liveness.brokers)
        return self._next_id

    def _put(self, packed: bytes) -> None:
        """Hand a request to ZeroMQ, which takes none for a daemon that has refused this client."""
        deadline = time.monotonic() + SEND_S
        while True:
            with contextlib.suppress(zmq.Again):
                return self._dealer.send(packed, zmq.NOBLOCK)
            if refusal := self._handshake.refusal():
                raise RefusedError(f"the daemon at {self.control} {refusal}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise NoDaemonError(f"no daemon at {self.control} takes requests; {SEND_S:g} s were waited")
            zmq.select([self._handshake.monitor], [self._dealer], [], left)

    def ready(self, request_id: int, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` for the reply to a request sent before; whether it is there.

        Raises:
            DaemonGoneError: the daemon that was asked is gone.
        """
        deadline = time.monotonic() + timeout_s
        start = self._pending.start(request_id)
        while not self._pending.answered(request_id):
            left = max(0.0, deadline - time.monotonic())
            if not self._wait(self._dealer, left, start, lambda: self._pending.answered(request_id)):
                return False
            if not self._dealer.poll(0):
                continue  # lost: its answer is this side's own
            reply = msgpack.unpackb(self._dealer.recv())
            self._liveness.reply(time.monotonic(), reply.get("boot"))
            self._pending.replied(reply)
        return True

    def receive(self, request_id: int, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Any]:
        """The reply to a request sent before.

        Raises:
            RequestError: the daemon refused it.
            NoDaemonError: no reply within ``timeout_s``.
            DaemonGoneError: the daemon that was asked is gone.
        """
        try:
            self.ready(request_id, timeout_s)
        except NoDaemonError:
            self._pending.drop(request_id)
            raise
        op, reply = self._pending.take(request_id)
        if reply is None:
            raise NoDaemonError(
                f"no answer from {self.control} within {timeout_s:g} s: is the daemon running, "
                "or is it still starting? Start it with `musecast up`, or name its configuration with --config."
            )
        if not reply["ok"]:
            error = reply["error"]
            raise RequestError(error["code"], error["message"], error.get("retry_after_ms"), op)
        return {key: value for key, value in reply.items() if key not in ("v", "id", "ok")}

    def _wait(
        self, readable: zmq.Socket[bytes], timeout_s: float, start: int, until: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait until there is something to read, or ``until`` holds; False when neither happens in time.

        Args:
            start: of the daemon that it must come from.

        Raises:
            DaemonGoneError: that one is gone.
        """
        deadline = time.monotonic() + timeout_s
        while not readable.poll(0):
            self._hear()
            self._check(start)
            if until():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            zmq.select([readable, self._beacons], [], [], min(left, LOOK_S))
        return True

    def _hear(self) -> None:
        """Read the beacons that have come."""
        now = time.monotonic()
        while self._beacons.poll(0):
            header = msgpack.unpackb(self._beacons.recv_multipart()[1])
            before = self._liveness.brokers
            self._liveness.beacon(now, header["boot"], header["uptime_s"])
            if self._liveness.brokers != before:
                for packed in self._pending.restarted(self._liveness.brokers, now):
                    self._put(packed)
        self._liveness.watch(now)
        self._pending.look(self._liveness.brokers, now)

    @property
    def brokers(self) -> int:
        """How often it was noticed that another broker serves the same daemon: something may have been missed."""
        return self._liveness.brokers

    def _check(self, start: int) -> None:
        """Raise ``DaemonGoneError`` when that daemon is gone, ``RefusedError`` when keys do not fit."""
        if self._liveness.starts != start:
            raise DaemonGoneError(
                f"the daemon at {self.control} was started anew, and what was under way is lost: ask again"
            )
        if refusal := self._handshake.refusal():
            raise RefusedError(f"the daemon at {self.control} {refusal}")
        now = time.monotonic()
        if not self._liveness.doubtful(now):
            return
        if reach(self.control, REACH_S) != "refused":
            self._liveness.listens()
        elif self._liveness.refused(now):
            raise DaemonGoneError(
                f"the daemon at {self.control} is gone: it was stopped or killed. Unless something restarts "
                "it, `musecast up` does"
            )
        if self._liveness.frozen(now):
            raise DaemonGoneError(
                f"the daemon at {self.control} says nothing for {FROZEN_S:g} s: it was halted, or the machine has "
                "too much to do; `musecast probe health` tells when it goes on"
            )

    def request(self, op: str, *, timeout_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its result; raises as ``receive`` does."""
        if timeout_s is None:
            timeout_s = LONG_REQUEST_TIMEOUT_S if op in LONG_OPERATIONS else REQUEST_TIMEOUT_S
        return self.receive(self.send(op, **arguments), timeout_s)

    def subscribe(self, *topics: str) -> Subscription:
        """Subscribe to topic prefixes such as ``seg.<sid>.`` or ``sys.``."""
        self._hear()
        wait = functools.partial(self._wait, start=self._liveness.starts)
        return Subscription(self._context, self.stream, topics, wait, self._keys)

    def follow(self, session_id: str, *, media: bool = True) -> Follower:
        """Everything of one session from now on, in order and without holes."""
        return Follower(self, session_id, media=media)


def new_session_id() -> str:
    """128 random bits: whoever knows a session's id may read it."""
    return secrets.token_hex(16)
