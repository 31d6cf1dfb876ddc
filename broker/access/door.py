"""Who knocks at a public socket: libzmq asks here at each CURVE handshake (RFC 27, ZAP), in the broker's loop.

pyzmq's authenticators have a thread or an asyncio loop of their own; the broker has one loop, and this is a reader
in it. No socket is bound before this one: without it, libzmq would let everybody in.
"""

from __future__ import annotations

import time

import structlog
import zmq
from zmq.utils import z85

from broker.access.keyring import Keyring
from models.meter import Meter

log = structlog.get_logger()
ADDRESS = "inproc://zeromq.zap.01"
DOMAIN = b"musecast"
KNOCKS = 64
"""Answered before other sockets get their turn."""
TOLD_S = 10.0
"""A stranger is logged at most so often."""
LISTED, UNLISTED, BROKEN = b"200", b"400", b"500"


class Door:
    """Answers handshakes.

    Args:
        socket: REP, bound to ``ADDRESS`` in the context of the public sockets.
        meter: counts ``clients.unlisted``.
    """

    def __init__(self, socket: zmq.Socket[bytes], keyring: Keyring, meter: Meter) -> None:
        self.socket = socket
        self._keyring = keyring
        self._meter = meter
        self._told_at = -TOLD_S

    def read(self) -> None:
        """Answer those who wait."""
        for _ in range(KNOCKS):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.socket.send_multipart(self._answer(frames), zmq.NOBLOCK)

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        version, number, domain, address, _, mechanism, *credentials = [*frames, *[b""] * max(0, 6 - len(frames))]
        known = domain == DOMAIN and mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32
        if not known:
            return [version, number, BROKEN, b"", b"", b""]
        public = z85.encode(credentials[0])
        if self._keyring.handshake(public.decode()) is None:
            self._refused(public.decode(), address.decode(errors="replace"))
            return [version, number, UNLISTED, b"this key is not listed", b"", b""]
        return [version, number, LISTED, b"OK", public, b""]

    def _refused(self, public: str, address: str) -> None:
        self._meter.count("clients.unlisted")
        now = time.monotonic()
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            step = "`musecast keys new NAME` lists a new one"
            log.warning("client.unlisted", key=public, address=address, step=step)


def key_of(frame: zmq.Frame) -> str | None:
    """The public key of who sent a frame; None on a socket without keys."""
    try:
        return str(frame.get("User-Id"))
    except (zmq.ZMQError, ValueError):
        return None
