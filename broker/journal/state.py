"""What a session is at one moment, as bytes that outlive the process. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import msgspec

from broker.journal.layout import Region
from broker.journal.ring import Buffer

Room = Callable[[int], None]
VERSION = 1
TERMINAL = frozenset({"turn.ended", "turn.interrupted", "turn.failed"})
"""Events of which each turn has exactly one."""
LAST = "session.ended"
_HEAD = struct.Struct("<IIQ")
"""crc32 of what follows, bytes of the record, which writing it is."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder


class State(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The numbers of a session's output, and what it owes its viewers. Times are integer microseconds."""

    seq: int = 0
    gen: int = 0
    end: int = 0
    late: int = 0
    anchor: tuple[int, int] | None = None
    """Of the media clock: (pts, monotonic)."""
    n: int = 0
    frames: int = 0
    media_us: int = 0
    degraded_us: int = 0
    degraded: str | None = None
    turns: int = 0
    """Accepted so far."""
    open: tuple[int, ...] = ()
    """Turns that have had no terminal event."""
    closing: str = ""
    """Why it ends after its turns; "": it does not."""
    ended_at: int | None = None
    """Monotonic; its last event is out."""
    v: int = VERSION

    def catch_up(self, event: bytes | None, media: bytes | None, now: int) -> None:
        """Take in the headers of the newest messages, of which at most one was written after the state was.

        Raises:
            msgspec.MsgspecError: they are no headers.
        """
        told = _decode(_Told)
        if event is not None and (header := told.decode(event)).n >= self.n:
            self.n = header.n + 1
            if header.event in TERMINAL:
                self.open = tuple(turn for turn in self.open if turn != header.turn)
            if header.event == LAST:
                self.ended_at = now
        if media is not None and (header := told.decode(media)).seq >= self.seq:
            self.seq, self.gen, self.end = header.seq + 1, header.gen, header.pts + header.dur
            self.frames += header.frames
            self.media_us += header.dur
            self.degraded_us += header.dur if header.degraded else 0


class _Told(msgspec.Struct):
    """What matters of a published header."""

    n: int = -1
    event: str = ""
    turn: int = 0
    seq: int = -1
    gen: int = 0
    pts: int = 0
    dur: int = 0
    frames: int = 0
    degraded: str | None = None


class Cold(msgspec.Struct):
    """What a session is made of and what changes seldom."""

    boot: str
    sid: str
    init: bytes
    mime: str
    settings: bytes
    """Encoded by whoever knows what they mean."""
    v: int = VERSION


class Slots:
    """A record that is written at two places by turns, so that one whole one is there at every moment.

    Args:
        places: both, of the same size.
        room: called for each place with how much of it is about to be written; it may raise OSError.
    """

    def __init__(
        self,
        buffer: Buffer,
        places: tuple[Region, Region],
        room: tuple[Room, Room] = (lambda end: None, lambda end: None),
    ) -> None:
        self._buffer = buffer
        self._places = places
        self._room = room
        self._count = 0

    @property
    def size(self) -> int:
        """Bytes of the largest record."""
        return self._places[0].size - _HEAD.size

    def move(self, buffer: Buffer) -> None:
        """Go on in another buffer that has the same bytes and all its room."""
        self._buffer, self._room = buffer, (lambda end: None, lambda end: None)

    def write(self, body: bytes) -> None:
        """Make this the record; at most ``size`` bytes. Raises OSError: there is no room."""
        which = (self._count + 1) % 2
        self._room[which](_HEAD.size + len(body))
        self._count += 1
        tail = _HEAD.pack(0, len(body), self._count)[4:] + body
        at = self._places[which].data_at
        self._buffer[at : at + 4 + len(tail)] = zlib.crc32(tail).to_bytes(4, "little") + tail

    def read(self) -> bytes | None:
        """The newest whole record; None when there is none."""
        found: list[tuple[int, bytes]] = []
        for place in self._places:
            at = place.data_at
            check, size, count = _HEAD.unpack(self._buffer[at : at + _HEAD.size])
            tail = bytes(self._buffer[at + 4 : at + _HEAD.size + min(size, self.size)])
            if size and zlib.crc32(tail) == check:
                found.append((count, tail[_HEAD.size - 4 :]))
        if not found:
            return None
        self._count, body = max(found)
        return body


def pack_state(state: State, size: int) -> bytes:
    """What would not fit into so many bytes is left out: the turns that were accepted last."""
    body = _encode(state)
    while len(body) > size:
        state.open = state.open[: len(state.open) // 2]
        body = _encode(state)
    return body


def unpack_state(body: bytes | None) -> State:
    """Raises ValueError: there is none, or of another version."""
    state = None if body is None else _decode(State).decode(body)
    if state is None or state.v != VERSION:
        raise ValueError("its state is not whole, or of another version")
    return state


def pack_lines(lines: list[tuple[str, str]], size: int) -> bytes:
    """What would not fit into so many bytes is left out: the oldest lines."""
    body = _encode(lines)
    while len(body) > size:
        lines = lines[1:]
        body = _encode(lines)
    return body


def unpack_lines(body: bytes | None) -> list[tuple[str, str]]:
    """Raises ``msgspec.MsgspecError``."""
    return [] if body is None else _decode(list[tuple[str, str]]).decode(body)
