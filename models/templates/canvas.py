"""Rectangles of an I420 picture, to BGR and back: what a frame and its still surroundings share is kept."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.media.paste import BGR_TO_YUV, planes

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1, all even."""


def _inverse() -> NDArray[np.float32]:
    """3x4: limited-range Y, Cb, Cr to full-range BGR."""
    turn = np.linalg.inv(BGR_TO_YUV[:, :3].astype(np.float64))
    return np.column_stack([turn, -turn @ BGR_TO_YUV[:, 3]]).astype(np.float32)


_YUV_TO_BGR = _inverse()


def read_bgr(i420: U8, box: Box) -> U8:
    """The rectangle as u8 BGR ``[h, w, 3]``; chroma is repeated."""
    x0, y0, x1, y1 = box
    y, u, v = planes(i420)
    half = (slice(y0 // 2, y1 // 2), slice(x0 // 2, x1 // 2))
    size = (x1 - x0, y1 - y0)
    chroma = [cv2.resize(np.ascontiguousarray(p[half]), size, interpolation=cv2.INTER_NEAREST) for p in (u, v)]
    merged = cv2.merge([np.ascontiguousarray(y[y0:y1, x0:x1]), *chroma])
    return np.asarray(cv2.transform(merged, _YUV_TO_BGR), np.uint8)


def write_bgr(i420: U8, box: Box, part: U8) -> None:
    """Put ``part``, u8 BGR ``[h, w, 3]``, into the rectangle."""
    x0, y0, x1, y1 = box
    y, u, v = planes(i420)
    y[y0:y1, x0:x1] = cv2.extractChannel(cv2.transform(part, BGR_TO_YUV), 0)
    small = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA)
    chroma = cv2.transform(small, BGR_TO_YUV)
    window = (slice(y0 // 2, y1 // 2), slice(x0 // 2, x1 // 2))
    u[window] = cv2.extractChannel(chroma, 1)
    v[window] = cv2.extractChannel(chroma, 2)
