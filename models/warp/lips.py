"""Light on moved lips: rounded ones roll into the dark of their opening."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.warp.geometry import Field
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
DEPTH, REACH = 0.20, 0.08
"""How dark rounded lips grow towards the opening, and over which distance, in half widths of the mouth at rest."""
LEAST = 0.05
"""Rounding below this has no shade; half heights of the opening below this share of the half width are this."""
WARM = np.array([1.12, 1.10, 0.80], np.float32)
"""Exponents of shade, BGR: light comes through lips red."""


def shade(moved: Sequence[U8], mouth: Field, first_column: int, state: MouthState, half: float) -> None:
    """Darken rounded lips around their opening, in place.

    Args:
        moved: both halves, u8 BGR ``[h, w, 3]``, the field's rectangle; the first may end above the second.
        mouth: the field between its corners.
        first_column: where these are in ``moved``.
        state: the mouth's state.
        half: half width of the mouth at rest, crop pixels.
    """
    amount = DEPTH * state.round * (1 - state.closed)
    if state.round * (1 - state.closed) < LEAST:
        return
    middle = int(np.abs(mouth.u).argmin())
    top, bottom = float(mouth.upper_edge[middle]), float(mouth.lower_edge[middle])
    margin = 3 * REACH * half
    end = max(map(len, moved))
    y0, y1 = max(int(top - margin) - mouth.y0, 0), min(int(bottom + margin) + 1 - mouth.y0, end)
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(mouth.y0 - (top + bottom) / 2)
    x = np.asarray(mouth.u * np.float32(mouth.half))
    across, down = max(mouth.inner * mouth.half, 1.0), max((bottom - top) / 2, LEAST * half)
    # How far outside of the oval hole a pixel lies, to the first order.
    level = np.sqrt((x / np.float32(across)) ** 2 + (y / np.float32(down)) ** 2)
    far = np.sqrt(x * x + y * y)
    far *= np.maximum(1 - 1 / np.maximum(level, 1e-3), 0) * np.float32(1 / (REACH * half))
    far *= np.sqrt(far)
    light = 1 - np.float32(amount) * np.exp(-far)
    shares = cv2.merge([light**exponent for exponent in WARM])
    for part in moved:
        window = part[y0:y1, first_column : first_column + len(x)]
        cv2.multiply(window, shares[: len(window)], dst=window, dtype=cv2.CV_8U)
