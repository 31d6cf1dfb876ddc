"""Audio features of a segment before the rest of the turn is known.

Every quantum of 8 frames is encoded on its own, from 2 s before it (or the start of the turn) to 80 ms after
it, so a frame's features do not depend on how the turn was cut into segments. What the encoder sees:

- the log-mel of that stretch, at the position that it has within the turn (held at the end of the encoder's
  30 s when the turn is longer), silence elsewhere;
- its clamp 8 below a maximum that follows from the turn's peak instead of from the chunk, so that one loud
  sound does not lift the floor of a whole chunk only after it was heard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from configs.grid import QUANTUM_FRAMES
from models.api import FRAME_SAMPLES, FUTURE_US, PASSAGE_MARGIN, PAST_US, SAMPLE_RATE, SpeechWindow
from models.musetalk.audio import log_power, normalise
from models.musetalk.constants import AUDIO_RATE, CHUNK_STEPS, MEL_RANGE, STATES, STEP_RATE, WINDOW
from models.musetalk.gpu import exact
from models.musetalk.whisper import Encoder

STEP_US = 1_000_000 // STEP_RATE
FRAME_STEPS = 2
PAST_STEPS = PAST_US // STEP_US
QUANTUM_STEPS = QUANTUM_FRAMES * FRAME_STEPS
FUTURE_STEPS = FUTURE_US // STEP_US
SPAN_STEPS = PAST_STEPS + QUANTUM_STEPS + FUTURE_STEPS
"""120 steps: what one quantum is encoded from."""
DECIMATION = SAMPLE_RATE // AUDIO_RATE
PEAK_TO_MEL = 1.6
"""log10 of the loudest mel power of speech whose loudest sample is 1. Measured: 1.3 to 1.9 over sentences of
espeak-ng in English and Chinese; a sine in mid-band gives 2.4."""
QUIETEST = -2.0
"""No maximum below this: with it the clamp is that of digital silence."""
_PAST = PAST_US * SAMPLE_RATE // 1_000_000
_FUTURE = FUTURE_US * SAMPLE_RATE // 1_000_000
_SPAN = _PAST + QUANTUM_FRAMES * FRAME_SAMPLES + _FUTURE
_HALF_TAPS = PASSAGE_MARGIN
_BLOCK = 1 << 14
"""Samples filtered at a time: what stays in a processor's cache."""


@dataclass(frozen=True)
class Quantum:
    """What one quantum is encoded from.

    Attributes:
        pcm: s16 48 kHz, 2 s before the quantum to 80 ms after it.
        past_steps: steps of ``pcm`` before the quantum that belong to the turn.
        position: step of the turn at which those begin.
        end_steps: steps from the start of the quantum to the end of the turn, or None when it is not in sight.
        peak: the turn's loudest sample up to the end of ``pcm``, 0 to 1.
    """

    pcm: NDArray[np.int16]
    past_steps: int
    position: int
    end_steps: int | None
    peak: float


