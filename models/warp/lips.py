"""Light on moved lips: rounded ones roll into the dark of their opening, and meet in a dark line beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.warp.geometry import Field
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
DEPTH, REACH = 0.22, 0.09
"""How dark rounded lips grow towards the opening (natural logarithm of the light), and over which distance, in
half widths of the mouth at rest."""
LINE, LINE_OPEN, THICK = 1.0, (1.5, 0.7), 0.03
"""How dark the line is where they meet, as sharp as can be; how much less per half width of gap, and at most; and
how far it is felt up and down, in half widths."""
FROM, RISE = 0.80, 0.15
"""From where on there is a line, and over which distance it grows, in half widths of the opening."""
UNTIL, FALL = 0.92, 0.23
"""Where it ends, in half widths of the moved mouth, and over which distance it fades."""
FAR = 2.2
"""Nothing is darkened further off than this, in what the shade and the line are felt over."""
LEAST = 0.05
"""Rounding below this has no shade; half heights of the opening below this share of the half width are this."""
COLD, RED = 1.11, 0.80
"""How much blue and green have of that, and red: light comes through lips red."""


def shade(
    moved: Sequence[U8], mouth: Field, first_column: int, state: MouthState, half: float, soft: float
) -> None:
    """Darken rounded lips around their opening and, beside it, where they meet, in place.

    Args:
        moved: both halves, u8 BGR ``[h, w, 3]``, the field's rectangle; the first may end above the second.
        mouth: the field between its corners.
        first_column: where these are in ``moved``.
        state: the mouth's state.
        half: half width of the mouth at rest, crop pixels.
        soft: blur of the picture's edges, sigma in pixels.
    """
    amount = state.round * (1 - state.closed)
    if amount < LEAST:
        return
    middle = int(np.abs(mouth.u).argmin())
    top, bottom = float(mouth.upper_edge[middle]), float(mouth.lower_edge[middle])
    seam = (mouth.upper_edge + mouth.lower_edge) * np.float32(0.5)
    margin = FAR * REACH * half
    y0 = max(int(min(top, float(seam.min())) - margin) - mouth.y0, 0)
    y1 = min(int(max(bottom, float(seam.max())) + margin) + 1 - mouth.y0, max(map(len, moved)))
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(mouth.y0)
    across, down = max(mouth.inner * mouth.half, 1.0), max((bottom - top) / 2, LEAST * half)
    x2, y2 = (mouth.u * np.float32(mouth.half)) ** 2, (y - np.float32((top + bottom) / 2)) ** 2
    # How far outside of the oval hole a pixel lies, to the first order.
    dark = x2 * np.float32(across**-2) + y2 * np.float32(down**-2)
    np.maximum(dark, 1, out=dark)
    np.sqrt(dark, out=dark)
    np.divide(-1, dark, out=dark)
    dark += 1
    dark *= dark
    dark *= (x2 + y2) * np.float32(-((REACH * half) ** -2))
    dark += np.float32(math.log(DEPTH * amount))
    np.exp(dark, out=dark)
    line = LINE * (amount - LEAST) * (1 - min(LINE_OPEN[0] * state.open, LINE_OPEN[1]))
    dark += _line(mouth, y - seam, line, half, soft)
    red = dark * np.float32(-RED)
    np.exp(red, out=red)
    dark *= -COLD
    np.exp(dark, out=dark)
    shares = cv2.merge([dark, dark, red])
    for part in moved:
        window = part[y0:y1, first_column : first_column + len(seam)]
        cv2.multiply(window, shares[: len(window)], dst=window, dtype=cv2.CV_8U)


def _line(mouth: Field, off: F32, amount: float, half: float, soft: float) -> F32:
    """The dark between lips that meet beside the opening: without it their red would be a ring around it.

    Args:
        mouth: the field between its corners.
        off: of each pixel from where the lips meet, rows: ``[h, w]``. Overwritten.
        amount: of the line where it is sharp.
        half: half width of the mouth at rest.
        soft: blur of the picture's edges.
    """
    thick = math.hypot(THICK * half, soft)
    amount *= THICK * half / thick
    full = min((FROM + RISE) * mouth.inner, UNTIL)
    places = min(FROM * mouth.inner, full), full, max(full, UNTIL - FALL), UNTIL
    ends = np.interp(np.abs(mouth.u), places, (0, amount, amount, 0))
    off *= off
    off *= np.float32(-(thick**-2))
    np.exp(off, out=off)
    off *= ends.astype(np.float32)
    return off
