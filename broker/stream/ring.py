"""Bounded memories of what was published, for clients that come late or missed something. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Kept(NamedTuple):
    """One published message: its number, header bytes and payload."""

    number: int
    header: bytes
    payload: bytes


class Ring:
    """The newest messages, bounded by bytes and by count; numbers are consecutive."""

    def __init__(self, max_bytes: int, max_items: int) -> None:
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._max_items = max_items

    def add(self, number: int, header: bytes, payload: bytes = b"") -> None:
        """Keep a message, dropping the oldest ones above the bounds; the newest always stays."""
        self._kept.append(Kept(number, header, payload))
        self._bytes += len(header) + len(payload)
        while len(self._kept) > 1 and (self._bytes > self._max_bytes or len(self._kept) > self._max_items):
            old = self._kept.popleft()
            self._bytes -= len(old.header) + len(old.payload)

    def clear(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()
        self._bytes = 0

    @property
    def oldest(self) -> int | None:
        """Number of the oldest message kept."""
        return self._kept[0].number if self._kept else None

    @property
    def newest(self) -> int | None:
        """Number of the newest message."""
        return self._kept[-1].number if self._kept else None

    def read(self, first: int, count: int, max_bytes: int) -> list[Kept]:
        """Messages from number ``first`` on, at most ``count`` and ``max_bytes`` (but at least one)."""
        if not self._kept:
            return []
        found: list[Kept] = []
        size = 0
        start = max(0, first - self._kept[0].number)
        for index in range(start, min(len(self._kept), start + count)):
            kept = self._kept[index]
            size += len(kept.header) + len(kept.payload)
            if found and size > max_bytes:
                break
            found.append(kept)
        return found
