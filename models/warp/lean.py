"""A leaning face, turned upright before its mouth is moved and put back afterwards: along its own axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP
from models.media.paste import replaced
from models.templates.framing import box_alpha

U8 = NDArray[np.uint8]
Turn = NDArray[np.float64]
"""``[2, 3]``: from pixels of the upright crop to pixels of the template's; of many poses ``[L, 2, 3]``."""
_SIZE = (CROP, CROP)
_CUBIC = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP


def turns(axes: NDArray[np.float32], boxes: NDArray[np.int32]) -> Turn:
    """The turn of every pose: ``[L, 2, 3]``.

    Args:
        axes: ``[L, 3]``, see ``models.templates.framing.Framing``.
        boxes: i32 ``[L, 4]``, square.
    """
    roll = np.radians(axes[:, 2].astype(np.float64))
    cos, sin = np.cos(roll), np.sin(roll)
    turned = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    scale = CROP / (boxes[:, 2:] - boxes[:, :2])
    # Pixel centres, as in OpenCV's resize.
    middle = (axes[:, :2] - boxes[:, :2] + 0.5) * scale - 0.5
    shift = middle - turned.sum(axis=2) * ((CROP - 1) / 2)
    return np.concatenate([turned, shift[:, :, None]], axis=2)


def upright_points(points: NDArray[np.float32], turn: Turn) -> NDArray[np.float32]:
    """Points of the template's crop, ``[n, 2]``, in the upright one."""
    return np.asarray((points - turn[:, 2]) @ turn[:, :2], np.float32)


def upright(crop: U8, turn: Turn, top: int = 0) -> U8:
    """The face upright: u8 BGR ``[256, 256, 3]``. Beyond ``crop`` its border is repeated.

    Args:
        crop: of the template, u8 BGR ``[256, 256, 3]``.
        turn: of the pose.
        top: the rows above are not needed: they are black.
    """
    out = np.zeros((CROP, CROP, 3), np.uint8)
    matrix = np.column_stack([turn[:, :2], turn @ (0, top, 1)])
    cv2.warpAffine(crop, matrix, (CROP, CROP - top), dst=out[top:], flags=_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out


def put_back(crop: U8, before: U8, after: U8, turn: Turn) -> None:
    """Bring what was done to an upright crop into the template's, in place; what was not touched stays as it is.

    Args:
        crop: u8 BGR ``[256, 256, 3]``.
        before: the same upright.
        after: with the mouth moved.
        turn: of the pose.
    """
    change = cv2.multiply(replaced(before, after), _lower_face(), scale=1 / 255)
    x0, y0, x1, y1 = _around(cv2.boundingRect(change), turn)
    if x1 <= x0 or y1 <= y0:
        return
    size = (x1 - x0, y1 - y0)
    back = turn[:, :2].T
    matrix = np.column_stack([back, back @ ((x0, y0) - turn[:, 2])])
    alpha = cv2.merge([cv2.warpAffine(change, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)] * 3)
    shown = cv2.warpAffine(after, matrix, size, flags=_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    # Two rounded products: exact where alpha is 0 or 255.
    new = cv2.multiply(shown, alpha, scale=1 / 255)
    old = cv2.multiply(crop[y0:y1, x0:x1], cv2.bitwise_not(alpha), scale=1 / 255)
    crop[y0:y1, x0:x1] = cv2.add(new, old)


def _around(rectangle: Sequence[int], turn: Turn) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in the template's crop that hold ``rectangle`` (x, y, width, height) of the upright one."""
    x, y, width, height = rectangle
    if not width:
        return 0, 0, 0, 0
    corners = np.array([(x + right * width, y + low * height, 1) for right in (0, 1) for low in (0, 1)]) @ turn.T
    first = np.floor(corners.min(axis=0)).astype(int) - 2
    last = np.ceil(corners.max(axis=0)).astype(int) + 2
    return max(int(first[0]), 0), max(int(first[1]), 0), min(int(last[0]), CROP), min(int(last[1]), CROP)


def within(alpha: U8, turned: Turn) -> U8:
    """``alpha``, u8 ``[side, side]``, where one of ``turned`` (``[L, 2, 3]``) has something to paste; else 0."""
    used = np.zeros((CROP, CROP), np.bool_)
    for turn in np.unique(turned, axis=0):
        used |= cv2.warpAffine(_lower_face(), turn, _SIZE, flags=cv2.INTER_LINEAR) > 0
    wide = cv2.dilate(used.astype(np.uint8), np.ones((3, 3), np.uint8))
    return alpha * np.asarray(cv2.resize(wide, alpha.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


@lru_cache(maxsize=1)
def _lower_face() -> U8:
    return box_alpha(CROP)
