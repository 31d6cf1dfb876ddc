"""The public control socket: one request in, one reply out, whatever the request is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import structlog
import zmq

from broker.access.door import key_of
from broker.access.keyring import Keyring
from broker.control.accounts import Account, Accounts
from broker.control.requests import (
    PROTOCOL,
    Arguments,
    arguments,
    operation,
    read_envelope,
    request_id,
)
from broker.errors import ControlError, ErrorCode, contained
from broker.ipc.connections import Connections, descriptor
from broker.ipc.heap import Growth
from broker.ipc.sockets import receive_now, send_now
from models.meter import Meter

log = structlog.get_logger()
_encode = msgspec.msgpack.Encoder().encode
FRAMES_BEFORE = 16
"""Frames before a request that come back with its reply."""
LARGE_BYTES = 1 << 20
"""With replies of more than this unread, it is asked before the next one what the client has taken by now."""
LOOK_S = 1.0
"""It is looked so often what connections hold,"""
GROWTH_BYTES = 8 << 20
"""and whenever the process has grown by this: on the loopback a message grows by 1 GB in a second."""
LOOK_US = 20_000
"""For reading what has come, before it is judged what has begun to come."""


class Request:
    """One request; answered once, now or later."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        route: list[bytes],
        waiting: set[Request],
        meter: Meter,
        account: Account,
    ) -> None:
        self._socket = socket
        self._route = route
        self._waiting = waiting
        waiting.add(self)
        self._meter = meter
        self._account = account
        account.waiting += 1
        account.parked += (size := sum(len(frame) for frame in route))
        self._route_bytes = size
        self.id: int | str | None = None
        self.op = "?"
        self.answered = False

    @property
    def client(self) -> str:
        """Who asks: a key, where keys tell clients apart, else the connection by its routing id in hex."""
        if self._account.key is not None and not self._account.shared:
            return self._account.key
        return self._route[0].hex() if self._route else ""

    def reply(self, **result: Any) -> None:
        """Answer ok."""
        self._send({"ok": True, **result})

    def refuse(self, error: ControlError) -> None:
        """Answer not ok."""
        if not self.answered:
            self._meter.count("requests.refused")
        self._send({"ok": False, "error": error.body()})

    def gone(self, account: Account) -> None:
        """Nobody waits any more, if this was asked on that connection."""
        if account is self._account and not self.answered:
            self._over()
            self._route = []

    def _over(self) -> None:
        self.answered = True
        self._waiting.discard(self)
        self._account.waiting -= 1
        self._account.parked -= self._route_bytes

    def _send(self, body: dict[str, Any]) -> None:
        if self.answered:
            return
        self._over()
        packed = _encode({"v": PROTOCOL, "id": self.id, **body})
        try:
            send_now(self._socket, [*self._route, packed], copy=False)
        except zmq.ZMQError as error:  # a full pipe, or nobody at its end
            self._meter.count("replies.dropped")
            log.debug("reply.dropped", op=self.op, reason=str(error))
            return
        self._account.told += self._route_bytes + len(packed)


Handler = Callable[[Request, Any], None]
"""Answers its request once, now or when the work is done; what it raises as ControlError is the answer."""
Operations = dict[str, tuple[type[Arguments], Handler]]
"""Name to arguments and handler."""


class Gate(Protocol):
    """What is asked before a request is carried out; raises ControlError."""

    def request(self, nbytes: int) -> None:
        """A whole request."""

    def before(self, account: Account, nbytes: int) -> None:
        """Frames before a request of this client."""

    def client(self, account: Account, now: int) -> None:
        """One more request of this client; ``now``: monotonic microseconds."""

    def operation(self, key: str | None, op: str) -> None:
        """This operation, asked for with this key."""


