"""The audio of one turn on its own time axis, sample 0 = start of the turn. Pure; s16 mono 48 kHz as bytes."""

from __future__ import annotations

import array
from bisect import bisect_left

from broker.messages import Word

SAMPLE_BYTES = 2
FADE_SAMPLES = 480
"""10 ms: how the old audio ends at a cut."""


def to_us(samples: int) -> int:
    """48 kHz samples to microseconds, rounded."""
    return round(samples * 1_000_000 / 48_000)


def to_samples(us: int) -> int:
    """Microseconds to 48 kHz samples, rounded; the inverse of ``to_us``."""
    return round(us * 48_000 / 1_000_000)


def faded(pcm: bytes) -> bytes:
    """``pcm`` with its last 10 ms faded to silence, as at a cut."""
    samples = array.array("h", pcm)
    count = min(FADE_SAMPLES, len(samples))
    first = len(samples) - count
    for k in range(count):
        samples[first + k] = samples[first + k] * (count - 1 - k) // count
    return samples.tobytes()


class SpeechTrack:
    """PCM with words and phonemes; old parts are dropped when no window needs them any more."""

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._base = 0
        self.end = 0
        """Samples known so far."""
        self.ended = False
        """No more will come."""
        self.peak = 0.0
        self._words: list[Word] = []
        self._phonemes: list[Word] = []

    def append(self, pcm: bytes | memoryview, peak: float = 0.0) -> None:
        """Add samples at the end."""
        self._pcm += pcm
        self.end += len(pcm) // SAMPLE_BYTES
        self.peak = max(self.peak, peak)

    def annotate(self, offset_us: int, words: list[Word], phonemes: list[Word]) -> None:
        """Add words and phonemes whose times count from ``offset_us`` of the turn."""
        self._words += [Word(w.text, w.t0_us + offset_us, w.t1_us + offset_us) for w in words]
        self._phonemes += [Word(p.text, p.t0_us + offset_us, p.t1_us + offset_us) for p in phonemes]

    def window(self, first: int, last: int) -> bytes:
        """Samples [first, last); zeros where nothing is known."""
        head = max(0, min(self._base, last) - first) if first < self._base else 0
        lo = max(first, self._base)
        hi = min(last, self.end)
        body = b""
        if hi > lo:
            with memoryview(self._pcm) as pcm:  # one copy, not two: a lip-sync item has 200 kB
                body = bytes(pcm[(lo - self._base) * SAMPLE_BYTES : (hi - self._base) * SAMPLE_BYTES])
        tail = (last - first) - head - len(body) // SAMPLE_BYTES
        if not head and not tail:
            return body
        return bytes(head * SAMPLE_BYTES) + body + bytes(tail * SAMPLE_BYTES)

    def spans(self, first_us: int, last_us: int) -> tuple[list[Word], list[Word]]:
        """Words and phonemes that overlap [first_us, last_us), with times on the turn's axis."""
        return _overlap(self._words, first_us, last_us), _overlap(self._phonemes, first_us, last_us)

    def trim(self, before: int) -> None:
        """Forget samples before ``before``. Words stay: history needs them until the turn ends."""
        drop = min(before, self.end) - self._base
        if drop > 0:
            del self._pcm[: drop * SAMPLE_BYTES]
            self._base += drop


def _overlap(spans: list[Word], first_us: int, last_us: int) -> list[Word]:
    stop = bisect_left(spans, last_us, key=lambda s: s.t0_us)
    start = stop
    while start > 0 and spans[start - 1].t1_us > first_us:
        start -= 1
    return spans[start:stop]
