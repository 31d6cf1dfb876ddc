"""Audio to 48 kHz (speech that is shown) or 16 kHz (speech that is heard), mono s16, by absolute positions.

Polyphase windowed sinc (J. O. Smith, "Digital Audio Resampling"; window after J. F. Kaiser). Samples are
integers of 24 bits and coefficients multiples of 2**-22, so every product and every partial sum is an integer
below 2**53: exact in float64 in whatever order BLAS adds. That is why any cut of a turn gives the same
samples, bit for bit.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from models.api import Pcm
from models.media.positions import (
    HALF_TAPS,
    MAX_CHANNELS,
    MAX_RATE,
    MIN_RATE,
    OUTPUT_RATE,
    SAMPLE_BYTES,
    input_needed,
    output_length,
    output_ready,
    reach,
)

_BETA = 7.857
"""Kaiser's beta for 80 dB: 0.1102 * (80 - 8.7)."""
_TRANSITION = 80 / (2.285 * 2 * HALF_TAPS * math.pi)
"""Width of the transition band as a part of the lower Nyquist frequency: (A - 8 + margin) / (2.285 N pi)."""
_COEFFICIENT_BITS = 22
_BLOCK_PHASES = 1024
"""Up to so many phases a dense block matrix is used, beyond it windows are gathered one by one."""
_GATHER = 4096

Samples = NDArray[np.float64]


