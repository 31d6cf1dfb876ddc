"""All messages of a ZeroMQ socket, each handed to a function at once.

``zmq.asyncio`` makes a future, two callbacks and a task switch of every message, which is much of what a message
costs a process that only passes it on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import zmq

BATCH = 64
"""Messages in a row; then it is somebody else's turn."""
Take = Callable[[list[zmq.Frame]], None]


class Reader:
    """Args:
    socket: a plain one, of this thread; read by nobody else.
    take: gets the parts of each message, in the loop; must not raise.
    """

    def __init__(self, socket: zmq.Socket[bytes], take: Take) -> None:
        self._socket = socket
        self._take = take
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Reads inside of the block."""
        self._loop = asyncio.get_running_loop()
        descriptor = self._socket.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        self._loop.add_reader(descriptor, self._read)
        self.look()
        try:
            yield
        finally:
            self._loop.remove_reader(descriptor)
            self._loop = None

    def look(self) -> None:
        """To be called after anything else was done with the socket: its descriptor tells of a message only once,
        and that may have been then.
        """
        if self._loop is not None:
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        if self._loop is None:
            return
        for _ in range(BATCH):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._take(parts)
        self._loop.call_soon(self._read)
