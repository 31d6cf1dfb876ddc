"""What viewers of a session hear, and when: by it asr tells the avatar's own voice from a person's."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from configs.grid import SAMPLE_BYTES, SAMPLE_RATE

KEPT_BYTES = 4 * SAMPLE_RATE * SAMPLE_BYTES
"""Of the last sounds: longer than a lead and the latest echo. They are kept for the next encoder anyway."""
KEPT = 64
"""Sounds at most."""


class Sound(NamedTuple):
    """A piece of it."""

    number: int
    at: int
    """When a viewer without any delay hears its first sample: monotonic microseconds."""
    pcm: bytes
    """s16 mono 48 kHz; empty: nothing of what was to be heard from ``at`` on will be."""


class Sounds:
    """The last of one session, numbered from 0. ``sessions.output`` is its one writer."""

    def __init__(self) -> None:
        self._kept: deque[Sound] = deque()
        self._bytes = 0
        self._count = 0

    def add(self, at: int, pcm: bytes) -> None:
        """A piece is published."""
        self._kept.append(Sound(self._count, at, pcm))
        self._count += 1
        self._bytes += len(pcm)
        while self._bytes - len(self._kept[0].pcm) > KEPT_BYTES or len(self._kept) > KEPT:
            self._bytes -= len(self._kept.popleft().pcm)

    def cut(self, at: int) -> None:
        """What is published to be heard from ``at`` on is void."""
        self.add(at, b"")

    def since(self, number: int) -> list[Sound]:
        """Those that are kept, from this number on."""
        return [sound for sound in self._kept if sound.number >= number]

    def clear(self) -> None:
        """Nobody listens any more."""
        self._kept.clear()
        self._bytes = 0
