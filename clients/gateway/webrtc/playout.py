"""When each picture and each 20 ms of sound of one viewer is due. Pure: ``now`` is handed in, all times are us.

A WebRTC viewer has no buffer that could be taken back, so media is sent when it is to be seen.
``due = pts + offset``: a steady offset keeps pace, and it moves on where media came too late or the clock of the
session stood still. A cut is silence at once; what was to be seen before ``flush_from`` still is, so that the
picture does not jump.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
SOUND_SAMPLES = 960
SOUND_US = 20_000
DELAY_US = 40_000
"""So much behind the session's clock: what a busy machine takes to hand a segment over."""
Sound = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Frame:
    """One access unit."""

    pts: int
    data: bytes
    """Annex B; parameter sets before a key frame."""
    turn: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A segment: its pictures and its samples, both for ``dur`` from ``pts`` on."""

    gen: int
    pts: int
    dur: int
    frames: list[Frame]
    sound: Sound
    """Mono 48 kHz, [dur * 48 / 1000]."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    pts: int
    sound: Sound

    @property
    def end(self) -> int:
        return self.pts + len(self.sound) * 1_000_000 // SAMPLE_RATE


class Playout:
    """What one viewer has yet to be sent.

    Args:
        clock: of the session at ``now``.
        now: monotonic.
        most: more media than this is never held: beyond it the newest segment is gone on with.
    """

    def __init__(self, clock: int, now: int, most: int) -> None:
        self._offset = now - clock + DELAY_US
        self._from = clock
        self._most = most
        self._gen = -1
        self._end = 0
        self._frames: deque[Frame] = deque()
        self._sound: deque[_Chunk] = deque()
        self._fading: list[_Chunk] = []
        self.turn = 0
        """Of the picture that was sent last; 0: idle."""
        self.skipped = 0
        """Segments that were never shown, because more than ``most`` waited."""

    @property
    def next_due(self) -> int | None:
        """When the next picture is to be sent; None while there is none."""
        return self._frames[0].pts + self._offset if self._frames else None

    def wants(self, gen: int, pts: int) -> bool:
        """False for a segment of before the viewer came, or of a generation that is over."""
        return gen >= self._gen and pts >= self._from

    def add(self, segment: Unpacked, now: int) -> None:
        """The next segment, one that is wanted."""
        if segment.gen > self._gen:
            self.cut(segment.pts)
            self._gen = segment.gen
        self._from = 0
        if self._frames and segment.pts + segment.dur - self._frames[0].pts > self._most:
            self._frames.clear()
            self._sound.clear()
            self.skipped += 1
        if not self._frames and not now <= segment.pts + self._offset <= now + self._most:
            self._offset = now + DELAY_US - segment.pts
        self._end = segment.pts + segment.dur
        self._frames += segment.frames
        self._sound.append(_Chunk(segment.pts, segment.sound))

    def cut(self, flush_from: int) -> None:
        """Nothing more is heard of what is held, and nothing seen of it from ``flush_from`` on.

        A cut that makes nothing void is none: of a turn that waits, or told a second time.
        """
        if flush_from >= self._end:
            return
        self._end = flush_from
        while self._frames and self._frames[-1].pts >= flush_from:
            self._frames.pop()
        self._fading += self._sound
        self._sound.clear()

    def take(self, now: int) -> tuple[int, Frame] | None:
        """The next picture and when it was due; None while none is."""
        due = self.next_due
        if due is None or due > now:
            return None
        frame = self._frames.popleft()
        self.turn = frame.turn
        return due, frame

    def sound(self, at: int) -> Sound:
        """The 960 samples that are due at ``at``; silence where there are none."""
        pts = at - self._offset
        while self._sound and self._sound[0].end <= pts:
            self._sound.popleft()
        heard = _read(self._sound, pts)
        if self._fading:  # a cut: out within these 20 ms, which makes no click
            ramp = np.linspace(1, 0, SOUND_SAMPLES)
            heard = (heard + _read(self._fading, pts) * ramp).clip(-32_768, 32_767).astype(np.int16)
            self._fading = []
        return heard


def _read(chunks: deque[_Chunk] | list[_Chunk], pts: int) -> Sound:
    out = np.zeros(SOUND_SAMPLES, np.int16)
    for chunk in chunks:
        first = (pts - chunk.pts) * SAMPLE_RATE // 1_000_000
        begin, end = max(0, -first), min(SOUND_SAMPLES, len(chunk.sound) - first)
        if begin < end:
            out[begin:end] = chunk.sound[first + begin : first + end]
    return out
