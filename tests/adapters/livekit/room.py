"""Rooms without a server: what LiveKit's runner, streams and calls need of them. Two of them can be one room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from livekit import rtc


class Publication:
    def __init__(self, track: Any) -> None:
        self.name, self.kind = track.name, track.kind

    async def wait_for_subscription(self) -> None:
        """Somebody listens."""


class Writer:
    """Of a byte stream; what it writes is read on the other side."""

    def __init__(self, attributes: dict[str, str]) -> None:
        self.info = SimpleNamespace(attributes=attributes, stream_id="a-stream")
        self._data: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def write(self, data: bytes) -> None:
        self._data.put_nowait(data)

    async def aclose(self) -> None:
        self._data.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self._data.get()
        if data is None:
            raise StopAsyncIteration
        return data


class Participant:
    """Of this side; the other one sees it, too."""

    kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
    state = rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE

    def __init__(self, room: Room, identity: str) -> None:
        self._room = room
        self.identity = identity
        self.track_publications: dict[str, Publication] = {}
        self._rpc_handlers: dict[str, Callable[[rtc.RpcInvocationData], str]] = {}

    @property
    def tracks(self) -> list[str]:
        return list(self.track_publications)

    async def publish_track(self, track: Any, options: Any) -> Publication:
        made = self.track_publications[track.name] = Publication(track)
        if self._room.other is not None:
            self._room.other.emit("track_published", made, self)
        return made

    def register_rpc_method(self, name: str, handler: Callable[[rtc.RpcInvocationData], str]) -> None:
        self._rpc_handlers[name] = handler

    async def perform_rpc(self, *, destination_identity: str, method: str, payload: str) -> str:
        assert self._room.other is not None
        there = self._room.other.local_participant
        assert there.identity == destination_identity
        call = rtc.RpcInvocationData("a-call", self.identity, payload, 10.0)
        return there._rpc_handlers[method](call)

    async def stream_bytes(
        self, name: str, *, topic: str, destination_identities: list[str], attributes: dict[str, str]
    ) -> Writer:
        assert self._room.other is not None
        writer = Writer(attributes)
        self._room.other.streams[topic](writer, self.identity)
        return writer


class Room(rtc.EventEmitter[str]):
    name = "a-room"

    def __init__(self, identity: str = "agent") -> None:
        super().__init__()
        self.local_participant = Participant(self, identity)
        self.other: Room | None = None
        self.streams: dict[str, Callable[[Writer, str], None]] = {}

    @property
    def remote_participants(self) -> dict[str, Participant]:
        if self.other is None:
            return {}
        return {self.other.local_participant.identity: self.other.local_participant}

    def isconnected(self) -> bool:
        return True

    def register_byte_stream_handler(self, topic: str, handler: Callable[[Writer, str], None]) -> None:
        self.streams[topic] = handler

    async def disconnect(self) -> None:
        self.emit("disconnected", "left")


def linked(first: str, second: str) -> tuple[Room, Room]:
    """One room, seen from two participants."""
    one, two = Room(first), Room(second)
    one.other, two.other = two, one
    return one, two
