"""What a WebSocket brings of a microphone, on its way to ``audio``: in order, one request at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from clients.aio.control import Control
from clients.gateway.errors import ApiError

SAMPLE_RATE = 16_000
RATES = range(8_000, 48_001)
WAITING_S = 10.0
"""Sound that the daemon has not taken yet; more is refused."""

Answer = Callable[[Any, dict[str, Any] | ApiError], Awaitable[None]]
"""Is told the id of a request and its result, or what went wrong; of plain sound only what went wrong."""


@dataclass(slots=True)
class _Piece:
    rate: int
    echo_cancelled: bool
    pcm: bytearray
    end: bool = False
    asked: bool = False
    """It came as a request, which has an answer."""
    id: Any = None


class Microphone:
    """Joins what arrives while a request is under way into the next one.

    Args:
        sid: the session that listens.
        control: requests to the daemon.
        answer: see ``Answer``.
    """

    def __init__(self, sid: str, control: Control, answer: Answer) -> None:
        self._sid = sid
        self._control = control
        self._answer = answer
        self._waiting: deque[_Piece] = deque()
        self._come = asyncio.Event()
        self.rate = SAMPLE_RATE
        """Of the sound to come, in Hz."""
        self.echo_cancelled = False
        """The client has taken what it plays out of it."""

    def feed(self, pcm: bytes) -> None:
        """Sound: s16le mono.

        Raises:
            ApiError: half a sample, or more than can wait.
        """
        self._check(pcm)
        last = self._waiting[-1] if self._waiting else None
        kind = (self.rate, self.echo_cancelled)
        if last is not None and (last.rate, last.echo_cancelled) == kind and not last.asked:
            last.pcm += pcm
        else:
            self._put(_Piece(*kind, bytearray(pcm)))
        self._come.set()

    def ask(self, number: Any, pcm: bytes, *, end: bool) -> None:
        """The same as a request, which is answered; ``end``: the utterance is over."""
        self._check(pcm)
        self._put(_Piece(self.rate, self.echo_cancelled, bytearray(pcm), end, asked=True, id=number))

    def _put(self, piece: _Piece) -> None:
        self._waiting.append(piece)
        self._come.set()

    def _check(self, pcm: bytes) -> None:
        if len(pcm) % 2:
            raise ApiError("INVALID_ARGUMENT", f"{len(pcm)} bytes are no s16le samples: send an even number")
        seconds = sum(len(piece.pcm) / 2 / piece.rate for piece in self._waiting)
        if seconds > WAITING_S or len(self._waiting) > 1000:
            raise ApiError("BUSY", f"more than {WAITING_S:g} s of sound wait for the daemon: send less", 1000)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            while self._waiting:
                piece = self._waiting.popleft()
                try:
                    result: dict[str, Any] | ApiError = await self._control.request(
                        "audio", self._arguments(piece)
                    )
                except ApiError as error:
                    result = error
                if piece.asked or isinstance(result, ApiError):
                    await self._answer(piece.id, result)
            self._come.clear()
            await self._come.wait()

    def _arguments(self, piece: _Piece) -> dict[str, Any]:
        return {
            "session_id": self._sid,
            "pcm": bytes(piece.pcm),
            "sample_rate": piece.rate,
            "end": piece.end,
            "echo_cancelled": piece.echo_cancelled,
        }
