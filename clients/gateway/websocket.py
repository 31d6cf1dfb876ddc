"""``WS /ws/{sid}``: media and events out, requests and the microphone in."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack
from starlette.websockets import WebSocket, WebSocketDisconnect

from clients.aio.control import Control
from clients.aio.messages import VERSION, Message
from clients.aio.viewer import ENDED, GONE, RESTART, TOO_SLOW, Viewer
from clients.gateway.errors import ApiError
from clients.gateway.microphone import RATES, Microphone
from clients.gateway.websocket_protocol import KICK

SLOW_S = 2.0
STRIKES = 3
"""So many times in a row media could not be sent within ``SLOW_S``: the viewer is too slow."""
CLOSE_S = 2.0
IN_FLIGHT = 32
"""Requests of one viewer without an answer; more are BUSY."""
BINARY = {"audio": "pcm", "process_segment": "audio"}
"""Operation -> its argument that is bytes, which JSON has in base64."""
REASONS = {
    ENDED: "the session has ended",
    RESTART: "the daemon or its gateway restarts: come back",
    TOO_SLOW: "too slow: media waits longer than it is worth showing",
}

May = Callable[[str], None]
"""Raises ``ApiError`` for an operation that the viewer's token does not allow."""


class Connection:
    """One accepted WebSocket.

    Args:
        socket: accepted.
        viewer: what the hub gives it.
        control: requests to the daemon.

    Attributes:
        may: see ``May``.
    """

    may: May

    def __init__(self, socket: WebSocket, viewer: Viewer, control: Control) -> None:
        self._socket = socket
        self._viewer = viewer
        self._control = control
        self._microphone = Microphone(viewer.sid, control, self._answer)
        self._requests: set[asyncio.Task[None]] = set()
        self._strikes = 0

    async def run(self, messages: AsyncIterator[Message]) -> int | None:
        """Serve until the viewer leaves or there is nothing more; the close code, None: it has left.

        Args:
            messages: of its session, ``init`` first.
        """
        sending = asyncio.create_task(self._send_all(messages))
        others = [asyncio.create_task(self._receive_all()), asyncio.create_task(self._microphone.run())]
        try:
            await asyncio.wait([sending, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, *others, *self._requests):
                task.cancel()
            results = await asyncio.gather(sending, *others, *self._requests, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | ApiError):
                raise result
        if isinstance(results[0], ApiError):  # what was missed could not be read back
            return GONE if results[0].code == "NOT_FOUND" else RESTART
        return self._viewer.closing

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye; where the peer does not even read that, the connection is cut."""
        reason = reason or REASONS.get(code, "")
        if code != TOO_SLOW:
            with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close(code, reason)
                return
        self._socket.scope["extensions"][KICK]["kick"](code, reason)

    # --- out ---

    async def _send_all(self, messages: AsyncIterator[Message]) -> None:
        loop = asyncio.get_running_loop()
        async for message in messages:
            timer = loop.call_later(SLOW_S, self._slow)
            self._timer = timer
            before = self._strikes
            try:
                await self._socket.send_bytes(message.frame)
            finally:
                self._timer.cancel()
            if message.media and self._strikes == before:
                self._strikes = 0

    def _slow(self) -> None:
        """What is sent does not go away."""
        self._strikes += 1
        if self._strikes < STRIKES:
            self._timer = asyncio.get_running_loop().call_later(SLOW_S, self._slow)
        else:
            self._viewer.close(TOO_SLOW)
            self._socket.scope["extensions"][KICK]["kick"](TOO_SLOW, REASONS[TOO_SLOW])

    async def _answer(self, number: Any, result: dict[str, Any] | ApiError) -> None:
        reply: dict[str, Any] = {"v": VERSION, "id": number, "ok": not isinstance(result, ApiError)}
        reply |= result.body() if isinstance(result, ApiError) else plain(result)
        await self._socket.send_text(json.dumps(reply, separators=(",", ":")))

    # --- in ---

    async def _receive_all(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            number = None
            try:
                if message.get("bytes") is not None:
                    self.may("audio")
                    self._microphone.feed(message["bytes"])
                else:
                    request = _request(message["text"])
                    number = request.pop("id", None)
                    await self._handle(number, request)
            except ApiError as error:
                await self._answer(number, error)

    async def _handle(self, number: Any, request: dict[str, Any]) -> None:
        op = request.pop("op")
        if op == "microphone":
            self.may("audio")
            self._microphone.rate, self._microphone.echo_cancelled = _rate(request), _echo_cancelled(request)
            await self._answer(number, {})
            return
        self.may(op)
        if request.get("session_id", self._viewer.sid) != self._viewer.sid:
            message = f"this WebSocket is of session {self._viewer.sid}: leave session_id out, or open another one"
            raise ApiError("UNAUTHENTICATED", message, status=403)
        field = BINARY.get(op)
        if field in request:
            request[field] = from_base64(request[field], field)
        if op == "audio":
            if "sample_rate" in request:
                self._microphone.rate = _rate(request)
            if "echo_cancelled" in request:
                self._microphone.echo_cancelled = _echo_cancelled(request)
            self._microphone.ask(number, request.get("pcm", b""), end=request.get("end") is True)
            return
        if len(self._requests) >= IN_FLIGHT:
            raise ApiError(
                "BUSY", f"{IN_FLIGHT} requests of this WebSocket wait for their answers: ask again", 500
            )
        task = asyncio.create_task(self._ask(number, op, {**request, "session_id": self._viewer.sid}))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _ask(self, number: Any, op: str, arguments: dict[str, Any]) -> None:
        try:
            result: dict[str, Any] | ApiError = await self._control.request(op, arguments)
        except ApiError as error:
            result = error
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it left meanwhile
            await self._answer(number, result)


def _request(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError("INVALID_ARGUMENT", f"a text message is one request as JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("op"), str):
        raise ApiError(
            "INVALID_ARGUMENT", 'a request is an object with "op", such as {"id": 1, "op": "interrupt"}'
        )
    if not isinstance(request.get("id"), str | int | None):
        raise ApiError("INVALID_ARGUMENT", '"id" is a whole number or a text')
    return request


def _rate(request: dict[str, Any]) -> int:
    rate = request.get("sample_rate", 16_000)
    if not isinstance(rate, int) or rate not in RATES:
        raise ApiError("INVALID_ARGUMENT", f"sample_rate is a whole number from {RATES[0]} to {RATES[-1]}")
    return rate


def _echo_cancelled(request: dict[str, Any]) -> bool:
    cancelled = request.get("echo_cancelled", False)
    if not isinstance(cancelled, bool):
        raise ApiError("INVALID_ARGUMENT", "echo_cancelled is true or false")
    return cancelled


def from_base64(text: Any, name: str) -> bytes:
    """Bytes that JSON brought.

    Raises:
        ApiError: they are no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ApiError("INVALID_ARGUMENT", f"{name} is bytes in base64") from None


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result as JSON can say it: headers that were read back as maps, other bytes in base64."""
    made = dict(result)
    if "events" in made:
        made["events"] = [msgpack.unpackb(header) for header in made["events"]]
    if "segments" in made and made["segments"] and isinstance(made["segments"][0], list):
        made["segments"] = [[msgpack.unpackb(header), _base64(payload)] for header, payload in made["segments"]]
    return {name: _base64(value) if isinstance(value, bytes) else value for name, value in made.items()}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
