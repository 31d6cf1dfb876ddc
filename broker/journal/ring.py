"""Bounded memories of what was published, for clients that come late or missed something. Pure.

A ring lies in a buffer that outlives the process where it is a file's (``files``). A process may be killed between
any two bytes that it writes, so the order is fixed: the slots of the messages that are about to be overwritten are
cleared, the new message is written, its slot last. A slot is right by the checksum of its own few bytes; that a
payload is right says the crc32 in its header.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from broker.journal.layout import SLOT, Region

_NO_SLOT = bytes(SLOT.size)
_pack = SLOT.pack
_crc32 = zlib.crc32


class Buffer(Protocol):
    """Writable bytes, as a memoryview has them."""

    def __getitem__(self, key: slice, /) -> Any: ...

    def __setitem__(self, key: slice, value: Any, /) -> None: ...


class Kept(NamedTuple):
    """One published message: its number, header bytes and payload."""

    number: int
    header: bytes
    payload: bytes | memoryview
    """A view is valid until the next message is added."""


class _Place(NamedTuple):
    """Where a message is: ``at`` counts all bytes that ever went round, so that order and distance are plain."""

    number: int
    at: int
    header: int
    payload: int

    @property
    def end(self) -> int:
        return self.at + self.header + self.payload


class Ring:
    """The newest messages, bounded by bytes and by count; numbers are consecutive.

    Args:
        buffer: what ``region`` lies in; all zero, or what a predecessor has left (see ``adopt``).
        room: called with an offset into the region's bytes before anything up to there is written.
    """

    def __init__(self, buffer: Buffer, region: Region, room: Callable[[int], None] = lambda end: None) -> None:
        self._buffer = buffer
        self._region = region
        self._room = room
        self._kept: deque[_Place] = deque()
        self._head = 0
        """Where the next message may begin."""
        self._large: Kept | None = None
        """A message that is larger than the ring; it is then the only one."""
        self._unproven = -1
        """Payloads up to this number were written by a predecessor: they are looked at when they are asked for."""

    def adopt(self) -> None:
        """Go on with what a predecessor has left; a message that it did not finish is not there."""
        found: dict[int, _Place] = {}
        for slot in range(self._region.slots):
            place = self._slot(slot)
            if place is not None:
                found[place.number] = place
        self._kept.clear()
        if not found:
            return
        number = self._unproven = max(found)
        self._head = found[number].end
        while number in found and found[number].at >= self._head - self._region.size:
            self._kept.appendleft(found[number])
            number -= 1

    def _slot(self, slot: int) -> _Place | None:
        at = self._region.index_at + slot * SLOT.size
        raw = bytes(self._buffer[at : at + SLOT.size])
        *fields, check = SLOT.unpack(raw)
        if raw == _NO_SLOT or check != _crc32(raw[:-4]):
            return None
        place = _Place(*fields)
        fits = place.at % self._region.size + place.header + place.payload <= self._region.size
        return place if fits and place.number % self._region.slots == slot else None

    def move(self, buffer: Buffer, room: Callable[[int], None]) -> None:
        """Go on in another buffer that has the same bytes."""
        self._buffer, self._room = buffer, room

    def add(self, number: int, header: bytes, payload: bytes = b"") -> None:
        """Keep a message, dropping the oldest ones above the bounds; the newest always stays.

        Raises:
            OSError: ``room`` has none. The message is not kept.
        """
        region, kept, buffer = self._region, self._kept, self._buffer
        size = len(header) + len(payload)
        if size > region.size:
            self.clear()
            self._large = Kept(number, header, payload)
            return
        at, start = self._head, self._head % region.size
        if start + size > region.size:
            at, start = at + region.size - start, 0
        self._room(start + size)
        self._large = None
        oldest = at + size - region.size
        while kept and (kept[0].at < oldest or len(kept) >= region.slots):
            self._drop()
        first = region.data_at + start
        middle = first + len(header)
        buffer[first:middle] = header
        buffer[middle : first + size] = payload
        slot = _pack(number, at, len(header), len(payload), 0)[:-4]
        index = region.index_at + number % region.slots * SLOT.size
        buffer[index : index + SLOT.size] = slot + _crc32(slot).to_bytes(4, "little")
        kept.append(_Place(number, at, len(header), len(payload)))
        self._head = at + size

    def _drop(self) -> None:
        index = self._region.index_at + self._kept.popleft().number % self._region.slots * SLOT.size
        self._buffer[index : index + SLOT.size] = _NO_SLOT

    def clear(self) -> None:
        """Keep nothing any more."""
        while self._kept:
            self._drop()
        self._large = None

    def close(self) -> None:
        """Keep nothing, and let the buffer go."""
        self._kept.clear()
        self._large = None
        self._buffer = memoryview(b"")

    @property
    def oldest(self) -> int | None:
        """Number of the oldest message kept."""
        if self._large is not None:
            return self._large.number
        return self._kept[0].number if self._kept else None

    @property
    def newest(self) -> int | None:
        """Number of the newest message."""
        if self._large is not None:
            return self._large.number
        return self._kept[-1].number if self._kept else None

    def read(self, first: int, count: int, max_bytes: int) -> list[Kept]:
        """Messages from number ``first`` on, at most ``count`` and ``max_bytes`` (but at least one)."""
        if self._large is not None:
            return [self._large] if first <= self._large.number else []
        if not self._kept:
            return []
        found: list[Kept] = []
        size = 0
        start = max(0, first - self._kept[0].number)
        for index in range(start, min(len(self._kept), start + count)):
            place = self._kept[index]
            size += place.header + place.payload
            if found and size > max_bytes:
                break
            message = self._message(place)
            if place.number <= self._unproven and not _right(message):
                self._forget(place.number)
                return self.read(first, count, max_bytes)
            found.append(message)
        return found

    def _message(self, place: _Place) -> Kept:
        at = self._region.data_at + place.at % self._region.size
        middle = at + place.header
        return Kept(place.number, bytes(self._buffer[at:middle]), self._buffer[middle : middle + place.payload])

    def _forget(self, number: int) -> None:
        """Numbers are consecutive: with a damaged message all before it go."""
        while self._kept and self._kept[0].number <= number:
            self._drop()

    @property
    def last(self) -> Kept | None:
        """The newest message."""
        return self._large or (self._message(self._kept[-1]) if self._kept else None)


class _Check(msgspec.Struct):
    crc32: int | None = None


def _right(message: Kept) -> bool:
    """Whether the payload is the one that the header tells of; events have none."""
    try:
        told = msgspec.msgpack.decode(message.header, type=_Check).crc32
    except msgspec.MsgspecError:
        return False
    return told is None or told == zlib.crc32(message.payload)
