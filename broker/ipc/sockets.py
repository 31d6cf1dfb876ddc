"""One factory for every ZeroMQ socket: all options are set before bind or connect.

| role     | pattern | here     | HWM        | linger  |
|----------|---------|----------|------------|---------|
| ingress  | PULL    | broker   | rcv 64     | 0       |
| results  | PUSH    | stage    | snd 8      | 1000 ms |
| work out | PUSH    | broker   | snd 64     | 0       |
| work in  | PULL    | stage    | rcv 64     | 0       |
| control  | ROUTER  | broker   | snd 256    | 1000 ms |
| stream   | XPUB    | broker   | snd 32+2n  | 1000 ms |

Credit, not the high-water mark, bounds what is outstanding; the marks are a memory backstop.
Options set after bind or connect are silently ignored by libzmq, which is why nothing else creates sockets.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import zmq

IPC = "ipc://"
RESULT_LINGER_MS = 1000
"""How long a stage that exits waits for its last outputs to leave."""
CONTROL_MAX_BYTES = 64 << 20
"""Beyond this libzmq drops the connection."""
CONTROL_WAITING = 16
"""Requests of one client that wait unread; they may be large."""
REPLIES_WAITING = 256
"""Replies that one client has not taken; of large ones the bytes are counted besides (``control.accounts``)."""
COPY_BYTES = 512 << 10
"""Frames below this are copied even when sent without: handing a buffer over costs a second thread's attention,
which is more than copying 200 kB (measured in the broker at 2,000 items/s).
"""
SEND_BUFFER_BYTES = 1 << 20
"""Of the kernel, for work: a speech window (230 kB) leaves in one write instead of several, each of which would
wake the reader. Not for the stream, where a slow subscriber is to be noticed and not buffered for.
"""
STREAM_WAITING = 32
"""Messages that wait for one subscriber, beside two for each of the n sessions that may be open."""
HEARTBEAT_MS = 15_000
"""ZMTP heartbeats on public sockets find peers that vanished without a FIN."""


_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def send_now(socket: zmq.Socket[bytes], frames: Sequence[Any], *, copy: bool = True) -> None:
    """``send_multipart`` without blocking, without its type checks and its sums of enums.

    Raises:
        zmq.Again: the socket takes nothing at the moment; no frame was sent.
    """
    for frame in frames[:-1]:
        socket.send(frame, _MORE, copy)
    socket.send(frames[-1], _NOBLOCK, copy)


def receive_now(socket: zmq.Socket[bytes]) -> list[zmq.Frame] | None:
    """The next message, None when there is none. Asking the socket for RCVMORE costs more than receiving."""
    try:
        frame = socket.recv(_NOBLOCK, copy=False)
    except zmq.Again:
        return None
    frames = [frame]
    while frame.more:
        frame = socket.recv(copy=False)
        frames.append(frame)
    return frames


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Internal addresses below one private runtime directory."""

    runtime_dir: str

    def _ipc(self, name: str) -> str:
        path = os.path.join(self.runtime_dir, name)
        if len(path) > zmq.IPC_PATH_MAX_LEN:
            raise ValueError(
                f"socket path {path!r} has {len(path)} bytes; the limit is {zmq.IPC_PATH_MAX_LEN}: "
                "set a shorter runtime_dir"
            )
        return f"ipc://{path}"

    @property
    def ingress(self) -> str:
        """Stages -> broker."""
        return self._ipc("ingress")

    @property
    def members(self) -> str:
        """Supervisor -> broker."""
        return self._ipc("members")

    @property
    def health(self) -> str:
        """Everyone -> supervisor."""
        return self._ipc("health")

    def work(self, instance: str, epoch: int) -> str:
        """Broker -> one worker incarnation: items."""
        return self._ipc(f"w.{instance}.{epoch}")

    def orders(self, instance: str, epoch: int) -> str:
        """Broker -> one worker incarnation: cancel, greeting."""
        return self._ipc(f"c.{instance}.{epoch}")


class Lock(NamedTuple):
    """CURVE on a public socket.

    Attributes:
        public, secret: the server's keys, as text.
        domain: told to whoever answers handshakes, who must be there before (``zap_bind``).
    """

    public: bytes
    secret: bytes
    domain: bytes


class BindError(zmq.ZMQError):
    """A public address cannot be bound; the text names it."""


def _admit_like_folder(path: str) -> None:
    """Who may enter the folder of a local socket may connect: that takes the right to write, which libzmq leaves
    to the umask.

    Raises:
        OSError: the mode cannot be set.
    """
    group = os.stat(os.path.dirname(path)).st_mode & stat.S_IXGRP
    os.chmod(path, 0o660 if group else 0o600)


