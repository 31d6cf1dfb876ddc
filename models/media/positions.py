"""Where resampled audio stands: plain integers, without numpy, shared by the broker and the tts stage.

Output sample ``n`` lies at input position ``n * sample_rate / out_rate``. ``out_rate`` is 48 kHz for speech that
is shown, 16 kHz for speech that is heard. The filter looks at ``reach(sample_rate, out_rate)`` input frames on
either side. All positions are counted from the first frame of the turn or stream; input before it and after its
end counts as silence.
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


def reach(sample_rate: int, out_rate: int = OUTPUT_RATE) -> int:
    """Input frames that the filter needs before and after a position; 0 where the rates are equal: a copy."""
    if sample_rate == out_rate:
        return 0
    return -(-HALF_TAPS * max(sample_rate, out_rate) // out_rate)


HISTORY = reach(MAX_RATE)
"""Input frames before a position that are enough at every rate."""


def output_length(input_frames: int, sample_rate: int, out_rate: int = OUTPUT_RATE) -> int:
    """Output samples of a whole turn of ``input_frames``: every output position before its end."""
    return -(-input_frames * out_rate // sample_rate)


def output_ready(input_frames_total: int, sample_rate: int, ended: bool, out_rate: int = OUTPUT_RATE) -> int:
    """Output samples, from the turn's start, that these input frames determine for good.

    Without ``ended`` the last ``reach(sample_rate, out_rate)`` frames (2 ms at 16 kHz, 4 ms at 8 kHz) wait for
    their future.
    """
    known = input_frames_total if ended else max(0, input_frames_total - reach(sample_rate, out_rate))
    return output_length(known, sample_rate, out_rate)


def input_needed(
    out_from: int, out_to: int, sample_rate: int, out_rate: int = OUTPUT_RATE
) -> tuple[int, int]:
    """Input frames ``[first, end)`` that output samples ``[out_from, out_to)`` are made of.

    ``end`` may lie beyond the end of the turn: pass what there is.
    """
    if out_to <= out_from:
        first = out_from * sample_rate // out_rate
        return first, first
    if sample_rate == out_rate:
        return out_from, out_to
    half = reach(sample_rate, out_rate)
    first = out_from * sample_rate // out_rate - (half - 1)
    last = (out_to - 1) * sample_rate // out_rate + half
    return max(0, first), last + 1