def decode(data: bytes | memoryview, channels: int, encoding: str) -> Samples:
    """Interleaved samples to mono: float64 ``[frames]`` holding integers of 24 bits (s16 times 256).

    A part of a frame at the end is left out; channels are averaged; floats beyond +-1 are clipped and NaN is
    silence.

    Raises:
        ValueError: an unknown encoding or a channel count outside 1 to 8.
    """
    if encoding not in SAMPLE_BYTES:
        known = ", ".join(SAMPLE_BYTES)
        raise ValueError(f"audio encoding {encoding!r} is not known; use one of {known}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"audio has {channels} channels; send 1 to {MAX_CHANNELS}")
    width = SAMPLE_BYTES[encoding] * channels
    view = memoryview(data)[: len(data) // width * width]
    samples: Samples
    if encoding == "u8":
        samples = (np.frombuffer(view, np.uint8).astype(np.float64) - 128.0) * 65536.0
    elif encoding == "s16le":
        samples = np.frombuffer(view, "<i2").astype(np.float64) * 256.0
    elif encoding == "s24le":
        raw = np.frombuffer(view, np.uint8).reshape(-1, 3).astype(np.int32)
        samples = (((raw[:, 2] << 24) | (raw[:, 1] << 16) | (raw[:, 0] << 8)) >> 8).astype(np.float64)
    elif encoding == "s32le":
        samples = (np.frombuffer(view, "<i4") >> 8).astype(np.float64)
    else:
        clean = np.nan_to_num(np.frombuffer(view, "<f4").astype(np.float64), nan=0.0)
        samples = np.rint(np.clip(clean, -1.0, 1.0) * 8388607.0)
    if channels == 1:
        return samples
    mono: Samples = np.rint(samples.reshape(-1, channels).sum(axis=1) / channels)
    return mono


def resample(
    samples: Samples, start: int, sample_rate: int, out_from: int, out_to: int, out_rate: int = OUTPUT_RATE
) -> Pcm:
    """Output samples ``[out_from, out_to)`` of the turn.

    Args:
        samples: mono from ``decode``, beginning with input frame ``start`` of the turn; frames that lie
            outside count as silence, so pass all of ``positions.input_needed`` that exists.
        start: input frame number of ``samples[0]``.
        sample_rate: of the input, 8000 to 192000 Hz.
        out_from: first output sample, counted from the turn's start.
        out_to: end of the output samples.
        out_rate: of the output, Hz.

    Returns:
        s16 mono at ``out_rate``, ``[out_to - out_from]``.

    Raises:
        ValueError: a rate outside the limits or an empty or negative range.
    """
    check_rate(sample_rate)
    if out_from < 0 or out_to < out_from:
        raise ValueError(f"output range {out_from} to {out_to} is not a range from the turn's start")
    if out_to == out_from:
        return np.zeros(0, np.int16)
    if sample_rate == out_rate:
        return _to_s16(_window(samples, start, out_from, out_to) / 256.0)
    if out_rate // math.gcd(sample_rate, out_rate) <= _BLOCK_PHASES:
        total = _by_blocks(samples, start, sample_rate, out_from, out_to, out_rate)
    else:
        total = _by_gathering(samples, start, sample_rate, out_from, out_to, out_rate)
    return _to_s16(total * 2.0 ** -(_COEFFICIENT_BITS + 8))


class Resampler:
    """One stream that is resampled as it arrives; whatever its pieces, the samples are those of the whole.

    Args:
        rate: of the input in Hz, 8000 to 192000.
        out_rate: of the output in Hz.

    Raises:
        ValueError: a rate outside the limits.
    """

    def __init__(self, rate: int, out_rate: int) -> None:
        check_rate(rate)
        self._rates = rate, out_rate
        self._held = np.zeros(0)
        """Input that output is still to be made of, as ``decode`` gives it."""
        self._first = 0
        """Input position of ``_held[0]``."""
        self._next = 0
        """Output samples made."""

    def feed(self, pcm: Pcm) -> Pcm:
        """Take s16 mono samples at the stream's rate; returns the output samples that are certain now."""
        rate, out_rate = self._rates
        self._held = np.concatenate([self._held, pcm * 256.0])
        return self._make(output_ready(self._first + len(self._held), rate, ended=False, out_rate=out_rate))

    def flush(self, end: int) -> Pcm:
        """All samples before input position ``end``, with silence behind it; the stream may go on."""
        rate, out_rate = self._rates
        return self._make(output_length(end, rate, out_rate))

    def _make(self, until: int) -> Pcm:
        if until <= self._next:
            return np.zeros(0, np.int16)
        rate, out_rate = self._rates
        made = resample(self._held, self._first, rate, self._next, until, out_rate)
        self._next = until
        needed, _ = input_needed(until, until + 1, rate, out_rate)
        drop = min(needed - self._first, len(self._held))
        self._held = self._held[drop:]
        self._first += drop
        return made


def check_rate(sample_rate: int) -> None:
    """Refuse what the filter is not made for.

    Raises:
        ValueError: a rate outside 8000 to 192000 Hz.
    """
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(f"sample rate {sample_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz; resample first")


def _to_s16(values: Samples) -> Pcm:
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def _window(samples: Samples, start: int, first: int, end: int) -> Samples:
    """Input frames ``[first, end)``, silence where ``samples`` has none."""
    out = np.zeros(end - first)
    low, high = max(first, start), min(end, start + len(samples))
    if high > low:
        out[low - first : high - first] = samples[low - start : high - start]
    return out


def _by_blocks(
    samples: Samples, start: int, sample_rate: int, out_from: int, out_to: int, out_rate: int
) -> Samples:
    """Matrix product over blocks of whole phase cycles: few phases, any length."""
    step_out, step_in, matrix = _block_matrix(sample_rate, out_rate)
    block0, block1 = out_from // step_out, -(-out_to // step_out)
    first = block0 * step_in - (reach(sample_rate, out_rate) - 1)
    blocks, width = block1 - block0, matrix.shape[0]
    x = _window(samples, start, first, first + (blocks - 1) * step_in + width)
    item = x.strides[0]
    windows = as_strided(x, (blocks, width), (step_in * item, item), writeable=False)
    flat: Samples = (windows @ matrix).reshape(-1)
    return flat[out_from - block0 * step_out : out_to - block0 * step_out]


def _by_gathering(
    samples: Samples, start: int, sample_rate: int, out_from: int, out_to: int, out_rate: int
) -> Samples:
    """One window per output sample: for rates that share no cycle with the output's."""
    half = reach(sample_rate, out_rate)
    table = _phases(sample_rate, out_rate)
    divisor = math.gcd(sample_rate, out_rate)
    first = out_from * sample_rate // out_rate - (half - 1)
    x = _window(samples, start, first, input_needed(out_from, out_to, sample_rate, out_rate)[1])
    windows = np.lib.stride_tricks.sliding_window_view(x, 2 * half)
    parts = []
    for low in range(out_from, out_to, _GATHER):
        at = np.arange(low, min(low + _GATHER, out_to), dtype=np.int64) * sample_rate
        rows = windows[at // out_rate - (half - 1) - first]
        parts.append(np.einsum("nt,nt->n", rows, table[at % out_rate // divisor]))
    return np.concatenate(parts)


@functools.lru_cache(maxsize=4)
def _phases(sample_rate: int, out_rate: int) -> Samples:
    """Coefficients ``[phases, 2 * reach]``, each row summing to exactly 2**22.

    Column ``k`` belongs to input frame ``floor(position) - (reach - 1) + k``.
    """
    half = reach(sample_rate, out_rate)
    divisor = math.gcd(sample_rate, out_rate)
    count = out_rate // divisor
    low = min(1.0, out_rate / sample_rate)  # the lower Nyquist frequency over that of the input
    cutoff = low * (1.0 - _TRANSITION / 2)
    fraction = np.arange(count)[:, None] / count
    distance = np.arange(-(half - 1), half + 1)[None, :] - fraction
    kaiser = np.i0(_BETA * np.sqrt(np.clip(1.0 - (distance / half) ** 2, 0.0, None)))
    taps = np.sinc(cutoff * distance) * kaiser
    scale = 2.0**_COEFFICIENT_BITS
    rows: Samples = np.rint(taps / taps.sum(axis=1, keepdims=True) * scale)
    # Rounding leaves a few units; the tap nearest the position takes them, so silence and DC are exact.
    rows[:, half - 1] += scale - rows.sum(axis=1)
    return rows


@functools.lru_cache(maxsize=8)
def _block_matrix(sample_rate: int, out_rate: int) -> tuple[int, int, Samples]:
    """``(outputs per block, inputs per block, matrix [window, outputs])``; blocks hold whole phase cycles."""
    half = reach(sample_rate, out_rate)
    table = _phases(sample_rate, out_rate)
    divisor = math.gcd(sample_rate, out_rate)
    cycles = max(1, 96 // len(table))
    step_out, step_in = len(table) * cycles, sample_rate // divisor * cycles
    offsets = np.arange(step_out) * sample_rate // out_rate
    matrix = np.zeros((int(offsets[-1]) + 2 * half, step_out))
    for column, offset in enumerate(offsets):
        phase = column * sample_rate % out_rate // divisor
        matrix[offset : offset + 2 * half, column] = table[phase]
    return step_out, step_in, matrix
