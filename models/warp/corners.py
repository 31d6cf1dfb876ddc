"""What is done to a picture's lips before they are moved.

In the corners of closed lips are a dark line and spots, which would stay where no corner is any more; and pale
lips, drawn together, would be a blank patch: their red gathers as they do. A thin pale upper lip would be lost
over open teeth.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.warp.folds import relaxed
from models.warp.geometry import Pose, clamped
from models.warp.look import LUMA, Look
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
REACH, REACH_ROUND, TALL = 0.26, 0.62, 0.30
"""Half the size of the place that is mended, across (rounded lips fold up more) and down, in half widths."""
SPREAD = 0.10
"""How far light comes from beside the dark, sigma in half widths."""
MOST = 0.92
GATHERED = np.array([0.89, 0.86, 0.955], np.float32)
"""What pale lips are multiplied by when they are quite round, BGR."""
OUTSIDE = (0.08, 0.0)
"""So far outwards of the corner what comes to light is skin, and from where on it is lip, half widths."""
LINE, LINE_SMILE = 0.6, 1.3
"""How much of that is done between the lips: where they still meet, a line is seen, but not that of a smile."""
BESIDE = 0.94
"""Share of the luma of the skin beside the lips below which it is in the shadow of their corner."""
DARK = (1.0, 0.8)
"""Shares of the lips' luma between which a pixel becomes one of the line."""


class _Spot(NamedTuple):
    """A place to mend, crop pixels."""

    x: float
    y: float
    wide: float
    tall: float
    half: float
    corner: float
    """Column of the mouth's corner."""
    line: float
    """How much is done between the lips."""
    outwards: int
    """1 where the cheek lies to the right of the corner, else -1."""


def mended(crop: U8, pose: Pose, state: MouthState, look: Look) -> U8:
    """A copy of ``crop`` with light instead of dark corners, the more, the further the corners move away, and
    with pale lips that redden as they are rounded (the upper one also as it is raised) and folds that relax.

    Args:
        crop: u8 BGR ``[256, 256, 3]``.
        pose: its mouth, at rest.
        state: what the mouth is about to do.
        look: of its template.
    """
    amount = MOST * min(1.0, 1.2 * state.round + 1.4 * state.open + 0.9 * state.wide + 0.5 * state.bite)
    amount *= (1 - 0.8 * state.closed) * (1 - 0.8 * look.hair)
    out = crop.copy()
    if amount >= 0.02:
        _mend_corners(out, pose, state, look, amount)
    relaxed(out, pose, state, look)
    if look.pale > 0.05:
        upper = look.pale * min(1.0, state.round + 2 * state.open + 0.6 * state.bite) * (1 - state.closed)
        _redden(out, pose, (upper, look.pale * state.round), look.edge)
    return out


def _mend_corners(out: U8, pose: Pose, state: MouthState, look: Look, amount: float) -> None:
    half = pose.half
    wide = (REACH + (REACH_ROUND - REACH) * state.round) * half
    seam = pose.curves[1]
    line = min(LINE + LINE_SMILE * pose.smile, 1.0)
    for end, inwards in ((0, 1), (-1, -1)):
        corner = float(seam[end, 0])
        x = corner + inwards * (0.06 * half + 0.5 * (wide - REACH * half))
        y = float(np.interp(x, seam[:, 0], seam[:, 1]))
        _mend(
            out, _Spot(x, y, wide, TALL * (1 - 0.5 * look.hair) * half, half, corner, line, -inwards), look, amount
        )


def _redden(out: U8, pose: Pose, amounts: tuple[float, float], edge: float) -> None:
    """``amounts``: of the upper lip and of the lower one."""
    x0, x1 = max(int(pose.curves[1, 0, 0]) + 1, 0), min(int(pose.curves[1, -1, 0]), out.shape[1])
    top, bottom = pose.curves[0, :, 1], pose.curves[3, :, 1]
    y0, y1 = max(int(top.min() - edge), 0), min(int(bottom.max() + edge) + 2, out.shape[0])
    x = np.arange(x0, x1, dtype=np.float32)
    y = np.arange(y0, y1, dtype=np.float32)[:, None]
    u = (x - np.float32(pose.centre[0])) / np.float32(pose.half)
    upper, seam, lower = (
        np.interp(x, pose.curves[k, :, 0], pose.curves[k, :, 1]).astype(np.float32) for k in (0, 1, 3)
    )
    within = clamped((y - upper) / edge + 0.5) * clamped((lower - y) / edge + 0.5)
    within *= np.where(y < seam, np.float32(amounts[0]), np.float32(amounts[1]))
    within *= clamped(2.2 * (1 - u * u))
    share = cv2.merge([1 - within * v for v in (1 - GATHERED)])
    window = out[y0:y1, x0:x1]
    cv2.multiply(window, share, dst=window, dtype=cv2.CV_8U)


def _mend(out: U8, spot: _Spot, look: Look, amount: float) -> None:
    sigma = SPREAD * spot.half
    margin = int(2 * sigma) + 1
    x0, x1 = int(spot.x - spot.wide) - margin, int(spot.x + spot.wide) + margin + 2
    y0, y1 = int(spot.y - spot.tall) - margin, int(spot.y + spot.tall) + margin + 2
    if x0 < 0 or y0 < 0 or x1 > out.shape[1] or y1 > out.shape[0]:
        return  # a mouth at the very border stays as it is
    window = out[y0:y1, x0:x1]
    shown = window.astype(np.float32)
    x = np.arange(x0, x1, dtype=np.float32)
    out_by = (x - np.float32(spot.corner)) * np.float32(spot.outwards / spot.half)
    skin = clamped((out_by - OUTSIDE[1]) / (OUTSIDE[0] - OUTSIDE[1]))
    # Beside the lips a shadow is what is darker than the skin there.
    luma = np.asarray(cv2.transform(shown, LUMA[None]), np.float32)
    usual = max(_median(luma[::2, :: spot.outwards][:, -margin:]) * BESIDE, look.lip)
    darkness = luma * (-1 / ((DARK[0] - DARK[1]) * (look.lip + (usual - look.lip) * skin)))
    darkness += DARK[0] / (DARK[0] - DARK[1])
    dark = clamped(darkness)
    share = 1.001 - dark
    size = (2 * int(3 * sigma) + 1,) * 2
    light = cv2.GaussianBlur(cv2.multiply(shown, _thrice(share)), size, sigma)
    light = cv2.divide(light, _thrice(cv2.GaussianBlur(share, size, sigma)))
    most = look.corner + (255 - look.corner) * skin[:, None]
    dx = (x - np.float32(spot.x)) / np.float32(spot.wide)
    dy = (np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(spot.y)) / np.float32(spot.tall)
    near = clamped(1.6 * (1 - np.sqrt(dx * dx + dy * dy)))
    near *= (spot.line + (1 - spot.line) * skin) * np.float32(amount)
    near *= np.maximum(dark, cv2.GaussianBlur(dark, (0, 0), 0.8))
    lift = np.maximum(np.minimum(light, most) - shown, 0)
    cv2.add(shown, cv2.multiply(lift, _thrice(near)), dst=window, dtype=cv2.CV_8U)


def _thrice(values: Any) -> F32:
    """For every channel: ``[h, w, 3]``; many times faster than to let numpy repeat them."""
    return np.asarray(cv2.merge([values, values, values]), np.float32)


def _median(values: F32) -> float:
    ordered = np.sort(values, axis=None)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2
