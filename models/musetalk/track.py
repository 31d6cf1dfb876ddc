"""Where the detector looks, and what is taken for true in between. Pure.

A detector costs ten times what the landmarks do, and a face moves little in a third of a second: it looks at
every eighth frame, and between two frames with one face each its box is interpolated. The landmarks, which are
found in every frame by themselves, have the last word: where their own box is elsewhere the track is lost, and
the detector looks at every frame of that stretch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Look = F32 | str
"""The box of the only face of a frame, f32 ``[4]``, or why there is none to be used."""

EVERY = 8
"""Frames from one look of the detector to the next: one quantum, 0.32 s."""
AGREE = 0.4
"""Least overlap (intersection over union) of the tracked box and the landmarks' own. On the same face it is 0.6
to 0.8, for the detector sees the forehead too; a face that has moved by a third of its width falls below."""


def anchors(count: int) -> list[int]:
    """The frames of a film of ``count`` that are looked at first."""
    return sorted({*range(0, count, EVERY), count - 1})


def stretches(count: int) -> list[tuple[int, int]]:
    """Pairs of neighbouring anchors."""
    return list(pairwise(anchors(count)))


def unclear(looks: Mapping[int, Look], count: int) -> list[int]:
    """Frames between two anchors of which one shows no usable face: each must be looked at."""
    return [
        k
        for first, last in stretches(count)
        if isinstance(looks[first], str) or isinstance(looks[last], str)
        for k in range(first + 1, last)
    ]


def tracked(looks: Mapping[int, Look], count: int) -> list[Look]:
    """The look of every frame: the detector's own, else interpolated between its two anchors."""
    found: list[Look] = []
    at = {k: pair for pair in stretches(count) for k in range(pair[0] + 1, pair[1])}
    for k in range(count):
        own = looks.get(k)
        if own is None:
            first, last = at[k]
            a, b = looks[first], looks[last]
            assert not isinstance(a, str)
            assert not isinstance(b, str)
            share = (k - first) / (last - first)
            own = ((1 - share) * a + share * b).astype(np.float32)
        found.append(own)
    return found


def lost(looks: Mapping[int, Look], boxes: Sequence[Look], own: Mapping[int, F32]) -> list[int]:
    """Frames to look at after all: every one of a stretch in which some landmarks lie beside the track.

    Args:
        looks: the detector's own.
        boxes: see ``tracked``.
        own: per frame the landmarks' own box, f32 ``[4]``.
    """
    again: list[int] = []
    for first, last in stretches(len(boxes)):
        guessed = [k for k in range(first + 1, last) if k not in looks]
        if any(overlap(boxes[k], own[k]) < AGREE for k in guessed):
            again += guessed
    return again


def overlap(a: Look, b: F32) -> float:
    """Intersection over union of two boxes; 0 where one is a reason."""
    if isinstance(a, str):
        return 0.0
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    whole = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / whole if whole > 0 else 0.0
