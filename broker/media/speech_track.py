"""The audio of one turn on its own time axis, sample 0 = start of the turn. Pure; s16 mono 48 kHz as bytes."""

from __future__ import annotations

import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

import numpy as np

from configs.grid import QUANTUM_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE
from models.api import Span

Timed = tuple[str, int, int]
"""Text, begin and end in microseconds."""

FADE_SAMPLES = 480
"""10 ms: how the old audio ends at a cut."""


def to_us(samples: int) -> int:
    """48 kHz samples to microseconds, rounded."""
    return round(samples * 1_000_000 / SAMPLE_RATE)


def to_samples(us: int) -> int:
    """Microseconds to 48 kHz samples, rounded; the inverse of ``to_us``."""
    return round(us * SAMPLE_RATE / 1_000_000)


def faded(pcm: bytes) -> bytes:
    """``pcm`` with its last 10 ms faded to silence, as at a cut."""
    samples = array.array("h", pcm)
    count = min(FADE_SAMPLES, len(samples))
    first = len(samples) - count
    for k in range(count):
        samples[first + k] = samples[first + k] * (count - 1 - k) // count
    return samples.tobytes()


class SpeechTrack:
    """PCM with words and phonemes; old parts are dropped when no window needs them any more.

    The PCM is kept as it came, piece by piece: appending to one long buffer and cutting its head copied all of it
    for every piece, which was a tenth of the broker's time.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._base = 0
        """First sample of the first piece."""
        self.end = 0
        """Samples known so far."""
        self.ended = False
        """No more will come."""
        self._peaks = deque([0.0])
        """Loudest sample before each start of a quantum, from the one that the oldest sample kept is in."""
        self._peak = 0
        """Loudest sample so far."""
        self._words: list[Span] = []
        self._phonemes: list[Span] = []

    def append(self, pcm: bytes) -> None:
        """Add samples at the end."""
        samples = np.frombuffer(pcm, np.int16)
        self._pieces.append(pcm)
        while len(samples):
            part = samples[: QUANTUM_SAMPLES - self.end % QUANTUM_SAMPLES]
            samples = samples[len(part) :]
            self.end += len(part)
            self._peak = max(self._peak, int(part.max()), -int(part.min()))
            if self.end % QUANTUM_SAMPLES == 0:
                self._peaks.append(self._peak / 32768)

    @property
    def _oldest(self) -> int:
        """Number of the quantum that the oldest sample kept is in."""
        return self._base // QUANTUM_SAMPLES

    def peak_before(self, start: int) -> float:
        """The loudest sample, 0 to 1, before ``start``, the start of a quantum that is still kept: the same
        whenever it is asked for, and however the audio came.
        """
        return self._peaks[start // QUANTUM_SAMPLES - self._oldest]

    def annotate(self, offset_us: int, words: Iterable[Timed], phonemes: Iterable[Timed]) -> None:
        """Add words and phonemes whose times count from ``offset_us`` of the turn."""
        self._words += [Span(text, t0 + offset_us, t1 + offset_us) for text, t0, t1 in words]
        self._phonemes += [Span(text, t0 + offset_us, t1 + offset_us) for text, t0, t1 in phonemes]

    def window(self, first: int, last: int) -> bytes:
        """Samples [first, last); zeros where nothing is known."""
        parts: list[bytes | memoryview] = []
        at, start = first, self._base
        for piece in self._pieces:
            stop = start + len(piece) // SAMPLE_BYTES
            lo, hi = max(at, start), min(last, stop)
            if lo < hi:
                if lo > at:
                    parts.append(bytes((lo - at) * SAMPLE_BYTES))
                parts.append(memoryview(piece)[(lo - start) * SAMPLE_BYTES : (hi - start) * SAMPLE_BYTES])
                at = hi
            if stop >= last:
                break
            start = stop
        if at < last:
            parts.append(bytes((last - at) * SAMPLE_BYTES))
        return b"".join(parts)

    def spans(self, first_us: int, last_us: int) -> tuple[list[Span], list[Span]]:
        """Words and phonemes that overlap [first_us, last_us), with times on the turn's axis."""
        return _overlap(self._words, first_us, last_us), _overlap(self._phonemes, first_us, last_us)

    def trim(self, before: int) -> None:
        """Forget pieces that end before ``before``. Words stay: history needs them until the turn ends."""
        oldest = self._oldest
        while self._pieces:
            stop = self._base + len(self._pieces[0]) // SAMPLE_BYTES
            if stop > before:
                break
            self._pieces.popleft()
            self._base = stop
        for _ in range(self._oldest - oldest):
            self._peaks.popleft()

    def release(self) -> None:
        """Forget all samples, words and phonemes: the turn is over."""
        self.trim(self.end)
        self._words.clear()
        self._phonemes.clear()


def _overlap(spans: list[Span], first_us: int, last_us: int) -> list[Span]:
    stop = bisect_left(spans, last_us, key=lambda s: s.t0_us)
    start = stop
    while start > 0 and spans[start - 1].t1_us > first_us:
        start -= 1
    return spans[start:stop]
