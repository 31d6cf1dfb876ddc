"""Microphone audio of any rate to 16 kHz, as it arrives, with exact positions.

Output sample ``n`` lies at input position ``n * rate / 16000``. Windowed sinc with a Kaiser window (J. O. Smith,
"Digital Audio Resampling"), cut off below the lower of the two Nyquist frequencies. What the ears of a machine
need is less than what a listener needs: 16 zero crossings, about 60 dB.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from models.api import Pcm

RATE = 16_000
MIN_RATE = 4_000
MAX_RATE = 192_000
ZERO_CROSSINGS = 16
_BETA = 6.0
_CUTOFF = 0.92
"""Part of the lower Nyquist frequency."""
_MAX_PHASES = 2048
_BLOCK = 4096
"""Output samples computed at once, so that one long piece needs little memory."""


class Resampler:
    """One stream's state.

    Args:
        rate: of the input in Hz, 4000 to 192000.

    Raises:
        ValueError: a rate outside the limits.
    """

    def __init__(self, rate: int) -> None:
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"sample rate {rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz; resample first")
        self.rate = rate
        self.reach = 0 if rate == RATE else math.ceil(ZERO_CROSSINGS * max(1.0, rate / RATE) / _CUTOFF)
        """Input samples on either side that an output sample depends on."""
        self._held = np.zeros(self.reach, np.float64)
        self._first = -self.reach
        """Input position of ``_held[0]``."""
        self._next = 0

    def feed(self, pcm: Pcm) -> Pcm:
        """Take s16 mono samples at the stream's rate; returns the 16 kHz samples that are certain now."""
        if self.rate == RATE:
            return pcm
        self._held = np.concatenate([self._held, pcm])
        last = self._first + len(self._held) - 1 - self.reach
        count = (last * RATE) // self.rate + 1 - self._next if last >= 0 else 0
        return self._make(count)

    def flush(self, end: int) -> Pcm:
        """All samples before input position ``end``, with silence behind it; the stream may go on."""
        count = -(-end * RATE // self.rate) - self._next
        if self.rate == RATE or count <= 0:
            return np.zeros(0, np.int16)
        held = self._held
        self._held = np.concatenate([held, np.zeros(self.reach + 1)])
        made = self._make(count)
        dropped = len(held) + self.reach + 1 - len(self._held)
        self._held = held[dropped:]
        return made

    def _make(self, count: int) -> Pcm:
        if count <= 0:
            return np.zeros(0, np.int16)
        pieces = []
        for begin in range(self._next, self._next + count, _BLOCK):
            pieces.append(self._block(begin, min(_BLOCK, self._next + count - begin)))
        self._next += count
        keep = self._next * self.rate // RATE - self.reach
        if keep > self._first:
            self._held = self._held[keep - self._first :]
            self._first = keep
        made: Pcm = np.clip(np.rint(np.concatenate(pieces)), -32768, 32767).astype(np.int16)
        return made

    def _block(self, begin: int, count: int) -> NDArray[np.float64]:
        numbers = np.arange(begin, begin + count, dtype=np.int64)
        whole, part = np.divmod(numbers * self.rate, RATE)
        windows = np.lib.stride_tricks.sliding_window_view(self._held, 2 * self.reach + 1)
        chosen = windows[whole - self.reach - self._first]
        divisor = math.gcd(self.rate, RATE)
        if RATE // divisor <= _MAX_PHASES:
            coefficients = _table(self.rate)[part // divisor]
        else:
            coefficients = _coefficients(part / RATE, self.rate, self.reach)
        total: NDArray[np.float64] = np.einsum("ij,ij->i", chosen, coefficients)
        return total


@functools.lru_cache(maxsize=8)
def _table(rate: int) -> NDArray[np.float64]:
    """Coefficients of every phase, ``[phases, taps]``."""
    phases = RATE // math.gcd(rate, RATE)
    return _coefficients(np.arange(phases) / phases, rate, Resampler(rate).reach)


def _coefficients(part: NDArray[np.float64], rate: int, reach: int) -> NDArray[np.float64]:
    """Filter for positions ``part`` (0 to 1) after an input sample, ``[n, 2 * reach + 1]``."""
    band = _CUTOFF * min(1.0, RATE / rate)
    distance = np.arange(-reach, reach + 1)[None, :] - part[:, None]
    inside = np.clip(1.0 - (distance * band / ZERO_CROSSINGS) ** 2, 0.0, None)
    window = np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA) * (inside > 0)
    taps = np.sinc(distance * band) * window
    normed: NDArray[np.float64] = taps / taps.sum(axis=1, keepdims=True)
    return normed
