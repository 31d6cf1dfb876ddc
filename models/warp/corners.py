"""The corners of the mouth at rest, whose dark spots would stay where no corner is any more."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.warp.geometry import Pose
from models.warp.track import MouthState

U8 = NDArray[np.uint8]
REACH = (0.42, 0.28)
"""Half the size of the spot that is mended, across and down, in half widths of the mouth."""
WIDEST = 0.20
"""Of what is dark, up to this wide, half widths."""
MOST = 0.95


def mended(crop: U8, pose: Pose, state: MouthState) -> U8:
    """``crop`` with light instead of dark corners, the more, the further the corners move away; a copy."""
    amount = MOST * min(1.0, 1.2 * state.round + 1.4 * state.open + 0.6 * state.wide + state.bite)
    amount *= 1 - 0.8 * state.closed
    out = crop.copy()
    if amount < 0.02:
        return out
    half = pose.half
    size = max(3, 2 * round(WIDEST * half / 2) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    for end, inward in ((0, 1), (-1, -1)):
        x, y = pose.curves[1, end] + np.asarray([0.06 * inward * half, 0.0])
        _mend(out, float(x), float(y), half, kernel, amount)
    return out


def _mend(out: U8, x: float, y: float, half: float, kernel: NDArray[np.uint8], amount: float) -> None:
    wide, tall = (share * half for share in REACH)
    margin = len(kernel)
    x0, x1 = int(x - wide) - margin, int(x + wide) + margin + 2
    y0, y1 = int(y - tall) - margin, int(y + tall) + margin + 2
    if x0 < 0 or y0 < 0 or x1 > out.shape[1] or y1 > out.shape[0]:
        return
    window = out[y0:y1, x0:x1]
    light = cv2.morphologyEx(window, cv2.MORPH_CLOSE, kernel)
    light = cv2.GaussianBlur(light, (0, 0), 0.05 * half)
    dx = (np.arange(x0, x1, dtype=np.float32) - x) / wide
    dy = (np.arange(y0, y1, dtype=np.float32)[:, None] - y) / tall
    near = np.clip(1.6 * (1 - np.sqrt(dx * dx + dy * dy)), 0, 1) * np.float32(amount)
    window[...] = (window + (np.maximum(light, window) - window.astype(np.float32)) * near[..., None] + 0.5).astype(
        np.uint8
    )
