"""The folds of a smile beside the mouth: they relax as the mouth opens or draws together."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP
from models.warp.geometry import POSES, Pose, clamped
from models.warp.look import LUMA, Look
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
NEAR, FAR, ABOVE, BELOW = 0.50, 1.70, 0.45, 1.05
"""The cheek that has folds: from its distance from the middle to how far out, above the nose's base and down, in
half widths.
"""
FINE, BROAD = 2, 0.20
"""Folds are what lies between a picture this much smaller and a blur of it (sigma, half widths): skin is finer,
light broader."""
COARSE = 3
"""How much smaller once more the picture is that is blurred."""
MOST = 0.75
"""Share of a fold that goes."""
SKIN = (0.35, 0.65)
"""Lumas, in those of the lips, below which a pixel is hair or cloth, and from which on it is skin."""
CLEAR = 0.06
"""Width of the edge of the lips, which stays, in half widths."""


def relaxed(out: U8, pose: Pose, state: MouthState, look: Look) -> None:
    """Flatten the folds in ``out``, u8 BGR ``[256, 256, 3]``, in place.

    Args:
        out: the picture at rest.
        pose: its mouth.
        state: what the mouth is about to do.
        look: of its template.
    """
    amount = MOST * min(1.0, 0.9 * state.round + max(state.open - 0.15, 0) * 1.2) * (1 - state.closed)
    amount *= 1 - 0.8 * look.hair
    if amount < 0.05:
        return
    for cheek in _cheeks(pose):
        window = out[cheek.rows, cheek.columns]
        height, width = cheek.share.shape
        small = cv2.resize(window, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        fold = _fold(small, cheek.share * np.float32(amount), pose.half / FINE, look)
        cv2.subtract(window, cv2.resize(fold, window.shape[1::-1]), dst=window, dtype=cv2.CV_8U)


class _Cheek(NamedTuple):
    """A cheek of a pose, crop pixels."""

    rows: slice
    columns: slice
    share: F32
    """Where folds are, 0 to 1, ``FINE`` times smaller: ``[h, w]``."""


@lru_cache(maxsize=POSES)
def _cheeks(pose: Pose) -> list[_Cheek]:
    (cx, cy), half = pose.centre, pose.half
    y0, y1 = _span(float(pose.nose[1]) - ABOVE * half, cy + BELOW * half, CROP)
    found = []
    for side in (-1, 1):
        inner, outer = cx + side * NEAR * half, cx + side * FAR * half
        x0, x1 = _span(min(inner, outer), max(inner, outer), CROP)
        if x1 - x0 < 8 * FINE or y1 - y0 < 8 * FINE:
            continue
        size = ((x1 - x0) // FINE, (y1 - y0) // FINE)
        x, y = (
            np.linspace(low, high, n, dtype=np.float32)
            for low, high, n in zip((x0, y0), (x1, y1), size, strict=True)
        )
        found.append(_Cheek(slice(y0, y1), slice(x0, x1), _where(pose, x, y[:, None])))
    return found


def _span(first: float, last: float, limit: int) -> tuple[int, int]:
    return max(int(first), 0), min(int(last), limit)


def _fold(picture: F32, share: F32, half: float, look: Look) -> F32:
    """``share`` of what makes the folds in ``picture``, levels; 0 where it is not skin."""
    lowest, step = SKIN[0] * look.lip, 1 / (look.lip * (SKIN[1] - SKIN[0]))
    skin = np.minimum(np.maximum((cv2.transform(picture, LUMA[None]) - lowest) * step, 1e-3), 1)
    light = cv2.merge([*cv2.split(cv2.multiply(picture, cv2.merge([skin] * 3))), skin])
    height, width = light.shape[:2]
    coarse = cv2.resize(light, (width // COARSE, height // COARSE), interpolation=cv2.INTER_AREA)
    broad = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), BROAD * half / COARSE), (width, height))
    *lit, weight = cv2.split(broad)
    apart = cv2.subtract(picture, cv2.divide(cv2.merge(lit), cv2.merge([weight] * 3)))
    return np.asarray(cv2.multiply(apart, cv2.merge([skin * share] * 3)), np.float32)


def _where(pose: Pose, x: F32, y: F32) -> F32:
    """The cheek without the lips: 0 to 1."""
    upper, lower = (np.interp(x, pose.curves[k, :, 0], pose.curves[k, :, 1]).astype(np.float32) for k in (0, 3))
    half = np.float32(pose.half)
    beside = np.abs(x - np.float32(pose.centre[0])) / half - 1
    clear = np.maximum(np.maximum(y - lower, upper - y) / half, beside) / np.float32(CLEAR)
    across, down = (2 * (v - v.flat[0]) / (v.flat[-1] - v.flat[0]) - 1 for v in (x, y))
    return np.asarray(clamped(clear) * (_bump(across) * _bump(down)), np.float32)


def _bump(t: F32) -> F32:
    """1 in the middle, 0 at both ends."""
    return np.asarray(clamped(3 * (1 - np.abs(t))), np.float32)
