"""A recording played in real time, as if it came from a microphone."""

from __future__ import annotations

import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

from clients.cli.common import CommandError

PIECE_MS = 100
SAMPLE_BYTES = 2


class Recording:
    """Mono 16-bit samples: a WAV file, or raw ones from standard input."""

    def __init__(self, pcm: bytes, sample_rate: int) -> None:
        self.pcm = pcm
        self.sample_rate = sample_rate

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a WAV file.

        Raises:
            CommandError: it is not 16-bit mono PCM.
        """
        try:
            with wave.open(str(path), "rb") as file:
                if file.getsampwidth() != SAMPLE_BYTES or file.getnchannels() != 1:
                    raise CommandError(
                        f"{path} has {file.getnchannels()} channels of {8 * file.getsampwidth()} bits; "
                        "a microphone gives 16-bit mono: convert it, e.g. with ffmpeg -ac 1 -sample_fmt s16"
                    )
                return cls(file.readframes(file.getnframes()), file.getframerate())
        except wave.Error as error:
            raise CommandError(f"{path} is not a WAV file: {error}") from error

    @property
    def piece_bytes(self) -> int:
        """Bytes of 100 ms."""
        return self.sample_rate * PIECE_MS // 1000 * SAMPLE_BYTES

    def pieces(self) -> Iterator[bytes]:
        """The recording in pieces of 100 ms, then silence for as long as one listens."""
        for start in range(0, len(self.pcm), self.piece_bytes):
            yield self.pcm[start : start + self.piece_bytes].ljust(self.piece_bytes, b"\0")
        while True:
            yield bytes(self.piece_bytes)


def standard_input(sample_rate: int) -> Iterator[bytes]:
    """Raw s16le mono from standard input, 100 ms at a time; ends with it."""
    size = sample_rate * PIECE_MS // 1000 * SAMPLE_BYTES
    while piece := sys.stdin.buffer.read(size):
        yield piece[: len(piece) // SAMPLE_BYTES * SAMPLE_BYTES]


class Pace:
    """Deadlines on the monotonic clock, one per piece: a late one does not delay those after it."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._count = 0

    def due_s(self) -> float:
        """Seconds until the next piece is due; 0 when it is."""
        return max(0.0, self._start + self._count * PIECE_MS / 1000 - time.monotonic())

    def sent(self) -> None:
        """The piece has been sent."""
        self._count += 1
