"""The connections of one public socket: who came and went, the bytes of each, and a way to end one.

libzmq tells neither how much of an unfinished message it holds nor how much of a reply its peer has not taken. The
kernel counts the bytes of each TCP connection, though, and the socket's monitor names their descriptors.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

_TCP_INFO_BYTES = 136
_ACKNOWLEDGED, _RECEIVED = 120, 128
"""Offsets in ``struct tcp_info`` (Linux 4.1): ``tcpi_bytes_acked`` and ``tcpi_bytes_received``."""


class Counts(NamedTuple):
    """Bytes of one connection since it was made; None: the kernel does not tell (a local socket)."""

    received: int | None
    acknowledged: int | None
    idle: bool
    """Nothing waits in the kernel to be sent."""


def descriptor(frame: zmq.Frame) -> int | None:
    """Number of the connection that a frame came on; None for what libzmq itself says of one that is gone."""
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError, TypeError):
        return None


class Connections:
    """Open connections by the number of their descriptor, which is libzmq's: look, end, never close.

    Args:
        bound: the socket; what is asked of it later is asked by its own thread.
    """

    def __init__(self, bound: zmq.Socket[bytes]) -> None:
        self._socket = bound
        self.monitor = bound.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        """Readable when somebody came or went; read it with ``changes`` or it fills up."""
        self._peers: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def changes(self) -> Iterator[tuple[int, bool]]:
        """Who came (True) and who went since the last time, in order; the length is that of each moment."""
        while int(self.monitor.get(zmq.EVENTS)) & zmq.POLLIN:  # quicker than a poll: asked with every request
            message = recv_monitor_message(self.monitor)
            fd, came = int(message["value"]), message["event"] == zmq.EVENT_ACCEPTED
            if came:
                self._peers[fd] = _peer(fd)
            else:
                self._peers.pop(fd, None)
            yield fd, came

    def counts(self, fd: int) -> Counts | None:
        """What the kernel has counted; None when the connection is gone."""
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                if copy.family == socket.AF_UNIX:
                    waiting = struct.unpack("i", fcntl.ioctl(copy, termios.TIOCOUTQ, bytes(4)))[0]
                    return Counts(None, None, waiting == 0)
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except OSError:
            return None
        if len(info) < _TCP_INFO_BYTES:
            return Counts(None, None, True)
        acknowledged, received = struct.unpack_from("QQ", info, _ACKNOWLEDGED)
        return Counts(received, acknowledged, True)

    def end(self, fd: int) -> bool:
        """End one connection: libzmq lets go what it held of it, and the peer may connect again.

        Returns:
            Whether it was still there. The number may stand for something else by now, so its peer is compared.
        """
        peer = self._peers.get(fd)
        if peer is None or _peer(fd) != peer:
            return False
        try:
            abort(fd)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Before the socket is closed."""
        self._socket.disable_monitor()
        self.monitor.close(0)


def abort(fd: int) -> None:
    """Shut a connection down; whoever owns the descriptor sees its end, and closes it with a reset.

    Without the reset a peer that was sending into a full window may wait for a minute: Linux opens the window of a
    connection no more that is shut down, and does not answer who asks for it.

    Raises:
        OSError: it is gone already.
    """
    with socket.socket(fileno=os.dup(fd)) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        copy.shutdown(socket.SHUT_RDWR)


def _peer(fd: int) -> Any:
    """Who is at the other end; None where nobody is."""
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            return copy.getpeername()
    except OSError:
        return None
