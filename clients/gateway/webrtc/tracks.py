"""The two tracks of a viewer: each gives its next piece when that is due, for aiortc to send."""

from __future__ import annotations

import asyncio
import contextlib
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from clients.gateway.webrtc.playout import SAMPLE_RATE, SOUND_SAMPLES, SOUND_US, Playout

VIDEO_CLOCK = 90_000
LATE_US = 500_000
"""Sound that is later than this (the machine stood still) is left out, not sent in a burst."""


def now_us() -> int:
    """The clock of all of this."""
    return time.monotonic_ns() // 1000


class Clock:
    """Both tracks count from the same moment, so that they are heard and seen together."""

    def __init__(self) -> None:
        self.began = now_us()
        self.playout: Playout | None = None
        """None until the session is joined."""
        self.changed = asyncio.Event()
        """There is something new in it, or it is over."""
        self.over = False

    def end(self) -> None:
        """Nothing more is sent."""
        self.over = True
        self.changed.set()


class Picture(MediaStreamTrack):
    """H.264 as it was published: ``recv`` gives ``av.Packet``, which aiortc splits and never encodes."""

    kind = "video"

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    async def recv(self) -> Any:
        """The next access unit (``av.Packet``), when it is due."""
        clock = self._clock
        while not clock.over:
            clock.changed.clear()
            now = now_us()
            taken = clock.playout.take(now) if clock.playout else None
            if taken is not None:
                due, frame = taken
                packet = av.Packet(frame.data)
                packet.pts = (due - clock.began) * VIDEO_CLOCK // 1_000_000
                packet.time_base = Fraction(1, VIDEO_CLOCK)
                return packet
            due_next = clock.playout.next_due if clock.playout else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due_next is None else (due_next - now) / 1e6):
                    await clock.changed.wait()
        raise MediaStreamError


class Voice(MediaStreamTrack):
    """20 ms of samples every 20 ms, silence where nothing is said; aiortc makes Opus of them."""

    kind = "audio"

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._count = 0

    async def recv(self) -> Any:
        """The next 20 ms (``av.AudioFrame``), when they are due."""
        clock = self._clock
        late = now_us() - (clock.began + self._count * SOUND_US)
        if late > LATE_US:
            self._count += late // SOUND_US
        at = clock.began + self._count * SOUND_US
        await asyncio.sleep(max(0, at - now_us()) / 1e6)
        if clock.over:
            raise MediaStreamError
        samples = clock.playout.sound(at) if clock.playout else np.zeros(SOUND_SAMPLES, np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._count * SOUND_SAMPLES
        frame.time_base = Fraction(1, SAMPLE_RATE)
        self._count += 1
        return frame
