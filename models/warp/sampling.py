"""Pictures looked up at other places. OpenCV does it with four channels in half the time that it takes with three,
to the same levels, so that it pays to add one and to leave it out again.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]


def source(picture: U8) -> U8:
    """What ``sample`` takes: u8 BGR ``[h, w, 3]`` to ``[h, w, 4]``."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA), np.uint8)


def sample(made: U8, x: F32, y: F32, out: U8) -> None:
    """Fill ``out`` with what lies at ``x`` and ``y``, between pixels linearly; beyond the border it is repeated.

    Args:
        made: by ``source``.
        x: columns, f32 ``[h, w]``.
        y: rows, the same.
        out: u8 BGR ``[h, w, 3]``; rows may be apart.
    """
    found = cv2.remap(made, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cv2.cvtColor(found, cv2.COLOR_BGRA2BGR, dst=out)