def quanta(window: SpeechWindow, past_steps: int = PAST_STEPS) -> list[Quantum]:
    """The quanta of a segment from the one that holds frame ``start``; the last may be short of frames.

    ``past_steps`` shortens the past that is used; it is for measuring what the past is worth.

    Raises:
        ValueError: the PCM has the wrong length.
    """
    expected = _PAST + window.frames * FRAME_SAMPLES + _FUTURE
    if len(window.pcm) != expected:
        raise ValueError(f"a window of {window.frames} frames has {expected} samples, not {len(window.pcm)}")
    found = []
    loud = np.abs(window.pcm.astype(np.int32))
    for first in range(window.start // QUANTUM_FRAMES * QUANTUM_FRAMES, window.frames, QUANTUM_FRAMES):
        at = first * FRAME_SAMPLES
        pcm = window.pcm[at : at + _SPAN]
        if len(pcm) < _SPAN:
            pcm = np.concatenate([pcm, np.zeros(_SPAN - len(pcm), np.int16)])
        begin_us = first * FRAME_STEPS * STEP_US
        since = max(begin_us - window.speech_from_us, 0) // STEP_US
        past = min(past_steps, since)
        end = None
        if window.speech_to_us is not None:
            # A last step that is only begun is left out, as for a whole clip.
            end = (window.speech_to_us - begin_us) // STEP_US
            end = end if end < QUANTUM_STEPS + FUTURE_STEPS else None
        # The loudest so far as of this quantum, not of the segment: how the turn is cut must not matter.
        peak = max(window.peak, float(loud[: at + _SPAN].max()) / 32768)
        found.append(Quantum(pcm, past, since - past, end, peak))
    return found


def loudest(peak: float) -> float:
    """Expected maximum of log10 mel power of a turn whose loudest sample is ``peak``."""
    return max(2 * math.log10(max(peak, 1e-6)) + PEAK_TO_MEL, QUIETEST)


def _low_pass() -> NDArray[np.float32]:
    """Windowed sinc for 48 to 16 kHz: f32 ``[97]``, unit gain, -6 dB at 7.6 kHz, 80 dB stop band."""
    n = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
    cutoff = 2 * 7600 / SAMPLE_RATE
    taps = np.sinc(cutoff * n) * np.kaiser(2 * _HALF_TAPS + 1, 7.857)
    return (taps / taps.sum()).astype(np.float32)


def to_16k(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """A whole clip, s16 48 kHz, to f32 16 kHz with the filter of the stream; zeros around it."""
    return decimated(np.pad(pcm, _HALF_TAPS))


def decimated(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """s16 48 kHz ``[n + 96]`` to f32 16 kHz ``[ceil(n / 3)]``; the first output is at sample 48.

    Sums are made sample by sample in one order, so a part of a clip comes out as within the whole, bit for bit.
    """
    taps = _low_pass()
    samples = pcm.astype(np.float32) / 32768
    phases = [np.ascontiguousarray(samples[k::DECIMATION]) for k in range(DECIMATION)]
    count = (len(pcm) - len(taps)) // DECIMATION + 1
    found = np.zeros(count, np.float32)
    for begin in range(0, count, _BLOCK):
        out = found[begin : begin + _BLOCK]
        for k, tap in enumerate(taps):
            at = begin + k // DECIMATION
            out += tap * phases[k % DECIMATION][at : at + len(out)]
    return found


class FeatureStream:
    """Quanta to windows of hidden states.

    Args:
        encoder: in evaluation mode, on its device, in its dtype.
        steps: length of the encoder's input in steps, 120 to 1500; 1500 is what the weights were trained with.
    """

    span_samples = _SPAN
    """Samples of ``Quantum.pcm``."""

    def __init__(self, encoder: Encoder, steps: int = CHUNK_STEPS) -> None:
        if not SPAN_STEPS <= steps <= encoder.config.max_source_positions:
            raise ValueError(f"{steps} encoder steps; {SPAN_STEPS} to {encoder.config.max_source_positions} work")
        self._encoder, self._steps = encoder, steps
        weight = encoder.conv1.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._low_pass = torch.from_numpy(_low_pass()).to(self._device)[None, None]

    @torch.inference_mode()
    @exact()
    def windows(self, found: list[Quantum]) -> Tensor:
        """Features of all their frames: ``[8 * len(found), 50, width]``; token = 5 * step + state."""
        mel, first, at = self._mel(found)
        states = self._encoder(mel.to(self._dtype), first)
        return torch.cat([self._cut(states[k], at[k], q) for k, q in enumerate(found)])

    def _mel(self, found: list[Quantum]) -> tuple[Tensor, Tensor, list[int]]:
        pcm = torch.from_numpy(np.stack([q.pcm for q in found])).to(self._device)
        padded = F.pad(F.pad(pcm.float() / 32768, (_HALF_TAPS, 0))[:, None], (0, _HALF_TAPS), mode="reflect")
        samples = F.conv1d(padded, self._low_pass, stride=DECIMATION)[:, 0]
        top = torch.tensor([loudest(q.peak) for q in found], device=self._device)[:, None, None]
        # The frame at the very end of what is known counts: the last step reads half of it.
        log = log_power(F.pad(samples[:, None], (0, 160), mode="reflect")[:, 0])
        log = normalise(log, top)
        silence = (torch.clamp(top - MEL_RANGE, min=-10.0) + 4) / 4
        mel = silence.expand(len(found), log.shape[1], 2 * self._steps).clone()
        first, at = [], []
        for k, q in enumerate(found):
            span = q.past_steps + QUANTUM_STEPS + FUTURE_STEPS
            position = min(q.position, CHUNK_STEPS - span)
            place = min(position, self._steps - span)
            skipped = 2 * (PAST_STEPS - q.past_steps)
            length = min(log.shape[2] - skipped, 2 * (self._steps - place))
            mel[k, :, 2 * place : 2 * place + length] = log[k, :, skipped : skipped + length]
            first.append(position - place)
            at.append(place + q.past_steps)
        return mel, torch.tensor(first, device=self._device), at

    def _cut(self, states: Tensor, begin: int, quantum: Quantum) -> Tensor:
        """The windows of one quantum that begins at step ``begin`` of ``states``; zeros outside the turn."""
        index = torch.arange(QUANTUM_FRAMES)[:, None] * FRAME_STEPS - 4 + torch.arange(WINDOW)[None]
        inside = index >= -quantum.past_steps
        if quantum.end_steps is not None:
            inside &= index < quantum.end_steps
        taken = states[(index + begin).clamp(min=0).to(states.device)]
        taken = taken * inside[..., None, None].to(states.device, states.dtype)
        return taken.reshape(QUANTUM_FRAMES, WINDOW * STATES, -1)
