"""How fast a stage makes frames, and what that means for when to begin. Pure; times are monotonic microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

OFFLINE = ""
"""Stands for all sessions without a clock: what they wait for comes after everything else."""
WINDOW_US = 2_000_000
"""Of the time in which frames were waited for, about this much is remembered."""


class Throughput:
    """Frames that a stage has made against the time in which it had some to make."""

    def __init__(self) -> None:
        self._waiting: dict[str, int] = {}
        self._yielding: dict[str, int] = {}
        """Sessions that come behind all others, until when."""
        self._frames = 0.0
        self._busy = 0.0
        self._at = 0

    @property
    def frame_us(self) -> float:
        """Microseconds per frame of all sessions together; 0 until something was made."""
        return self._busy / self._frames if self._frames else 0.0

    @property
    def sharers(self) -> int:
        """Live sessions with frames waiting, but for those that come behind the others."""
        behind = self._yielding
        return sum(sid != OFFLINE and behind.get(sid, 0) <= self._at for sid in self._waiting)

    def yields(self, now: int, sid: str, until: int) -> None:
        """A session comes behind all others for a while."""
        self._yielding = {one: end for one, end in self._yielding.items() if end > now}
        self._yielding[sid] = until

    def asked(self, now: int, sid: str, frames: int) -> None:
        """A session wants so many frames more."""
        self._settle(now)
        self._waiting[sid] = self._waiting.get(sid, 0) + frames

    def made(self, now: int, sid: str, frames: int) -> None:
        """So many of them are there."""
        self._settle(now)
        self._frames += frames
        if self._busy > WINDOW_US:
            self._frames *= WINDOW_US / self._busy
            self._busy = WINDOW_US
        self._take(sid, frames)

    def dropped(self, now: int, sid: str, frames: int) -> None:
        """So many of them are not wanted any more."""
        self._settle(now)
        self._take(sid, frames)

    def _take(self, sid: str, frames: int) -> None:
        left = self._waiting.get(sid, 0) - frames
        if left > 0:
            self._waiting[sid] = left
        else:
            self._waiting.pop(sid, None)

    def _settle(self, now: int) -> None:
        if self._waiting:
            self._busy += now - self._at
        self._at = now


class Part(NamedTuple):
    """A stretch of speech on its way: its length, and how many of its frames each of the two stages still owes."""

    dur_us: int
    lipsync: int
    encode: int


def wait_needed(parts: Iterable[Part], lipsync_us: float, encode_us: float) -> int:
    """How long the first of ``parts`` has to wait so that none of those behind it comes late.

    Args:
        parts: in the order in which they are shown, without gaps.
        lipsync_us: per frame.
        encode_us: per frame; a part is encoded once all its frames are drawn.
    """
    wait = place = drawn = encoded = 0.0
    for part in parts:
        drawn += part.lipsync * lipsync_us
        encoded = max(encoded, drawn if part.lipsync else 0.0) + part.encode * encode_us
        wait = max(wait, encoded - place)
        place += part.dur_us
    return int(wait)
