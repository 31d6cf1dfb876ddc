"""Speech let through up to its last whole word, so that another voice can go on exactly there: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from models.api import SAMPLE_RATE, Chunk, Pcm, Span
from models.text.speakable import speakable

WORDLESS_SAMPLES = SAMPLE_RATE * 3 // 2
"""Held at most while no word is known: an engine that times no words is let through as it is."""
_TOKEN = re.compile(r"\s*\S+")
_GAP = re.compile(r"[\s,;:，；：、.!?。！？…—–-]*")


class WordGate:
    """Takes one engine's chunks and gives those parts of them that end with a whole word.

    Args:
        text: what the engine was given.
        start: 48 kHz samples from the start of that text to the first sample that comes.
    """

    def __init__(self, text: str, start: int = 0) -> None:
        self._text = text
        self._pcm: list[Pcm] = []
        self._words: list[Span] = []
        self._phonemes: list[Span] = []
        self._held = 0
        self._timed = False
        self.end = start
        """Samples of the text's speech that were let through, and those skipped before."""
        self.at = 0
        """Characters of the text whose words were let through."""
        self.exact = True
        """Whether ``at`` can be told: False when audio without word times was let through."""

    def feed(self, chunk: Chunk) -> Chunk | None:
        """Take a chunk; returns what may be heard now."""
        self._pcm.append(chunk.pcm)
        self._held += len(chunk.pcm)
        self._words += chunk.words
        self._phonemes += chunk.phonemes
        self._timed = self._timed or bool(self._words)
        known = self.end + self._held
        whole = [word for word in self._words if to_samples(word.t1_us) <= known]
        if whole:
            return self._let(max(to_samples(word.t1_us) for word in whole))
        if not self._timed and self._held >= WORDLESS_SAMPLES:
            self.exact = False
            return self._let(known)
        return None

    def rest(self) -> Chunk | None:
        """The engine has ended well: all that is held."""
        return self._let(self.end + self._held) if self._held or self._words or self._phonemes else None

    @property
    def remaining(self) -> str:
        """The text that follows the last whole word let through; "" when nothing of it can be said."""
        rest = self._text[self.at :]
        gap = _GAP.match(rest)
        rest = rest[gap.end() :] if gap and self.at else rest
        return rest if speakable(rest) else ""

    def _let(self, until: int) -> Chunk:
        """Everything before sample ``until``."""
        pcm = np.concatenate(self._pcm) if self._pcm else np.zeros(0, np.int16)
        until = min(max(until, self.end), self.end + self._held)
        count = until - self.end
        everything = count == self._held
        words, self._words = _parted(self._words, until, all_of_them=everything)
        phonemes, self._phonemes = _parted(self._phonemes, until, all_of_them=everything)
        for word in words:
            self._said(word.text)
        self._pcm, self._held, self.end = [pcm[count:]], self._held - count, until
        return Chunk(pcm[:count], words, phonemes)

    def _said(self, word: str) -> None:
        """Find the word in the text; one that is not there as it was said ("3.50") takes the next one's place."""
        found = self._text.lower().find(word.lower(), self.at)
        token = _TOKEN.match(self._text, self.at)
        near = token is None or found <= token.end() + len(word)
        if found >= 0 and near:
            self.at = found + len(word)
        elif token is not None:
            self.at = token.end()


def to_samples(us: int) -> int:
    """Microseconds in samples of 48 kHz."""
    return us * SAMPLE_RATE // 1_000_000


def shifted(chunk: Chunk, by_us: int) -> Chunk:
    """The chunk with its times moved."""
    if not by_us:
        return chunk
    return Chunk(chunk.pcm, _moved(chunk.words, by_us), _moved(chunk.phonemes, by_us))


def _moved(spans: Sequence[Span], by_us: int) -> list[Span]:
    return [Span(text, t0 + by_us, t1 + by_us) for text, t0, t1 in spans]


def _parted(spans: list[Span], until: int, *, all_of_them: bool) -> tuple[list[Span], list[Span]]:
    """Those that begin before sample ``until``, and the others."""
    if all_of_them:
        return spans, []
    before = [span for span in spans if to_samples(span.t0_us) < until]
    return before, [span for span in spans if to_samples(span.t0_us) >= until]
