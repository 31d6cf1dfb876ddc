"""Mouth shapes from audio alone: band energies around the middle of the frame, through a fitted linear map.

The map (``hearing_table.py``) is fitted by ``benchmarks/fit_hearing.py`` to what the phonemes say, over five
languages and ten voices with random filters and noise; no phonemes are needed to use it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.api import SAMPLE_RATE, Pcm
from models.warp.hearing_table import TABLE
from models.warp.visemes import Sound

F64 = NDArray[np.float64]
WINDOW = 1024
EDGES_HZ = (90, 220, 350, 500, 700, 950, 1250, 1600, 2050, 2600, 3300, 4200, 5400, 7200)
"""Band borders; nothing above 7.2 kHz, since telephone and 16 kHz audio have nothing there."""
HOPS_MS = ((-80, -50), (-25, 0, 25), (50, 80))
"""Windows before, at and after the middle; the last one ends inside the look-ahead."""
FLOOR = 1e-6
QUIET = -3.5
REFERENCE_FLOOR = 0.012

_HANN = np.hanning(WINDOW)
_BINS = np.searchsorted(np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW, EDGES_HZ)
_GROUPS = np.cumsum([0, *map(len, HOPS_MS)]).tolist()
_AT = np.concatenate(HOPS_MS)[:, None] * (SAMPLE_RATE // 1000) - WINDOW // 2 + np.arange(WINDOW)
"""Samples of every window, from the middle of the frame: ``[8, WINDOW]``."""
_SCALE = 1 / (WINDOW * 384.0 * 32768.0**2)
_WEIGHTS = np.asarray(TABLE, np.float64)
_MEAN = np.asarray([0.20, 0.15, 0.25, 0.13, 0.11])
_CONTRAST = np.asarray([1.9, 1.4, 1.5, 1.3, 1.5])
"""A regression shrinks towards the mean; this gives the mouth its range back."""


def features(pcm: NDArray[Any], centre: int, loudest: float) -> F64:
    """What the map looks at: f64 ``[35]``.

    Args:
        pcm: s16 samples (any numeric type), 100 ms or more on both sides of ``centre``.
        centre: sample in the middle of the frame.
        loudest: loudest recent 10 ms, RMS as a share of full scale.
    """
    scale = _SCALE / max(loudest, REFERENCE_FLOOR) ** 2
    spectra = np.fft.rfft(pcm[_AT + centre] * _HANN)[:, _BINS[0] : _BINS[-1]]
    power = spectra.real**2 + spectra.imag**2
    bands = np.add.reduceat(power, _BINS[:-1] - _BINS[0], axis=1) * scale
    parts = [bands[first:end].mean(axis=0) + FLOOR for first, end in pairwise(_GROUPS)]
    level = np.log10([part.sum() for part in parts])
    shape = np.maximum(np.log10(parts[1]) - level[1], QUIET)
    fall, rise = min(level[1] - level[0], 0.0), min(level[1] - level[2], 0.0)
    quiet = np.minimum(level, 0.0)
    return np.concatenate([shape, shape * shape, level, [fall * fall, fall * rise], quiet * quiet, [1.0]])


def mouth(pcm: Pcm, centre: int, loudest: float) -> Sound:
    """The likely mouth; see ``features`` for the arguments."""
    raw = (features(pcm, centre, loudest)[:, None] * _WEIGHTS).sum(axis=0)
    gap, wide, rounded, teeth, closed = np.clip(_MEAN + (raw - _MEAN) * _CONTRAST, 0, 1).tolist()
    hushed = min(max((closed - 0.22) / 0.38, 0.0), 1.0)
    return Sound(min(gap, 0.75), wide, rounded, teeth, 0.0, hushed)
