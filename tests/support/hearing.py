"""Recordings for the tests of hearing, and rooms to play them in."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

AUDIO = Path(__file__).resolve().parents[1] / "audio"
RATE = 16_000

Pcm = NDArray[np.int16]


@lru_cache(maxsize=1)
def index() -> dict[str, str]:
    """File name -> what is said."""
    lines = (AUDIO / "index.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines)


def names(kind: str) -> list[str]:
    """All recordings of "question", "other" or "chinese"."""
    return [name for name in index() if name.startswith(kind)]


@lru_cache(maxsize=128)
def recording(name: str) -> Pcm:
    """s16 mono 16 kHz."""
    with av.open(str(AUDIO / name)) as container:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


def room(*parts: Pcm | float, level: float = 10.0, seed: int = 0) -> Pcm:
    """Recordings and silences (seconds) one after the other, in a room with a little noise."""
    pieces = [np.zeros(int(part * RATE)) if isinstance(part, float) else part for part in parts]
    clean = np.concatenate(pieces).astype(np.float64)
    noisy = clean + np.random.default_rng(seed).normal(0.0, level, len(clean))
    return noisy.clip(-32768, 32767).astype(np.int16)
