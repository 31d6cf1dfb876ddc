"""How much of the generated mouth is shown: none in pauses and outside the turn, all in speech, cross-faded.

A frame's weight depends on PCM from 1.5 s before it to 80 ms after its end and on the turn's ends where they
lie in that stretch, so no cut of the turn changes it. Pure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.api import FRAME_SAMPLES, FRAME_US, FUTURE_US, PAST_US, SAMPLE_RATE, SpeechWindow

BLOCK = 480
"""Samples per loudness value: 10 ms."""
BACK = 150
"""Blocks that a frame looks back."""
_FRAME = FRAME_SAMPLES // BLOCK
_AHEAD = FUTURE_US * SAMPLE_RATE // 1_000_000 // BLOCK
_PAST = PAST_US * SAMPLE_RATE // 1_000_000 // BLOCK
_SPAN = BACK + _FRAME + _AHEAD

FLOOR = 0.0012
"""-58 dB of full scale; below it nothing is speech."""
QUIETEST_REFERENCE = 0.012
OPEN, SHUT = 0.05, 0.025
"""Shares of the loudest 10 ms of the last 1.5 s that open the gate and let it shut: hysteresis of 6 dB."""
HOLD = 20
"""Blocks below ``SHUT`` before the gate shuts: a pause of up to 200 ms is part of the word."""
_KERNEL = np.full(16, 1 / 16)
"""Straight cross-fade of 160 ms (4 frames) around the middle of the frame."""
FADE_IN_US = 4 * FRAME_US
FADE_OUT_US = FRAME_US + FUTURE_US
"""The end of the turn is seen this long before it comes: a cross-fade of 3 frames."""


def weights(window: SpeechWindow) -> NDArray[np.float64]:
    """Share of the generated mouth, 0 to 1, of the frames ``start`` .. of the window."""
    rms = _rms(window.pcm)
    found = np.empty(window.frames - window.start)
    for k in range(len(found)):
        frame = window.start + k
        at = _PAST + frame * _FRAME - BACK
        begin = frame * FRAME_US
        until = None if window.speech_to_us is None else window.speech_to_us - begin
        ends = min(_start_ramp(begin - window.speech_from_us), _end_ramp(until))
        found[k] = min(_activity(rms[at : at + _SPAN]), ends) if ends > 0 else 0.0
    return found


def _rms(pcm: NDArray[np.int16]) -> NDArray[np.float64]:
    blocks = pcm[: len(pcm) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.int64)
    return np.asarray(np.sqrt((blocks * blocks).sum(axis=1) / BLOCK) / 32768.0)


def _activity(rms: NDArray[np.float64]) -> float:
    reference = max(float(rms.max()), QUIETEST_REFERENCE)
    gate = schmitt(rms > max(OPEN * reference, FLOOR), rms < max(SHUT * reference, FLOOR), HOLD)
    middle = BACK + _FRAME // 2
    half = len(_KERNEL) // 2
    value = float((gate[middle - half : middle + half] * _KERNEL).sum())
    return 0.0 if value < 1e-3 else min(value, 1.0)


def schmitt(loud: NDArray[np.bool_], quiet: NDArray[np.bool_], hold: int) -> NDArray[np.bool_]:
    """Open from a loud block on, until more than ``hold`` quiet blocks follow one another; begins shut."""
    index = np.arange(len(loud))
    # Length of the quiet run that ends at each block, then the last block at which the gate shut.
    run = index - np.maximum.accumulate(np.where(quiet, -1, index))
    shut = np.maximum.accumulate(np.where(quiet & (run > hold), index, -1))
    opened = np.maximum.accumulate(np.where(loud, index, -1))
    return np.asarray(opened > shut)


def _start_ramp(since_us: int) -> float:
    return min(max((since_us + FRAME_US) / FADE_IN_US, 0.0), 1.0)


def _end_ramp(until_us: int | None) -> float:
    return 1.0 if until_us is None else min(max(until_us / FADE_OUT_US, 0.0), 1.0)
