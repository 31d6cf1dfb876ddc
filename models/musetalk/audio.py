"""Waveform to log-mel, and hidden states to one window per video frame.

The log-mel is Whisper's: Hann window of 400 samples, hop 160, 80 Slaney bands from 0 to 8 kHz (M. Slaney,
"Auditory toolbox", 1998), log10, clamped to 8 below the maximum, (x + 4) / 4. Windows are centred on the
middle of the frame's own audio with the exact frame rate.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.musetalk.constants import (
    AUDIO_RATE,
    CHUNK_MELS,
    CHUNK_SAMPLES,
    HOP,
    MEL_RANGE,
    MELS,
    N_FFT,
    STATES,
    STEP_RATE,
    STEP_SAMPLES,
    TOKENS,
    WINDOW,
)
from models.musetalk.whisper import Encoder

F32 = NDArray[np.float32]


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = hz * 3 / 200
    return np.where(hz < 1000, linear, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=1)
def mel_filters() -> F32:
    """Slaney's filters, each of unit area: f32 ``[80, 201]``."""
    top = float(_hz_to_mel(np.array([AUDIO_RATE / 2]))[0])
    edges = _mel_to_hz(np.linspace(0, top, MELS + 2))
    bins = np.linspace(0, AUDIO_RATE / 2, N_FFT // 2 + 1)
    width = np.diff(edges)
    slopes = edges[:, None] - bins[None]
    rising = -slopes[:-2] / width[:-1, None]
    falling = slopes[2:] / width[1:, None]
    weights = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return weights.astype(np.float32)


@lru_cache(maxsize=8)
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    window = torch.hann_window(N_FFT, periodic=True, device=device)
    return window, torch.from_numpy(mel_filters()).to(device)


def log_power(samples: Tensor) -> Tensor:
    """log10 of the mel powers, not yet clamped: f32 ``[B, samples]`` to ``[B, 80, samples // 160]``.

    Frames are centred, with the signal reflected at both ends; the last one is dropped.
    """
    window, filters = _tables(samples.device)
    spectrum = torch.stft(samples, N_FFT, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum[..., :-1].abs() ** 2
    return torch.log10(torch.clamp(filters @ power, min=1e-10))


def normalise(log: Tensor, loudest: Tensor) -> Tensor:
    """Clamp to 8 below ``loudest`` (f32 ``[B, 1, 1]``) and scale."""
    return (torch.maximum(log, loudest - MEL_RANGE) + 4) / 4


def log_mel(samples: F32) -> Tensor:
    """One chunk's log-mel as in training: f32 ``[n]`` at 16 kHz, n at most 480,000, to ``[1, 80, 3000]``."""
    padded = torch.zeros(1, CHUNK_SAMPLES)
    padded[0, : len(samples)] = torch.from_numpy(np.ascontiguousarray(samples))
    log = log_power(padded)
    return normalise(log, log.amax(dim=(1, 2), keepdim=True))


@torch.inference_mode()
def chunk_states(encoder: Encoder, samples: F32) -> Tensor:
    """Hidden states of one chunk: f32 ``[n]``, n at most 480,000, to ``[n // 320, 5, width]``."""
    weight = encoder.conv1.weight
    states: Tensor = encoder(log_mel(samples).to(weight.device, weight.dtype))[0]
    return states[: len(samples) // STEP_SAMPLES]


def one_shot(encoder: Encoder, samples: F32) -> Tensor:
    """Hidden states of a whole clip in chunks of 30 s: f32 ``[n]`` to ``[T, 5, width]``, 50 steps a second."""
    starts = range(0, max(len(samples), 1), CHUNK_SAMPLES)
    return torch.cat([chunk_states(encoder, samples[at : at + CHUNK_SAMPLES]) for at in starts])


def window_start(frame: int, fps: Fraction) -> int:
    """First step of the frame's window; its middle is that of the frame's own audio. 2f - 4 at 25 fps."""
    return math.floor((frame + Fraction(1, 2)) * STEP_RATE / fps - WINDOW // 2 + Fraction(1, 2))


def windows(states: Tensor, fps: Fraction, first: int, count: int) -> Tensor:
    """Windows of frames ``first`` .. of ``states``, zeros outside of them.

    Args:
        states: f ``[T, 5, width]``.
        fps: exact.
        first: frame number.
        count: frames.

    Returns:
        f ``[count, 50, width]``; token = 5 * step + state.
    """
    steps, layers, width = states.shape
    starts = torch.tensor([window_start(first + k, fps) for k in range(count)], device=states.device)
    index = starts[:, None] + torch.arange(WINDOW, device=states.device)[None]
    inside = (index >= 0) & (index < steps)
    if not steps:
        return states.new_zeros(count, WINDOW * layers, width)
    found = states[index.clamp(0, steps - 1)] * inside[..., None, None].to(states.dtype)
    return found.reshape(count, WINDOW * layers, width)


def positional_encoding(width: int) -> Tensor:
    """Sine in even, cosine in odd columns: f32 ``[50, width]``, added once to every window."""
    position = torch.arange(TOKENS, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10000.0) / width))
    out = torch.empty(TOKENS, width, dtype=torch.float64)
    out[:, 0::2] = torch.sin(position * rate)
    out[:, 1::2] = torch.cos(position * rate)
    return out.float()


assert TOKENS == WINDOW * STATES
assert CHUNK_MELS * HOP == CHUNK_SAMPLES
assert STEP_SAMPLES == 2 * HOP
