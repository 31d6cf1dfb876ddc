"""ZMTP 3.0 by hand over TCP, for messages that no library sends: without an end, or too fast to be read."""

from __future__ import annotations

import contextlib
import socket
import struct
from types import TracebackType
from urllib.parse import urlsplit

import msgpack

from tests.support.limits import REPLY_S

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LARGE, COMMAND = 1, 2, 4


class RawPeer:
    """Connects, and reads nothing then."""

    def __init__(self, endpoint: str, kind: str = "DEALER", receive_buffer: int = 0) -> None:
        where = urlsplit(endpoint)
        self._socket = socket.socket()
        self._socket.settimeout(REPLY_S)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect((where.hostname, where.port))
        self._socket.sendall(GREETING)
        self._exactly(len(GREETING))
        ready = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()
        self._socket.sendall(bytes([COMMAND, len(ready)]) + ready)
        self._exactly(self._exactly(2)[1])

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _exactly(self, nbytes: int) -> bytes:
        data = b""
        while len(data) < nbytes:
            piece = self._socket.recv(nbytes - len(data))
            if not piece:
                raise ConnectionResetError("the other side has closed")
            data += piece
        return data

    def frame(self, data: bytes, *, more: bool) -> None:
        """Send one frame; raises ConnectionError when the other side has ended the connection."""
        self._socket.sendall(struct.pack(">BQ", LARGE | (MORE if more else 0), len(data)))
        self._socket.sendall(data)

    def half(self, nbytes: int) -> None:
        """Send the beginning of a frame of so many bytes."""
        self._socket.sendall(struct.pack(">BQ", LARGE, nbytes) + bytes(nbytes // 2))

    def ask(self, number: int, op: str, **arguments: object) -> None:
        """Send a request, without reading."""
        self.frame(msgpack.packb({"v": 1, "id": number, "op": op, **arguments}), more=False)

    def flood(self, frames: int, nbytes: int) -> int:
        """Send so many frames of a message without end; how many were taken before the other side ended it."""
        data = bytes(nbytes)
        for sent in range(frames):
            with contextlib.suppress(ConnectionError):
                self.frame(data, more=True)
                continue
            return sent
        return frames