def remove_local(endpoint: str) -> None:
    """The file of a local socket that has been closed: libzmq leaves it."""
    if endpoint.startswith(IPC):
        with contextlib.suppress(OSError):
            os.unlink(endpoint.removeprefix(IPC))


class SocketFactory:
    """Makes every socket of one process."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.context = context

    def _make(
        self, kind: int, *, hwm: int, linger: int, options: dict[int, int] | None = None
    ) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.copy_threshold = COPY_BYTES
        socket.setsockopt(zmq.SNDHWM, hwm)
        socket.setsockopt(zmq.RCVHWM, hwm)
        socket.setsockopt(zmq.LINGER, linger)
        for option, value in (options or {}).items():
            socket.setsockopt(option, value)
        return socket

    def _bind_public(
        self, kind: int, endpoint: str, lock: Lock | None, *, hwm: int, options: dict[int, int]
    ) -> zmq.Socket[bytes]:
        """Raises BindError."""
        socket = self._make(kind, hwm=hwm, linger=1000, options=options)
        if "[" in endpoint:
            socket.setsockopt(zmq.IPV6, 1)
        if lock is not None:
            socket.curve_publickey, socket.curve_secretkey, socket.zap_domain = lock
            socket.curve_server = True
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody to ask: nobody comes in
        try:
            socket.bind(endpoint)
            if endpoint.startswith(IPC):
                _admit_like_folder(endpoint.removeprefix(IPC))
        except (zmq.ZMQError, OSError) as error:
            socket.close(0)
            raise BindError(error.errno, f"cannot bind {endpoint}: {error.strerror}") from error
        return socket

    def zap_bind(self, address: str) -> zmq.Socket[bytes]:
        """The socket that answers handshakes of this context."""
        socket = self.context.socket(zmq.REP)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(address)
        return socket

    def pull_bind(self, endpoint: str, hwm: int = 64) -> zmq.Socket[bytes]:
        """The receiving end of a PUSH/PULL that this process owns."""
        socket = self._make(zmq.PULL, hwm=hwm, linger=0)
        socket.bind(endpoint)
        return socket

    def pull_connect(self, endpoint: str, hwm: int = 64) -> zmq.Socket[bytes]:
        """The receiving end of a PUSH/PULL that the other side owns."""
        socket = self._make(
            zmq.PULL, hwm=hwm, linger=0, options={zmq.RECONNECT_IVL: 20, zmq.RECONNECT_IVL_MAX: 500}
        )
        socket.connect(endpoint)
        return socket

    def push_bind(self, endpoint: str, hwm: int = 64) -> zmq.Socket[bytes]:
        """Work for one incarnation. IMMEDIATE: nothing is queued for a peer that is not there."""
        socket = self._make(zmq.PUSH, hwm=hwm, linger=0, options={zmq.IMMEDIATE: 1, zmq.SNDBUF: SEND_BUFFER_BYTES})
        socket.bind(endpoint)
        return socket

    def push_connect(self, endpoint: str, hwm: int = 8, linger: int = RESULT_LINGER_MS) -> zmq.Socket[bytes]:
        """Results, beats, membership towards the owner of the PULL."""
        socket = self._make(
            zmq.PUSH, hwm=hwm, linger=linger, options={zmq.RECONNECT_IVL: 20, zmq.RECONNECT_IVL_MAX: 500}
        )
        socket.connect(endpoint)
        return socket

    def router_bind(self, endpoint: str, lock: Lock | None = None) -> zmq.Socket[bytes]:
        """The public control socket."""
        return self._bind_public(
            zmq.ROUTER,
            endpoint,
            lock,
            hwm=REPLIES_WAITING,
            options={
                zmq.MAXMSGSIZE: CONTROL_MAX_BYTES,
                zmq.RCVHWM: CONTROL_WAITING,
                zmq.ROUTER_MANDATORY: 1,
                zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
                zmq.HEARTBEAT_TIMEOUT: 2 * HEARTBEAT_MS,
            },
        )

    def xpub_bind(self, endpoint: str, lock: Lock | None = None, *, sessions: int = 0) -> zmq.Socket[bytes]:
        """The public stream. Manual: a subscription is applied by us, then ``init`` is sent.

        Args:
            sessions: so many at most; the ``init`` and a segment of each are one burst that nobody must lose.
        """
        return self._bind_public(
            zmq.XPUB,
            endpoint,
            lock,
            hwm=STREAM_WAITING + 2 * sessions,
            options={
                zmq.XPUB_MANUAL: 1,
                zmq.MAXMSGSIZE: 4096,
                zmq.TCP_KEEPALIVE: 1,
                zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
                zmq.HEARTBEAT_TIMEOUT: 2 * HEARTBEAT_MS,
            },
        )