class Control:
    """Reads requests and calls the operation's handler.

    Args:
        gate: refuses what is too large or too much.
        meter: counts ``requests``, and ``requests.refused``: those whose answer is not ok; ``replies.dropped``:
            those that a client does not take; ``clients.ended``: connections that held too much.
        connections: of the socket; without them nothing of a single connection is counted.
        keyring: whose keys the socket takes; None: it has no keys.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        operations: Operations,
        gate: Gate,
        meter: Meter,
        connections: Connections | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self._socket = socket
        self._keyring = keyring
        self._operations = operations
        self._gate = gate
        self._meter = meter
        self._connections = connections
        self._accounts = Accounts()
        self._growth = Growth(GROWTH_BYTES)
        self._look_at = 0.0
        self._waiting: set[Request] = set()
        """Requests that have no answer yet."""
        self._stopped = False

    def stop(self) -> None:
        """Refuse what has no answer yet and all that comes from here on, so that nobody waits in vain."""
        self._stopped = True
        for request in [*self._waiting]:
            request.refuse(
                ControlError(
                    ErrorCode.NOT_READY, "the daemon stopped before this was done: ask again after its restart"
                )
            )

    def close(self) -> None:
        """Before the socket is closed."""
        self._growth.close()
        if self._connections is not None:
            self._connections.close()

    # --- connections ---

    def changed(self) -> None:
        """Somebody came or went."""
        for fd, came in () if self._connections is None else self._connections.changes():
            if came:
                self._accounts.came(fd)
            elif (account := self._accounts.went(fd)) is not None and account.waiting:
                for request in [*self._waiting]:
                    request.gone(account)

    def end_unlisted(self) -> None:
        """End the connections whose key has been removed."""
        if self._connections is None or self._keyring is None:
            return
        self.changed()
        for account in self._accounts.forget(self._keyring):
            if account.fd is not None and self._connections.end(account.fd):
                log.info("client.removed", key=account.key)

    def look(self) -> None:
        """End the connections that hold too much, in ways that libzmq does not tell; every 25 ms is right."""
        now = time.monotonic()
        if self._connections is None or not (self._growth.noticed() or now >= self._look_at):
            return
        self._look_at = now + LOOK_S
        self.read(LOOK_US)
        self.changed()
        for account in self._accounts:
            self._count(account)
        for account in self._accounts.too_much():
            if account.fd is not None and not account.ended and self._connections.end(account.fd):
                account.ended = True
                self._meter.count("clients.ended")
                log.warning(
                    "client.ended",
                    unfinished=account.unfinished,
                    unread=account.unread,
                    waiting=account.parked,
                    reason="it makes the broker hold too much: unfinished messages, or replies that nobody reads",
                )

    def _count(self, account: Account) -> None:
        if self._connections is not None and account.fd is not None:
            counts = self._connections.counts(account.fd)
            if counts is not None:
                account.counted(counts.received, counts.acknowledged, idle=counts.idle)

    # --- requests ---

    def read(self, slice_us: int) -> None:
        """Handle what has come, for so long."""
        until = time.monotonic_ns() + slice_us * 1000
        while time.monotonic_ns() < until:
            found = receive_now(self._socket)
            if found is None:
                return
            contained("message", lambda: self.receive(found))  # noqa: B023 - called at once

    def receive(self, frames: Sequence[zmq.Frame]) -> None:
        """Handle one message of the ROUTER: identity, whatever the client put before, the request."""
        if len(frames) < 2:
            return
        self._meter.count("requests")
        account = self._account(frames[-1])
        sizes = [len(frame) for frame in frames[1:]]
        account.asked(sum(sizes))
        refused = self._refused_frames(account, sizes[:-1])
        route = [frame.bytes for frame in (frames[:1] if refused else frames[:-1])]
        request = Request(self._socket, route, self._waiting, self._meter, account)
        try:
            self._carry_out(request, frames[-1], sum(sizes), account, refused)
        except ControlError as error:
            request.refuse(error)
        except Exception as error:  # a defect of ours must not cost the client its answer, nor us the daemon
            log.exception("request.broke", op=request.op)
            request.refuse(
                ControlError(
                    ErrorCode.INTERNAL, f"{type(error).__name__}: {error}; the broker's log has the trace"
                )
            )

    def _account(self, frame: zmq.Frame) -> Account:
        """Who asks. The number of a connection that has gone is soon another's: what was told is read first."""
        self.changed()
        account = self._accounts.of(descriptor(frame))
        if self._keyring is not None and (key := key_of(frame)) is not None and key != account.key:
            self._accounts.know(account, key, shared=self._keyring.is_own(key))
        return account

    def _refused_frames(self, account: Account, sizes: list[int]) -> ControlError | None:
        """What is wrong with the frames before a request: they do not come back then."""
        if len(sizes) > FRAMES_BEFORE:
            return ControlError(
                ErrorCode.TOO_LARGE, f"{len(sizes)} frames before the request; the limit is {FRAMES_BEFORE}"
            )
        try:
            self._gate.before(account, sum(sizes))
        except ControlError as error:
            return error.with_traceback(None)  # or it would keep the frames until the next collection
        return None

    def _carry_out(
        self, request: Request, frame: zmq.Frame, nbytes: int, account: Account, refused: ControlError | None
    ) -> None:
        envelope = read_envelope(frame.buffer)
        request.id = request_id(envelope)
        if refused is not None:  # not raised, for the same reason
            request.refuse(refused)
            return
        if self._stopped:
            raise ControlError(ErrorCode.NOT_READY, "the daemon is stopping: ask again after its restart")
        self._gate.request(nbytes)
        if account.unread > LARGE_BYTES:
            self._count(account)
        self._gate.client(account, time.monotonic_ns() // 1000)
        request.op = operation(envelope)
        known = self._operations.get(request.op)
        if known is None:
            raise ControlError(
                ErrorCode.UNSUPPORTED, f"no operation {request.op!r}; there are {', '.join(self._operations)}"
            )
        self._gate.operation(account.key, request.op)
        kind, handler = known
        handler(request, arguments(frame.buffer, kind))
