"""What a session is at one moment, as bytes that outlive the process. Pure.

The state is written twice by turns, so that one whole state is there at every moment.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from broker.journal.layout import PAGE, STATE_BYTES
from broker.journal.ring import Buffer

VERSION = 1
TERMINAL = frozenset({"turn.ended", "turn.interrupted", "turn.failed"})
"""Events of which each turn has exactly one."""
LAST = "session.ended"
_HEAD = struct.Struct("<IIQ")
"""crc32 of what follows, bytes of the state, which writing it is."""
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


class Lines(msgspec.Struct):
    """What has been said: role and text of each line."""

    lines: list[tuple[str, str]]


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
    """The two places of a session's state in its buffer."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._count = 0

    def move(self, buffer: Buffer) -> None:
        """Go on in another buffer that has the same bytes."""
        self._buffer = buffer

    def write(self, state: State) -> None:
        """Make this the state. What would not fit is left out: the turns that wait longest are kept."""
        body = _encode(state)
        while len(body) > STATE_BYTES - _HEAD.size:
            state.open = state.open[: len(state.open) // 2]
            body = _encode(state)
        self._count += 1
        at = PAGE + self._count % 2 * STATE_BYTES
        tail = _HEAD.pack(0, len(body), self._count)[4:] + body
        self._buffer[at : at + 4 + len(tail)] = zlib.crc32(tail).to_bytes(4, "little") + tail

    def read(self) -> State | None:
        """The newest whole state; None when there is none, or only one of another version."""
        found: list[tuple[int, State]] = []
        for slot in range(2):
            at = PAGE + slot * STATE_BYTES
            check, size, count = _HEAD.unpack(self._buffer[at : at + _HEAD.size])
            body = bytes(self._buffer[at + 4 : at + _HEAD.size + min(size, STATE_BYTES - _HEAD.size)])
            if not size or zlib.crc32(body) != check:
                continue
            try:
                state = _decode(State).decode(body[_HEAD.size - 4 :])
            except msgspec.MsgspecError:
                continue
            if state.v == VERSION:
                found.append((count, state))
        if not found:
            return None
        self._count, state = max(found, key=lambda pair: pair[0])
        return state
