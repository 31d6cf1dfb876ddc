"""Where the borders between hibari's sounds are heard: the counted ones, moved to fit the audio.

The model's own count is up to 0.1 s beside what is heard. Every sound belongs to one of a few kinds that loudness
and brightness tell apart; the borders that fit best, and stay near their place in the count, are found by dynamic
programming (Viterbi's algorithm, as in forced alignment).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
HOP = 300
REACH = 9
"""Hops of 12.5 ms that a border may be moved."""
STRAY = 5.0
"""Hops beside its place at which a border costs as much as a feature that is one deviation off."""
FLOOR = 1e-4

_VOWELS = frozenset(
    ("eI", "aI", "oU", "@U", "aU", "OI", "@", "a", "A:", "V", "0", "O:", "3", "E", "e", "3:", "I", "i:", "u:", "U")
)
_KINDS: dict[str, tuple[str, ...]] = {
    "nasal": ("m", "n", "N"),
    "glide": ("l", "r", "w", "j"),
    "voiced": ("b", "d", "g", "v", "D"),
    "stop": ("p", "t", "k"),
    "hiss": ("s", "z", "S", "Z", "tS", "dZ"),
    "breath": ("f", "T", "h", "x", "C"),
}
KIND = {symbol: kind for kind, symbols in _KINDS.items() for symbol in symbols}
TABLE: dict[str, tuple[float, float, float, float]] = {
    "vowel": (-0.25, 0.30, -0.73, 0.30),
    "nasal": (-0.50, 1.01, -1.13, 0.43),
    "glide": (-0.96, 0.81, -0.62, 0.38),
    "voiced": (-1.24, 0.63, -0.34, 0.41),
    "stop": (-1.36, 0.67, -0.24, 0.27),
    "hiss": (-0.72, 0.74, 0.17, 0.17),
    "breath": (-1.31, 0.34, 0.14, 0.19),
    "pause": (-3.08, 0.20, 0.00, 0.15),
}
"""Mean and deviation of loudness (log10 of RMS over the loudest) and of brightness, by kind; measured over
sixteen sentences, four times, each time aligned with the table before;
vowels are given more room than was measured, since lips that follow loudness matter most on them."""


def kind_of(symbol: str) -> str:
    """The kind of a sound or pause."""
    if symbol == "_":
        return "pause"
    plain = symbol.lstrip("',")
    return "vowel" if plain in _VOWELS else KIND.get(plain, "voiced")


def features(audio: NDArray[np.float32]) -> F64:
    """Loudness and brightness of every hop: ``[hops, 2]``."""
    wide = np.asarray(audio, np.float64).reshape(-1, HOP)
    level = np.sqrt((wide**2).mean(axis=1)) + FLOOR
    steep = np.sqrt((np.diff(wide, axis=1) ** 2).mean(axis=1)) + FLOOR
    return np.stack([np.log10(level / level.max()), np.log10(steep / level)], axis=1)


def borders(kinds: Sequence[str], counted: Sequence[int], heard: F64) -> list[int]:
    """Where each sound but the last ends.

    Args:
        kinds: of the sounds, in order.
        counted: where they end by the count, hops.
        heard: see ``features``.
    """
    hops = len(heard)
    table = np.asarray([TABLE[kind] for kind in kinds])
    off = (heard[None] - table[:, None, ::2]) / table[:, None, 1::2]
    cost = 0.5 * (np.minimum(off**2, 9)).sum(axis=2) + np.log(table[:, 1] * table[:, 3])[:, None]
    total = np.concatenate([np.zeros((len(kinds), 1)), np.cumsum(cost, axis=1)], axis=1)  # [sounds, hops + 1]
    places = np.arange(hops + 1)
    best = total[0].copy()
    origins: list[NDArray[np.int64]] = []
    for k in range(len(kinds) - 1):
        far = (places - counted[k]) / STRAY
        best = np.where(np.abs(places - counted[k]) <= REACH, best + 0.5 * far**2, np.inf)
        best[0] = np.inf if k else best[0]
        lead = best - total[k + 1]
        origin = np.zeros(hops + 1, np.int64)
        lowest, at = np.inf, 0
        values = np.full(hops + 1, np.inf)
        for t in range(1, hops + 1):
            if lead[t - 1] < lowest:
                lowest, at = lead[t - 1], t - 1
            origin[t], values[t] = at, lowest + total[k + 1][t]
        origins.append(origin)
        best = values
    end = hops
    found: list[int] = []
    for origin in reversed(origins):
        end = int(origin[end])
        found.append(end)
    return found[::-1]
