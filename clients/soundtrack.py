"""The sound of a rendering, read from its file piece by piece: once for the daemon, once for the video file."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from clients.client import SAMPLE_RATE
from clients.errors import MediaError
from clients.signals import each_unbroken
from clients.target import readable

BITS_PER_CHANNEL = 128_000
CHANNELS_MAX = 2
"""More channels are mixed down to two."""
AAC_FRAME = 1024


class SoundError(MediaError):
    """A file has no sound that can be read."""


class Soundtrack:
    """An audio file as 48 kHz samples, however it is stored; never more than a piece of it in memory.

    Args:
        path: anything that FFmpeg reads and that has sound.

    Raises:
        SoundError: it has none, or cannot be read; also raised while it is read.
        TargetError: it is no regular file.
    """

    def __init__(self, path: Path) -> None:
        readable(path)
        self.path = path
        self.seconds = Fraction(0)
        """Its length, exactly; known when ``pieces`` is at its end."""
        with self._open() as container:
            duration = container.duration
            self._layout = "mono" if _channels(container) == 1 else "stereo"
            if next(container.decode(audio=0), None) is None:
                raise SoundError(f"{path} has no sound in it")
        self.seconds_about = None if duration is None else duration / av.time_base
        """What the file says about its length."""

    def pieces(self, seconds: float) -> Iterator[bytes]:
        """All of it as s16le mono, in pieces of this length; the last one is shorter and may not be empty.

        Raises:
            SoundError: there is not one sample.
        """
        size = int(SAMPLE_RATE * seconds) * 2
        waiting = bytearray()
        missing = 0
        for frame in each_unbroken(self._resampled("s16", "mono", 0)):
            waiting += np.ascontiguousarray(frame.to_ndarray()).tobytes()
            missing -= frame.samples
            while len(waiting) > size:
                yield bytes(waiting[:size])
                del waiting[:size]
        if not waiting:
            raise SoundError(f"{self.path} has no sound in it")
        missing += math.ceil(self.seconds * SAMPLE_RATE)
        yield bytes(waiting) + bytes(2 * max(0, missing))  # a resampler may leave out the last one

    def mux(self, output: Any) -> Iterator[Any]:
        """Add a stream to ``output``, then yield its AAC packets: one continuous encode that begins at time 0."""
        stream = output.add_stream("aac", rate=SAMPLE_RATE, layout=self._layout)
        stream.bit_rate = BITS_PER_CHANNEL * stream.layout.nb_channels
        at = 0
        for frame in self._resampled("fltp", self._layout, AAC_FRAME):
            frame.pts, frame.time_base = at, Fraction(1, SAMPLE_RATE)
            at += frame.samples
            yield from stream.encode(frame)
        yield from stream.encode(None)

    def _resampled(self, sample_format: str, layout: str, frame_size: int) -> Iterator[Any]:
        with self._open() as container:
            resampler: Any = av.AudioResampler(sample_format, layout, SAMPLE_RATE, frame_size or None)
            self.seconds = Fraction(0)
            for frame in itertools.chain(container.decode(audio=0), [None]):
                self.seconds += Fraction(frame.samples, frame.sample_rate) if frame else 0
                yield from resampler.resample(frame)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.audio:
                    raise SoundError(f"{self.path} has no sound in it")
                yield container
        except (FileNotFoundError, PermissionError):
            raise
        except av.FFmpegError as error:
            raise SoundError(f"{self.path} has no sound that can be read: {_said(error)}") from error


def _said(error: av.FFmpegError) -> str:
    """The fact, in plain words where FFmpeg speaks of its input."""
    return "it is damaged, or no audio file" if isinstance(error, av.InvalidDataError) else str(error.strerror)


def _channels(container: Any) -> int:
    return min(CHANNELS_MAX, int(container.streams.audio[0].channels))
