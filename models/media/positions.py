"""Where resampled audio stands: plain integers, without numpy, shared by the broker and the tts stage.

Output sample ``n`` (48 kHz) lies at input position ``n * sample_rate / 48000``. The filter looks at
``reach(sample_rate)`` input frames on either side of it. All positions are counted from the turn's first
frame; input before it and after the turn's end counts as silence.
"""

from __future__ import annotations

from configs.grid import SAMPLE_RATE

OUTPUT_RATE = SAMPLE_RATE
MIN_RATE = 8_000
MAX_RATE = 192_000
MAX_CHANNELS = 8
HALF_TAPS = 32
"""Input frames that the filter needs on either side when it does not lower the rate."""

SAMPLE_BYTES = {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}
"""Encodings of client audio and the bytes of one sample."""


def reach(sample_rate: int) -> int:
    """Input frames that the filter needs before and after a position; 0 at 48 kHz, which is copied."""
    if sample_rate == OUTPUT_RATE:
        return 0
    return -(-HALF_TAPS * max(sample_rate, OUTPUT_RATE) // OUTPUT_RATE)


HISTORY = reach(MAX_RATE)
"""Input frames before a position that are enough at every rate."""


def output_length(input_frames: int, sample_rate: int) -> int:
    """48 kHz samples of a whole turn of ``input_frames``: every output position before its end."""
    return -(-input_frames * OUTPUT_RATE // sample_rate)


def output_ready(input_frames_total: int, sample_rate: int, ended: bool) -> int:
    """48 kHz samples, from the turn's start, that these input frames determine for good.

    Without ``ended`` the last ``reach(sample_rate)`` frames (2 ms at 16 kHz, 4 ms at 8 kHz) wait for their
    future.
    """
    known = input_frames_total if ended else max(0, input_frames_total - reach(sample_rate))
    return output_length(known, sample_rate)


def input_needed(out_from: int, out_to: int, sample_rate: int) -> tuple[int, int]:
    """Input frames ``[first, end)`` that output samples ``[out_from, out_to)`` are made of.

    ``end`` may lie beyond the end of the turn: pass what there is.
    """
    if out_to <= out_from:
        first = out_from * sample_rate // OUTPUT_RATE
        return first, first
    if sample_rate == OUTPUT_RATE:
        return out_from, out_to
    half = reach(sample_rate)
    first = out_from * sample_rate // OUTPUT_RATE - (half - 1)
    last = (out_to - 1) * sample_rate // OUTPUT_RATE + half
    return max(0, first), last + 1
