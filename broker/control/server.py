"""The public control socket: one request in, one reply out, whatever the request is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
import zmq

from broker.control.requests import (
    PROTOCOL,
    Arguments,
    arguments,
    operation,
    read_envelope,
    request_id,
)
from broker.errors import ControlError, ErrorCode
from broker.ipc.sockets import send_now
from models.meter import Meter

log = structlog.get_logger()
_encode = msgspec.msgpack.Encoder().encode


class Request:
    """One request; answered once, now or later."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        route: list[bytes],
        waiting: set[Request],
        meter: Meter,
    ) -> None:
        self._socket = socket
        self._route = route
        self._waiting = waiting
        waiting.add(self)
        self._meter = meter
        self.id: int | str | None = None
        self.op = "?"
        self.answered = False

    @property
    def client(self) -> str:
        """Routing id, in hex, of the connection that asks."""
        return self._route[0].hex() if self._route else ""

    def reply(self, **result: Any) -> None:
        """Answer ok."""
        self._send({"ok": True, **result})

    def refuse(self, error: ControlError) -> None:
        """Answer not ok."""
        if not self.answered:
            self._meter.count("requests.refused")
        self._send({"ok": False, "error": error.body()})

    def _send(self, body: dict[str, Any]) -> None:
        if self.answered:
            return
        self.answered = True
        self._waiting.discard(self)
        packed = _encode({"v": PROTOCOL, "id": self.id, **body})
        try:
            send_now(self._socket, [*self._route, packed], copy=False)
        except zmq.Again:
            log.warning("reply.dropped", op=self.op, reason="the client does not read its replies")


Handler = Callable[[Request, Any], None]
"""Answers its request once, now or when the work is done; what it raises as ControlError is the answer."""
Operations = dict[str, tuple[type[Arguments], Handler]]
"""Name to arguments and handler."""


class Control:
    """Reads requests and calls the operation's handler.

    Args:
        check_size: raises ControlError for a request of too many bytes.
        meter: counts ``requests``, and ``requests.refused``: those whose answer is not ok.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], operations: Operations, check_size: Callable[[int], None], meter: Meter
    ) -> None:
        self._socket = socket
        self._operations = operations
        self._check_size = check_size
        self._meter = meter
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

    def receive(self, frames: list[bytes]) -> None:
        """Handle one message of the ROUTER: identity, whatever the client put before, the request."""
        route, body = frames[:-1], frames[-1]
        if len(frames) < 2:
            return
        self._meter.count("requests")
        request = Request(self._socket, route, self._waiting, self._meter)
        try:
            envelope = read_envelope(body)
            request.id = request_id(envelope)
            if self._stopped:
                raise ControlError(ErrorCode.NOT_READY, "the daemon is stopping: ask again after its restart")
            self._check_size(len(body))
            request.op = operation(envelope)
            known = self._operations.get(request.op)
            if known is None:
                raise ControlError(
                    ErrorCode.UNSUPPORTED, f"no operation {request.op!r}; there are {', '.join(self._operations)}"
                )
            kind, handler = known
            handler(request, arguments(body, kind))
        except ControlError as error:
            request.refuse(error)
        except Exception as error:  # a defect of ours must not cost the client its answer, nor us the daemon
            log.exception("request.broke", op=request.op)
            request.refuse(
                ControlError(
                    ErrorCode.INTERNAL, f"{type(error).__name__}: {error}; the broker's log has the trace"
                )
            )
