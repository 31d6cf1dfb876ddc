"""uvicorn's HTTP/1.1, with a limit for the time that the head of a request takes, and errors of our shape."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from clients.gateway.errors import ApiError

HEAD_S = 10.0
"""From the connection, or the first byte of a further request, to the end of the request's head."""


class Http(H11Protocol):
    """One connection."""

    _head_limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Time counts from here."""
        super().connection_made(transport)
        self._head_limit = self.loop.call_later(HEAD_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request; of its head there is a limit."""
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waiting:
            self._forget()
        elif self._head_limit is None:
            self._head_limit = self.loop.call_later(HEAD_S, self._too_slow)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The WebSocket has limits of its own."""
        self._forget()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the shape of every error."""
        body = json.dumps(ApiError("INVALID_ARGUMENT", "this is not a valid HTTP/1.1 request").body()).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events: list[Any] = [
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for one in events:
                self.transport.write(self.conn.send(one) or b"")
        self.transport.close()

    def _forget(self) -> None:
        if self._head_limit is not None:
            self._head_limit.cancel()
            self._head_limit = None

    def _too_slow(self) -> None:
        self._head_limit = None
        if not self.transport.is_closing():
            self.transport.close()
