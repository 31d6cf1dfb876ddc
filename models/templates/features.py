"""Warps of a face's features within a photo: lids that close; and what lips use, too. The photo's own pixels only.

Every warp is looked up backwards along the feature's own cross direction ``t`` (down the face), as a function
of the place ``s`` along it, so a leaning head is no special case.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import measure

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
UPPER_SHARE = 0.86
"""How much of a blink the upper lid makes."""
LASH = 0.16
"""Height of the lashes that move with the upper lid, in heights of the open eye."""


class Frame(NamedTuple):
    """Coordinates along a feature: ``origin + s * along + t * down``, pixels."""

    origin: F32
    along: F32
    down: F32

    def local(self, points: F32) -> F32:
        """``[n, 2]`` pixels to ``[n, 2]`` (s, t)."""
        offset = points - self.origin
        return np.stack([offset @ self.along, offset @ self.down], axis=-1)

    def grid(self, x0: int, y0: int, x1: int, y1: int) -> tuple[F32, F32, F32, F32]:
        """x, y, s and t of every pixel of a window."""
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        dx, dy = x - np.float32(self.origin[0]), y - np.float32(self.origin[1])
        ax, ay = (np.float32(v) for v in self.along)
        bx, by = (np.float32(v) for v in self.down)
        return x, y, dx * ax + dy * ay, dx * bx + dy * by


def frame_between(left: F32, right: F32) -> Frame:
    """The frame whose s axis runs from ``left`` to ``right``."""
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    return Frame(np.asarray(left, np.float64), along, np.array([-along[1], along[0]]))


class Curve:
    """A feature's edge: t as a smooth function of s, constant beyond its ends."""

    def __init__(self, local: F32) -> None:
        order = np.argsort(local[:, 0])
        self._s, self._t = local[order, 0], local[order, 1]

    def __call__(self, s: F32) -> F32:
        """t at every ``s``."""
        fine = np.linspace(self._s[0], self._s[-1], 65)
        t = np.interp(fine, self._s, self._t)
        for _ in range(6):  # rounds the corners of the polyline, keeps its ends
            t[1:-1] = (t[:-2] + 2 * t[1:-1] + t[2:]) / 4
        return np.asarray(np.interp(s, fine, t), np.float32)


def smooth(value: F32 | float) -> F32:
    """From 0 to 1 as ``value`` does, without a kink at either end."""
    t = np.clip(value, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def window_around(points: F32, reach: float, picture: U8) -> tuple[int, int, int, int]:
    """What of ``picture`` lies within ``reach`` of ``points``, pixels: x0, y0, x1, y1."""
    height, width = picture.shape[:2]
    low = np.floor(points.min(axis=0) - reach).astype(int)
    high = np.ceil(points.max(axis=0) + reach).astype(int) + 1
    return max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]), width), min(int(high[1]), height)


def look_up(picture: U8, window: tuple[int, int, int, int], x: F32, y: F32, frame: Frame, shift: F32) -> F32:
    """The picture at (x, y) moved by ``shift`` down the face, f32."""
    map_x = np.asarray(x + shift * np.float32(frame.down[0]), np.float32)
    map_y = np.asarray(y + shift * np.float32(frame.down[1]), np.float32)
    found = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def close_eyes(picture: U8, points: F32, amount: float) -> None:
    """Close both eyes of ``picture`` in place.

    Args:
        picture: u8 BGR ``[H, W, 3]``.
        points: ``[468, 2]``, its pixels.
        amount: 0 as they are, 1 closed.
    """
    for upper, lower, brow in (
        (measure.LEFT_EYE_UPPER, measure.LEFT_EYE_LOWER, measure.LEFT_BROW),
        (measure.RIGHT_EYE_UPPER, measure.RIGHT_EYE_LOWER, measure.RIGHT_BROW),
    ):
        _close_eye(picture, points[list(upper)], points[list(lower)], points[list(brow)], amount)


