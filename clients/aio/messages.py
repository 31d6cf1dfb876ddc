"""A message of the stream as viewers get it: put together once, whoever many they are."""

from __future__ import annotations

from struct import Struct
from typing import Any

import msgpack

from clients import mp4

VERSION = 1
Header = dict[str, Any]
_LENGTH = Struct(">I")
_NO_PAYLOAD = memoryview(b"")


class Message:
    """An ``init``, a segment or an event.

    Attributes:
        header: decoded.
        frame: what a WebSocket carries: 4 bytes length of the header, the header as published, the payload.
        payload: a part of ``frame``.
    """

    __slots__ = ("frame", "header", "payload")

    def __init__(self, raw: bytes | memoryview, payload: bytes | memoryview = _NO_PAYLOAD) -> None:
        self.header: Header = msgpack.unpackb(raw)
        self.frame = b"".join((_LENGTH.pack(len(raw)), raw, payload))
        self.payload = memoryview(self.frame)[_LENGTH.size + len(raw) :]

    @property
    def media(self) -> bool:
        """Whether it is a segment."""
        return self.header.get("kind") == "media"

    @property
    def event(self) -> str | None:
        """The event's name; None for media."""
        return self.header.get("event")


def init_message(sid: str, payload: bytes) -> Message:
    """The ``init`` of a session as it was read back, where nothing of its stream has come yet."""
    header = {
        "v": VERSION, "sid": sid, "kind": "init", "gen": 0, "turn": 0, "seq": None, "pts": 0, "dur": 0,
        "mime": mp4.mime(payload),
    }  # fmt: skip
    return Message(msgpack.packb(header), payload)


def skipped(sid: str, from_seq: int, to_seq: int) -> Message:
    """Tells a viewer that it does not get these segments, both included. Not the daemon's: it has no ``n``."""
    data = {"from_seq": from_seq, "to_seq": to_seq}
    return Message(msgpack.packb({"v": VERSION, "sid": sid, "event": "gateway.skipped", "turn": 0, "data": data}))
