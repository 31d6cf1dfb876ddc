"""Requests to the daemon over one DEALER, from asyncio: many at once, each with an id and a limit.

Whether the daemon is there is told by the connection itself: the socket's monitor says when it was lost,
ZeroMQ's heartbeats lose it when the daemon stands still. What was asked then is answered NOT_READY at once, and
nothing waits in a queue for the next daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from clients.client import LONG_OPERATIONS, LONG_REQUEST_TIMEOUT_S, REQUEST_TIMEOUT_S, VERSION, RequestError
from clients.keys import Keys, connect

LIMITS_S = {"health": 1.5, "status": 5.0}
"""Seconds that an operation may take where it is not one of ``clients.client``."""
OUTSTANDING = 4096
"""Requests without an answer; beyond it the next is BUSY."""
HEARTBEAT_MS = 500
SILENCE_MS = 5000
"""Without an answer to a heartbeat for so long the daemon counts as gone, as a process counts as hung for its
supervisor: a machine that stands still for a second or two costs no request. Of a death it is told at once.
"""
GONE = "the daemon does not answer: it is starting, was stopped, or does not run; ask again"
ENVELOPE = ("v", "id", "ok")
Refused = Callable[[str, str, int | None], RequestError]


class Control:
    """One connection to the daemon's control socket.

    Args:
        address: such as ``tcp://127.0.0.1:28880``.
        stream: of the XPUB, such as ``tcp://127.0.0.1:28881``.
        keys: where the daemon has them on.
        refused: makes what ``request`` raises, of code, message and ``retry_after_ms``.
    """

    def __init__(
        self, address: str, stream: str, keys: Keys | None = None, *, refused: Refused = RequestError
    ) -> None:
        self._address = address
        self._stream = stream
        self._keys = keys
        self._refused = refused
        self._context = zmq.asyncio.Context()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 0
        self.connected = False
        self.on_connection: Callable[[bool], None] = lambda _: None
        """Is told when the daemon is there and when it is not any more."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected inside of the block."""
        self._open()
        tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._fail_all()
            self._context.destroy(linger=0)

    def _open(self) -> None:
        self._dealer = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.IMMEDIATE, 1),  # nothing is queued for a daemon that is not there
            (zmq.RECONNECT_IVL, 50),
            (zmq.RECONNECT_IVL_MAX, 500),
            (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, SILENCE_MS),
        ):
            self._dealer.setsockopt(option, value)
        self._monitor = self._dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        connect(self._dealer, self._address, self._keys)

    async def request(
        self, op: str, arguments: dict[str, Any] | None = None, limit_s: float | None = None
    ) -> dict[str, Any]:
        """Ask and wait for the result, without ``v``, ``id`` and ``ok``. ``None`` arguments are left out.

        Raises:
            RequestError: the daemon refused it, is not there, or did not answer within ``limit_s``.
        """
        if limit_s is None:
            default = LONG_REQUEST_TIMEOUT_S if op in LONG_OPERATIONS else REQUEST_TIMEOUT_S
            limit_s = LIMITS_S.get(op, default)
        if len(self._waiting) >= OUTSTANDING:
            raise self._refused("BUSY", f"{OUTSTANDING} requests wait for an answer already: ask again", 1000)
        self._next_id += 1
        number = self._next_id
        packed = self._pack({**(arguments or {}), "v": VERSION, "id": number, "op": op})
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(limit_s):
                await self._send(packed)
                reply = await future
        except TimeoutError:
            raise self._refused("NOT_READY", f"no answer to {op} within {limit_s:g} s: ask again", None) from None
        finally:
            self._waiting.pop(number, None)
        if reply.get("ok"):
            return {key: value for key, value in reply.items() if key not in ENVELOPE}
        error = reply["error"]
        raise self._refused(error["code"], error["message"], error.get("retry_after_ms"))

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
        """A subscription of its own; gives what waits for the next header of that topic."""
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        connect(socket, self._stream, self._keys)

        async def heard() -> dict[str, Any]:
            header: dict[str, Any] = msgpack.unpackb((await socket.recv_multipart())[1])
            return header

        try:
            yield heard
        finally:
            socket.close(linger=0)

    async def _send(self, packed: bytes) -> None:
        if not self.connected:
            raise self._refused("NOT_READY", GONE, None)
        try:
            await self._dealer.send(packed, zmq.NOBLOCK)
        except zmq.Again:
            raise self._refused("NOT_READY", GONE, None) from None

    async def _receive(self) -> None:
        while True:
            reply = msgpack.unpackb(await self._dealer.recv())
            future = self._waiting.get(reply.get("id"))
            if future is not None and not future.done():
                future.set_result(reply)

    async def _watch(self) -> None:
        while True:
            event = parse_monitor_message(await self._monitor.recv_multipart())["event"]
            self.connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if not self.connected:
                self._fail_all()
            self.on_connection(self.connected)

    def _fail_all(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._refused("NOT_READY", GONE, None))

    def _pack(self, request: dict[str, Any]) -> bytes:
        with contextlib.suppress(UnicodeEncodeError, OverflowError, ValueError, TypeError, RecursionError):
            packed: bytes = msgpack.packb({name: value for name, value in request.items() if value is not None})
            return packed
        message = "an argument cannot be sent on: whole numbers have 64 bits, texts are UTF-8, nesting ends at 511"
        raise self._refused("INVALID_ARGUMENT", message, None)
