"""Sound as a microphone gives it, 100 ms at a time: a recording played in real time, or standard input."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

from clients.cli.common import CommandError
from clients.client import SAMPLE_RATE
from clients.target import readable

PIECE_MS = 100
SAMPLE_BYTES = 2
LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000


def piece_bytes(sample_rate: int) -> int:
    """Bytes of 100 ms."""
    return sample_rate * PIECE_MS // 1000 * SAMPLE_BYTES


class Recording:
    """A file's sound as mono 16-bit samples.

    Args:
        path: a WAV file, or any other file with sound that FFmpeg reads.

    Raises:
        CommandError: there is no sound in it.
        TargetError: it is no regular file.
    """

    def __init__(self, path: Path) -> None:
        readable(path)
        plain = _plain_wav(path)
        if plain is None:
            self.sample_rate, pieces = _decoded(path)
        else:
            self.sample_rate, pieces = plain
        first = next(pieces, b"")
        if not first:
            raise CommandError(f"{path} has no sound in it: name another file")
        self._pieces = itertools.chain([first], pieces)

    def pieces(self) -> Iterator[bytes]:
        """All of it, once, in whole pieces of 100 ms."""
        size = piece_bytes(self.sample_rate)
        return (piece.ljust(size, b"\0") for piece in self._pieces)


def _plain_wav(path: Path) -> tuple[int, Iterator[bytes]] | None:
    """Sample rate and pieces of a WAV file that the daemon takes as it is."""
    with contextlib.suppress(wave.Error, EOFError), wave.open(str(path), "rb") as file:
        rate = file.getframerate()
        fits = file.getsampwidth() == SAMPLE_BYTES and file.getnchannels() == 1
        if fits and LOWEST_RATE <= rate <= HIGHEST_RATE:
            pcm, size = file.readframes(file.getnframes()), piece_bytes(rate)
            return rate, (pcm[start : start + size] for start in range(0, len(pcm), size))
    return None


def _decoded(path: Path) -> tuple[int, Iterator[bytes]]:
    from clients.soundtrack import SoundError, Soundtrack

    def pieces() -> Iterator[bytes]:
        try:
            yield from Soundtrack(path).pieces(PIECE_MS / 1000)
        except SoundError as error:
            raise CommandError(f"{error}: name another file") from error

    return SAMPLE_RATE, pieces()


def standard_input(sample_rate: int) -> Iterator[bytes]:
    """Raw s16le mono from standard input, at most 100 ms at a time, or nothing when none came; ends with it."""
    descriptor, size = sys.stdin.fileno(), piece_bytes(sample_rate)
    waiting = bytearray()
    while True:
        if select.select([descriptor], [], [], PIECE_MS / 1000)[0]:
            read = os.read(descriptor, size - len(waiting))
            if not read:
                break
            waiting += read
            if len(waiting) < size:
                continue
        whole = len(waiting) // SAMPLE_BYTES * SAMPLE_BYTES
        yield bytes(waiting[:whole])
        del waiting[:whole]
    yield bytes(waiting[: len(waiting) // SAMPLE_BYTES * SAMPLE_BYTES])


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
