"""uvicorn's WebSocket protocol, with a way to end a connection that ASGI has no words for."""

from __future__ import annotations

import socket
import struct

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

KICK = "musecast.kick"
"""Extension of the scope: a function that ends the connection also where the peer reads nothing."""
GRACE_S = 5.0
"""So long a peer that is kicked out may take to read why."""
NO_LINGER = struct.pack("ii", 1, 0)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """``ws=WebSocketProtocol`` of ``uvicorn.Config``."""

    def handle_connect(self, event: Request) -> None:
        """The scope is made here; its task runs later."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][KICK] = {"kick": self.kick}

    def kick(self, code: int, reason: str) -> None:
        """Close without waiting for room to write; ``send`` raises from here on."""
        if self.close_sent or self.disconnected:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(GRACE_S, self._cut)

    def _cut(self) -> None:
        """Without the linger: the kernel would go on trying to send what the peer does not read."""
        peer: socket.socket | None = self.transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()
