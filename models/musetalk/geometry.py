"""Where the network's crop lies in each frame of a template."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]

EXTRA_MARGIN = 10
"""v1.5 adds so many pixels below the chin (strict)."""
MARGIN = 0.03
"""The same as a share of the box's height (refined)."""
SMOOTH = 2.0
"""Standard deviation, in frames, of the filter over the boxes."""
STEADY = 1.15
"""A face whose size varies by less than this keeps one box size, which stills the picture."""
NOSE_BRIDGE = 29
"""iBUG number of the point that upstream pins to the crop's middle row."""


def strict_box(
    points: NDArray[np.int32], shift: int, version: str, height: int, face: Box | None = None
) -> Box | None:
    """Upstream's box of one frame.

    Args:
        points: i32 ``[68, 2]`` in frame pixels, truncated.
        shift: ``bbox_shift``; v1.5 ignores it.
        version: "v15" or "v10".
        height: of the frame.
        face: the face detector's box, taken when the points make no box.

    Returns:
        x0, y0, x1, y1, or None when there is no box either way.
    """
    middle = int(points[NOSE_BRIDGE, 1]) + (0 if version == "v15" else shift)
    bottom = int(points[:, 1].max())
    top = max(0, 2 * middle - bottom)
    left, right = int(points[:, 0].min()), int(points[:, 0].max())
    found: Box | None = (left, top, right, bottom)
    if bottom - top <= 0 or right - left <= 0 or left < 0:
        found = face
    if found is not None and version == "v15":
        x0, y0, x1, y1 = found
        found = (x0, y0, x1, min(y1 + EXTRA_MARGIN, height))
    return found


def shift_range(nose: F32) -> tuple[int, int]:
    """The range of ``bbox_shift`` that suits a v1.0 template.

    Args:
        nose: f ``[L, 3]``: the heights (y) of points 28, 29 and 30 down the nose.
    """
    upper, middle, lower = nose.astype(np.float64).T
    return -round(float((lower - middle).mean())), round(float((middle - upper).mean()))


def outline(points: F32) -> F32:
    """Left, right, bridge and chin of 68-point faces: f32 ``[L, 68, 2]`` to ``[L, 4]``."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([x.min(axis=1), x.max(axis=1), y[:, NOSE_BRIDGE], y.max(axis=1)], axis=1).astype(np.float32)


def refined_boxes(outlines: F32, valid: NDArray[np.bool_]) -> F32:
    """Still boxes for a loop: gaps bridged, smoothed without delay, of one size where the face keeps its own.

    Args:
        outlines: f32 ``[L, 4]``: left, right, nose bridge, chin; rows of frames without a face do not matter.
        valid: bool ``[L]``, at least one True.

    Returns:
        f32 ``[L, 4]``: x0, y0, x1, y1; the nose bridge is at the crop's middle but for the margin.
    """
    filled = _bridge(outlines.astype(np.float64), valid)
    left, right, bridge, chin = filled.T
    half = chin - bridge
    height = 2 * half * (1 + MARGIN / 2)
    width = right - left
    centre_x, top = (left + right) / 2, bridge - half
    width, height = _size(width), _size(height)
    # The chin keeps its place below the top edge when the height is evened out.
    middle = _smooth(top + half)
    top = middle - height / (2 * (1 + MARGIN / 2))
    centre_x = _smooth(centre_x)
    boxes = np.stack([centre_x - width / 2, top, centre_x + width / 2, top + height], axis=1)
    return boxes.astype(np.float32)


def _bridge(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rows that are not valid, interpolated between their neighbours around the loop."""
    known = np.flatnonzero(valid)
    if not known.size:
        raise ValueError("no frame has a face")
    index = np.arange(len(values))
    columns = [np.interp(index, known, column[known], period=len(values)) for column in values.T]
    return np.stack(columns, axis=1)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian filter around the loop; symmetric, hence without delay."""
    reach = min(int(3 * SMOOTH), (len(values) - 1) // 2)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / SMOOTH) ** 2)
    kernel /= kernel.sum()
    taken = (np.arange(len(values))[:, None] + offsets[None]) % len(values)
    return np.asarray(values[taken] @ kernel)


def _size(values: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth = _smooth(values)
    if float(smooth.max()) <= STEADY * float(smooth.min()):
        return np.full_like(values, np.percentile(smooth, 90))
    return smooth


def crop(frame: U8, box: F32 | Box) -> U8:
    """The box resized to u8 BGR ``[256, 256, 3]`` by Lanczos; outside the frame its edge is repeated.

    A box of whole pixels inside the frame is cut out and resized, exactly as upstream does it.
    """
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = (float(value) for value in box)
    whole = all(value == int(value) for value in (x0, y0, x1, y1))
    if whole and x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        part = frame[int(y0) : int(y1), int(x0) : int(x1)]
        return np.asarray(cv2.resize(part, (CROP, CROP), interpolation=cv2.INTER_LANCZOS4), np.uint8)
    sx, sy = (x1 - x0) / CROP, (y1 - y0) / CROP
    matrix = np.array([[sx, 0, x0 + 0.5 * sx - 0.5], [0, sy, y0 + 0.5 * sy - 0.5]])
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(frame, matrix, (CROP, CROP), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
