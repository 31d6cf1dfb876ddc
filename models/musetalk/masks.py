"""Which pixels of a frame the generated face replaces: face parsing, morphology, blur; and the exact blend.

The odd parts (a dilation that grows upwards, a 512-pixel detour with two kinds of resampling) decide what the
published pictures look like, so they are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.musetalk.constants import PARSED
from models.musetalk.geometry import Box

U8 = NDArray[np.uint8]

SKIN, NOSE, MOUTH, NECK = 1, 10, (11, 12, 13), 14
EXPAND = 1.5
UPPER = 0.5
"""Share of the expanded crop, from its top, that is never replaced."""
BLUR = {"offline": 0.05, "realtime": 0.10}
CHEEK = 90
"""Half width, in pixels of 512, of the middle band whose skin is dilated without being eroded."""


def expanded(box: Box) -> Box:
    """The square around a face box that is parsed; it may leave the frame."""
    x0, y0, x1, y1 = box
    cx, cy = (x0 + x1) // 2, (y0 + y1) // 2
    half = int(max(x1 - x0, y1 - y0) // 2 * EXPAND)
    return cx - half, cy - half, cx + half, cy + half


def parser_picture(frame: U8, square: Box) -> U8:
    """The square of a u8 BGR frame as the parser sees it, u8 RGB ``[512, 512, 3]``; black outside the frame."""
    picture = Image.fromarray(np.ascontiguousarray(frame[..., ::-1])).crop(square)
    return np.asarray(picture.resize((PARSED, PARSED), Image.Resampling.BILINEAR), np.uint8)


@lru_cache(maxsize=1)
def jaw_kernel() -> U8:
    """33x33: a triangle over a block. Dilation reflects it: 16 rows up, 6 down, 10 columns to each side."""
    kernel = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        half = min(row - 10, 10)
        kernel[row, 16 - half : 17 + half] = 1
    return kernel


def region(classes: NDArray[np.integer[Any]], mode: str, cheek: int = CHEEK) -> U8:
    """What is replaced, 0 or 255, u8 ``[512, 512]``, of a class map ``[512, 512]``.

    Args:
        mode: "jaw", "neck", "raw", or "v10" (everything but background, neck, clothes and hair).
        cheek: see ``CHEEK``.
    """
    if mode == "v10":
        chosen = (classes >= 1) & (classes <= 13)
    else:
        chosen = np.isin(classes, (SKIN, *MOUTH) if mode != "neck" else (SKIN, *MOUTH, NECK))
    if mode == "jaw":
        skin = np.asarray((classes == SKIN) * 255, np.uint8)
        grown = cv2.dilate(skin, jaw_kernel(), iterations=1)
        shrunk = cv2.erode(grown, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2)
        column = np.arange(PARSED)
        sides = (column <= PARSED // 2 - cheek) | (column >= PARSED // 2 + cheek)
        moved = np.where(sides[None], shrunk, grown) > 0
        chosen = (moved & (classes != NOSE)) | np.isin(classes, MOUTH)
    return np.asarray(chosen * 255, np.uint8)


def soft_mask(chosen: U8, box: Box, square: Box, ratio: float) -> U8:
    """The mask over the expanded square: the lower half of the face box, blurred; u8 ``[2s, 2s]``."""
    side = square[2] - square[0]
    large = np.asarray(Image.fromarray(chosen).resize((side, side)), np.uint8)
    kept = np.zeros_like(large)
    x0, y0 = box[0] - square[0], box[1] - square[1]
    x1, y1 = x0 + box[2] - box[0], y0 + box[3] - box[1]
    kept[y0:y1, x0:x1] = large[y0:y1, x0:x1]
    kept[: int(side * UPPER)] = 0
    k = int(ratio * side // 2 * 2) + 1
    return np.asarray(cv2.GaussianBlur(kept, (k, k), 0), np.uint8)


def in_crop(mask: U8, square: Box, box: Box, own: NDArray[np.int32], side: int) -> U8:
    """A mask over ``square``, resampled into the template's crop: u8 ``[side, side]``.

    Args:
        box: the face box; the blur that reaches beyond it has no face to show and is left out.
        own: i32 ``[4]``, the template's box.
    """
    x0, y0, x1, y1 = (value - square[k % 2] for k, value in enumerate(box))
    inner = np.zeros_like(mask)
    inner[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    sx, sy = (own[2] - own[0]) / side, (own[3] - own[1]) / side
    matrix = np.array(
        [
            [sx, 0, own[0] + 0.5 * sx - 0.5 - square[0]],
            [0, sy, own[1] + 0.5 * sy - 0.5 - square[1]],
        ],
        np.float64,
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(inner, matrix, (side, side), flags=flags), np.uint8)
