"""The dark line and spots between closed lips at the mouth's corners, which would stay where no corner is any more."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.warp.geometry import Pose
from models.warp.look import LUMA
from models.warp.track import MouthState

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
REACH, REACH_ROUND, TALL = 0.26, 0.62, 0.30
"""Half the size of the place that is mended, across (rounded lips fold up more) and down, in half widths."""
WIDEST = 0.30
"""Of what is dark, up to this wide, half widths."""
MOST = 0.92
DARK = (0.97, 0.62)
"""Shares of the lips' luma between which a pixel becomes one of the line."""


def mended(crop: U8, pose: Pose, state: MouthState, lip: F32) -> U8:
    """A copy of ``crop`` with light instead of dark corners, the more, the further the corners move away.

    Args:
        crop: u8 BGR ``[256, 256, 3]``.
        pose: its mouth, at rest.
        state: what the mouth is about to do.
        lip: colour of the lips, BGR.
    """
    amount = MOST * min(1.0, 1.2 * state.round + 1.4 * state.open + 0.9 * state.wide + 0.5 * state.bite)
    amount *= 1 - 0.8 * state.closed
    out = crop.copy()
    if amount < 0.02:
        return out
    half = pose.half
    wide, tall = (REACH + (REACH_ROUND - REACH) * state.round) * half, TALL * half
    size = max(3, 2 * round(WIDEST * half / 2) + 1)
    inward = 0.06 * half + 0.5 * (wide - REACH * half)
    for end, side in ((0, 1), (-1, -1)):
        x, y = (float(v) for v in pose.curves[1, end])
        x += side * inward
        y = float(np.interp(x, pose.curves[1, :, 0], pose.curves[1, :, 1]))
        _mend(out, (x, y), (wide, tall), size, lip, amount)
    return out


def _mend(
    out: U8, at: tuple[float, float], reach: tuple[float, float], size: int, lip: F32, amount: float
) -> None:
    (x, y), (wide, tall) = at, reach
    x0, x1 = int(x - wide) - size, int(x + wide) + size + 2
    y0, y1 = int(y - tall) - size, int(y + tall) + size + 2
    if x0 < 0 or y0 < 0 or x1 > out.shape[1] or y1 > out.shape[0]:
        return  # a mouth at the very border stays as it is
    window = out[y0:y1, x0:x1]
    light = cv2.morphologyEx(window, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    light = cv2.GaussianBlur(light, (0, 0), size / 4)
    dx = (np.arange(x0, x1, dtype=np.float32) - x) / np.float32(wide)
    dy = (np.arange(y0, y1, dtype=np.float32)[:, None] - y) / np.float32(tall)
    near = np.clip(1.6 * (1 - np.sqrt(dx * dx + dy * dy)), 0, 1) * np.float32(amount)
    dark = np.clip((DARK[0] - (window @ LUMA) / (lip @ LUMA)) / (DARK[0] - DARK[1]), 0, 1)
    lift = np.maximum(np.minimum(light, lip) - window, 0)
    window[...] = (window + lift * (near * cv2.GaussianBlur(dark, (0, 0), 0.8))[..., None] + 0.5).astype(np.uint8)
