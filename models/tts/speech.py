"""Spoken pieces with their times, and how they leave a synthesizer that makes one piece after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from configs.grid import QUANTUM_SAMPLES
from models.api import SAMPLE_RATE, Cancel, Chunk, Pcm, Span
from models.media.positions import output_length
from models.media.resample import Samples, resample

SILENCE = "_"
"""The phoneme symbol of a pause; all others are espeak-ng's own mnemonics, stress marks included."""
FIRST_CHUNK = QUANTUM_SAMPLES
NEXT_CHUNK = SAMPLE_RATE

_PAUSES_MS = ((".!?。！？…", 240), (",;:，；：、—", 120))
_OTHER_PAUSE_MS = 180
_CLOSERS = "\"'”’)]）】」』»*_ "


class Speech(NamedTuple):
    """One spoken piece; its times count from its own start."""

    samples: Samples
    """As ``models.media.resample.decode`` gives them, at the engine's own rate."""
    rate: int
    length: int
    """Samples at 48 kHz with the pause after it; what lies beyond ``samples`` is silence."""
    words: Sequence[Span]
    phonemes: Sequence[Span]

    def chunk(self, at: int, until: int, start: int) -> Chunk:
        """Samples ``[at, until)`` of the text, whose piece begins at ``start``; see ``models.api.Chunk``."""
        low, high = at - start, until - start
        pcm: Pcm = np.zeros(high - low, np.int16)
        voiced = min(high, output_length(len(self.samples), self.rate))
        if voiced > low:
            pcm[: voiced - low] = resample(self.samples, 0, self.rate, low, voiced)
        return Chunk(pcm, within(self.words, low, high, start), within(self.phonemes, low, high, start))


def emit(pieces: Iterable[Speech | None], from_us: int, cancel: Cancel) -> Iterator[Chunk]:
    """The chunks of a text from its pieces, without the first ``from_us`` microseconds."""
    skip = round(from_us * SAMPLE_RATE / 1_000_000)
    start = 0  # of the piece, 48 kHz samples from the start of the text
    first = True
    for speech in pieces:
        if cancel.is_set():
            return
        if speech is None:
            continue
        end = start + speech.length
        at = max(start, skip)
        while at < end:
            if cancel.is_set():
                return
            until = min(end, at + (FIRST_CHUNK if first else NEXT_CHUNK))
            yield speech.chunk(at, until, start)
            at, first = until, False
        start = end


def within(spans: Sequence[Span], low: int, high: int, start: int) -> list[Span]:
    """Spans that begin in samples ``[low, high)`` of their piece, moved to the text's time."""
    shift = start * 1000 // 48
    return [
        Span(text, t0 + shift, t1 + shift) for text, t0, t1 in spans if low <= t0 * SAMPLE_RATE // 1_000_000 < high
    ]


def pause_ms(text: str) -> int:
    """How long a speaker rests after this text."""
    end = text.rstrip().rstrip(_CLOSERS)[-1:]
    return next((length for marks, length in _PAUSES_MS if end and end in marks), _OTHER_PAUSE_MS)


def printable(text: str) -> str:
    """The text with a space for every control character."""
    return "".join(char if char >= " " and char != "\x7f" else " " for char in text)
