"""Where what lies in the file of a session: a page that says so, its state, what was said, two rings. Pure.

```
page | state, twice | index of events | index of media | what was said, twice | events | media
```
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

PAGE = 4096
VERSION = 2
STATE_BYTES = 32_768
"""Of one of the two places for the state, whose largest part is the numbers of the turns that wait."""
LINES_BYTES = 294_912
"""The same for what has been said: 64,000 characters of four bytes, and what tells them apart."""
SLOT = struct.Struct("<QQIII")
"""One message of a ring: its number, where it begins, bytes of its header and of its payload, crc32 of these."""
_MEDIA_BYTES = 4096
"""A ring of media has a slot for so many bytes: no segment is smaller on average."""
_HEAD = struct.Struct("<16sIQIQII")
_MAGIC = b"musecast journal"


class Region(NamedTuple):
    """Where one ring lies in the file."""

    index_at: int
    slots: int
    data_at: int
    size: int
    """Bytes of all messages together."""


class Layout(NamedTuple):
    """Where everything lies in the file."""

    events: Region
    media: Region
    state: tuple[Region, Region]
    lines: tuple[Region, Region]

    @classmethod
    def of(cls, event_bytes: int, event_slots: int, media_bytes: int, media_slots: int = 0) -> Layout:
        """For rings of these sizes; without ``media_slots`` as many as make sense."""
        media_slots = media_slots or max(1024, media_bytes // _MEDIA_BYTES)
        events_at = PAGE + 2 * STATE_BYTES
        media_at = events_at + event_slots * SLOT.size
        lines_at = _pages(media_at + media_slots * SLOT.size)
        data_at = lines_at + 2 * LINES_BYTES
        events = Region(events_at, event_slots, data_at, event_bytes)
        media = Region(media_at, media_slots, data_at + _pages(event_bytes), media_bytes)
        return cls(events, media, _twice(PAGE, STATE_BYTES), _twice(lines_at, LINES_BYTES))

    @property
    def head(self) -> int:
        """Bytes that are there from the start: page, state and both indexes."""
        return self.lines[0].data_at

    @property
    def total(self) -> int:
        """Bytes of the whole file."""
        return self.media.data_at + _pages(self.media.size)

    def pack(self) -> bytes:
        """The first page's words."""
        sizes = (self.events.size, self.events.slots, self.media.size, self.media.slots)
        head = _HEAD.pack(_MAGIC, VERSION, *sizes, 0)[:-4]
        return head + zlib.crc32(head).to_bytes(4, "little")

    @classmethod
    def read(cls, page: bytes) -> Layout | None:
        """The layout that a file's first page tells of; None when it does not, or of another version."""
        if len(page) < _HEAD.size:
            return None
        magic, version, *sizes, check = _HEAD.unpack_from(page)
        if (magic, version, check) != (_MAGIC, VERSION, zlib.crc32(page[: _HEAD.size - 4])):
            return None
        return cls.of(*sizes)


def _twice(at: int, size: int) -> tuple[Region, Region]:
    return Region(0, 0, at, size), Region(0, 0, at + size, size)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
