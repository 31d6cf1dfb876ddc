"""Pictures for DWPose out of a frame, and its points back into the frame. No torch."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Region = tuple[float, float, float, float]
"""x0, y0, x1, y1 in frame pixels; it may leave the frame."""

WIDTH, HEIGHT = 288, 384
FACE = slice(23, 91)
"""The 68 points of the face among the 133 of a person."""
_PADDING = 1.25


def region(width: float, height: float) -> tuple[float, float]:
    """Size of the frame rectangle that the network sees for a person of this size: padded, 3 to 4."""
    w, h = width * _PADDING, height * _PADDING
    ratio = WIDTH / HEIGHT
    return (w, w / ratio) if w > ratio * h else (h * ratio, h)


def picture(frame: U8, box: Region) -> U8:
    """The person in ``box`` of a u8 BGR frame as the network sees it, u8 BGR ``[384, 288, 3]``."""
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    k = WIDTH / region(box[2] - box[0], box[3] - box[1])[0]
    matrix = np.array([[k, 0, WIDTH / 2 - cx * k], [0, k, HEIGHT / 2 - cy * k]], np.float64)
    return np.asarray(cv2.warpAffine(frame, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)


def to_frame(points: F32, box: Region) -> NDArray[np.float64]:
    """Network coordinates ``[..., 2]`` to frame pixels for the person in ``box``.

    As published: the region's size in float32, the rest in float64. Whole pixels are cut off the result, and
    many bins lie so close to one that any other rounding moves the landmark by a pixel.
    """
    size = np.array(region(box[2] - box[0], box[3] - box[1]), np.float32)
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], np.float32)
    return np.asarray(points / (WIDTH, HEIGHT) * size + centre - 0.5 * size, np.float64)
