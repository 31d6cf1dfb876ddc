"""Eyes stay with the listener while the head nods and sways, and glance aside for a moment now and then.

The irises are moved within the open eye; lids go with the head. Where lids are closed there is nothing to move.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP
from models.landmarks import measure

F32 = NDArray[np.floating[Any]]
HELD = 0.6
"""How much of the head's movement the irises do not go along with; all of it would need eyes that can roll."""
FINE = 4
"""Bits of a pixel's fractions in which the outline of an eye is drawn."""
RIM, BOXES = 0.16, 2.4
"""Over so much of the eye's height, beyond its lids, what moves meets what does not (sigma); and the side of
two boxes that are as soft, in sigmas."""
OPEN = 0.12
"""Height of an eye, in its widths, from which on it is open."""
MOST = 0.3
"""Of the height of an eye: the irises go no further, or skin would."""
LIDS = (
    measure.LEFT_EYE_UPPER + measure.LEFT_EYE_LOWER[::-1],
    measure.RIGHT_EYE_UPPER + measure.RIGHT_EYE_LOWER[::-1],
)


class Seen(NamedTuple):
    """A part of an iris."""

    mask: F32
    """f32 ``[h, w]``, 0 to 1."""
    crop: tuple[slice, slice]
    """Where it is."""
    part: tuple[slice, slice]
    """The same, counted from the rows and columns that were asked for."""


class Iris(NamedTuple):
    """Where one eye's iris moves."""

    y0: int
    x0: int
    mask: F32
    """f32 ``[h, w]``, 0 to 1."""
    held: float
    """How much of the head's movement it does not go along with."""
    aside: float
    """Where it looks, pixels to the right."""

    def seen(self, rows: slice, columns: slice) -> Seen | None:
        """What of it lies in these rows and columns of the crop; None: nothing."""
        height, width = self.mask.shape
        top, bottom = max(self.y0, rows.start), min(self.y0 + height, rows.stop)
        left, right = max(self.x0, columns.start), min(self.x0 + width, columns.stop)
        if top >= bottom or left >= right:
            return None
        mask = self.mask[top - self.y0 : bottom - self.y0, left - self.x0 : right - self.x0]
        part = np.s_[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start]
        return Seen(mask, np.s_[top:bottom, left:right], part)


def lids(mesh: NDArray[np.floating[Any]], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Outlines of both eyes in every pose, pixels of the crop: f32 ``[L, 2, 18, 2]``.

    Args:
        mesh: ``[L, 468, 2 or 3]``, pixels of the frames.
        boxes: i32 ``[L, 4]``.
    """
    scale = CROP / (boxes[:, 2:] - boxes[:, :2]).astype(np.float32)
    points = np.asarray(mesh[:, np.array(LIDS), :2], np.float32)
    corner = boxes[:, None, None, :2].astype(np.float32)
    # OpenCV's resize maps pixel centres: x' = (x + 0.5) * scale - 0.5.
    return np.asarray((points - corner + 0.5) * scale[:, None, None, :] - 0.5, np.float32)


def iris(
    outline: NDArray[np.float32], moved: tuple[float, float], glance: float = 0.0, shut: float = 0.0
) -> Iris | None:
    """One eye of a pose; None where it is closed.

    Args:
        outline: f32 ``[18, 2]``, see ``lids``.
        moved: how far the head has carried it, right and down.
        glance: to the right, in widths of the eye.
        shut: how far a blink that the points do not follow has closed it.
    """
    width = float(np.hypot(*(outline[8] - outline[0])))
    height = float(outline[11:16, 1].sum() - outline[2:7, 1].sum()) / 5
    openness = min(height / max(width * OPEN, 1e-6) - 1, 1.0) * (1 - shut)
    if openness <= 0:
        return None
    points = outline + np.asarray(moved, np.float32)
    box = max(round(RIM * height * BOXES), 1)
    low, high = points.min(axis=0), points.max(axis=0)
    x0, y0 = (max(int(v) - box, 0) for v in low)
    x1, y1 = (min(int(v) + box + 2, CROP) for v in high)
    if x0 >= x1 or y0 >= y1:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    drawn = ((points - np.array((x0, y0), np.float32)) * (1 << FINE) + 0.5).astype(np.int32)
    cv2.fillPoly(mask, [drawn], 255, cv2.LINE_AA, FINE)
    soft = np.asarray(cv2.blur(cv2.blur(mask, (box, box)), (box, box)), np.float32)
    head = float(np.hypot(*moved))
    most = MOST * height
    held, aside = min(HELD, most / max(head, 1e-6)), min(max(glance * width, -most), most)
    return Iris(y0, x0, soft * np.float32(openness / 255), held, aside)