def _close_eye(picture: U8, upper: F32, lower: F32, brow: F32, amount: float) -> None:
    frame = frame_between(upper[0], upper[-1])
    lid, under = Curve(frame.local(upper)), Curve(frame.local(lower))
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    window = window_around(np.vstack([upper, lower]), 0.75 * width, picture)
    x, y, s, t = frame.grid(*window)
    u, low = lid(s), under(s)
    inside = smooth(s / (0.06 * width)) * smooth((width - s) / (0.06 * width))
    height = np.maximum(low - u, 0) * inside
    tall = float(height.max(initial=0.0))
    if tall < 1:
        return
    meet = u + UPPER_SHARE * height
    drop = np.asarray(amount * (meet - u), np.float32)
    rise = np.asarray(amount * (1 - UPPER_SHARE) * height, np.float32)

    # The skin of the lid stretches between the brow and the lashes; the lashes keep their shape.
    brow_t = float(frame.local(brow)[:, 1].mean())
    top = np.minimum(np.float32(max(brow_t * 0.8, -0.55 * width)), u - np.float32(0.5 * tall))
    edge = u + drop
    stretch = np.clip((t - top) / np.maximum(edge - 0.12 * tall - top, 0.5), 0, 1)
    shut = look_up(picture, window, x, y, frame, -drop * stretch**1.35)
    bottom = low + np.float32(0.8 * tall)
    pull = np.clip((bottom - t) / np.maximum(bottom - (low - rise), 0.5), 0, 1)
    raised = look_up(picture, window, x, y, frame, rise * smooth(pull))

    # The fold and the shadow above an open eye flatten out: most of the lid has the skin of its surroundings.
    x0, y0, x1, y1 = window
    fold = np.maximum(0.62 * height, 0.38 * tall * inside)
    eye = (t > u - fold) & (t < low + 0.30 * height + 0.1 * tall) & (inside > 0)
    skin = _skin(picture[y0:y1, x0:x1], eye)
    sides = smooth(s / (0.22 * width)) * smooth((width - s) / (0.22 * width))
    flat = (
        smooth((t - (u - fold)) / np.maximum(0.95 * fold, 1))
        * (0.35 + 0.65 * sides)
        * inside
        * np.minimum(1, 1.4 * amount)
    )
    shut += (skin - shut) * (0.92 * flat)[..., None]

    out = picture[y0:y1, x0:x1].astype(np.float32)
    out += (raised - out) * np.clip(t - (low - rise) + 0.5, 0, 1)[..., None]
    lash = np.maximum(LASH * height, 0.5)
    over = smooth((edge + lash - t) / lash) * (t > top)
    out += (shut - out) * np.where(drop > 0, over, 0)[..., None]
    # Where the eye's corners were dark, the lower lid is skin when the lids have met.
    under_lid = smooth((t - edge) / np.maximum(0.1 * tall, 1)) * smooth((low + 0.25 * tall - t) / (0.35 * tall))
    out += (skin - out) * (0.8 * under_lid * inside * smooth((amount - 0.6) / 0.4))[..., None]
    # A closed lid curves away from the light; its lashes lie as one dark line where the lids meet.
    arch = np.clip(height / (0.45 * tall), 0, 1)
    line = np.exp(-0.5 * ((t - edge - 0.04 * tall) / np.float32(0.036 * width)) ** 2) * arch
    dome = smooth((t - (u - fold)) / np.maximum(edge - u + fold, 1)) * (t < edge + lash) * arch
    dark = np.percentile(picture[y0:y1, x0:x1][eye], 8, axis=0).astype(np.float32)
    out *= (1 - amount * 0.06 * dome)[..., None]
    out += (dark - out) * (0.78 * amount * line)[..., None]
    picture[y0:y1, x0:x1] = np.clip(out + 0.5, 0, 255).astype(np.uint8)


SKIN_SIDE = 48
"""Width of the picture in which the skin over an eye is filled in; it has no detail to lose."""


def _skin(window: U8, eye: NDArray[np.bool_]) -> F32:
    """The window with the eye filled in from the skin around it, smoothed: f32."""
    height, width = eye.shape
    size = (SKIN_SIDE, max(8, round(height * SKIN_SIDE / width)))
    small = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(eye.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
    # Wider than the eye: lashes and liner must not bleed into the skin.
    wide = cv2.dilate((mask > 8).astype(np.uint8), np.ones((3, 5), np.uint8))
    filled = cv2.inpaint(small, wide, 4, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(filled, (0, 0), 1.6)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
