"""A small brush set: splines, soft-edged shapes, tapered strokes and noise on a float canvas.

Scene units are pixels of the finished picture; a canvas holds ``scale`` canvas pixels per unit so that every
edge is anti-aliased when the picture is brought down. Colours are sRGB in 0..1, given as red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from models.portrait.curves import F32 as F32
from models.portrait.curves import smoothstep as smoothstep
from models.portrait.curves import spline as spline

Colour = tuple[float, float, float]
_SHIFT = 4
"""Fractional bits of polygon coordinates handed to OpenCV."""


def rgb(code: int) -> Colour:
    """``0xRRGGBB`` as three numbers in 0..1."""
    return ((code >> 16 & 255) / 255, (code >> 8 & 255) / 255, (code & 255) / 255)


def tone(code: int) -> F32:
    """``0xRRGGBB`` as an array, for pictures of colour."""
    return np.asarray(rgb(code), np.float32)


def ramp(level: F32, stops: Sequence[float], colours: Sequence[Colour]) -> F32:
    """Colours along a scale: ``level`` of any shape to f32 ``[..., 3]``."""
    table = np.asarray(colours, np.float32)
    return np.stack([np.interp(level, stops, table[:, k]) for k in range(3)], axis=-1).astype(np.float32)


def mirrored(points: ArrayLike) -> F32:
    """The same points on the other side of the face's middle."""
    return np.asarray(points, np.float32) * np.asarray([-1, 1], np.float32)


def moved(points: F32, dx: float, dy: float) -> F32:
    """The same points somewhere else."""
    return np.asarray(points + np.asarray([dx, dy], np.float32), np.float32)


def bump(x: F32, y: F32, at: tuple[float, float], radius: tuple[float, float], turn: float = 0.0) -> F32:
    """A Gaussian hill of height 1: centre, radii (standard deviations), rotation in radians."""
    dx, dy = x - at[0], y - at[1]
    if turn:
        c, s = float(np.cos(turn)), float(np.sin(turn))
        dx, dy = c * dx + s * dy, -s * dx + c * dy
    return np.asarray(np.exp(-0.5 * ((dx / radius[0]) ** 2 + (dy / radius[1]) ** 2)), np.float32)


def noise(shape: tuple[int, int], grain: float, seed: int) -> F32:
    """Smooth noise with zero mean and unit deviation; ``grain`` is the size of its spots in pixels."""
    random = np.random.default_rng(seed)
    small = (max(2, int(shape[0] / grain) + 2), max(2, int(shape[1] / grain) + 2))
    field = random.standard_normal(small, np.float32)
    return np.asarray(cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


@dataclass
class Canvas:
    """A picture under the brush.

    Attributes:
        pixels: f32 RGB ``[H, W, 3]``.
        origin: scene coordinates of the upper left corner.
        scale: canvas pixels per scene unit.
    """

    pixels: F32
    origin: tuple[float, float]
    scale: float

    @classmethod
    def blank(cls, size: tuple[int, int], origin: tuple[float, float], scale: float) -> Canvas:
        """A black canvas for a finished picture of ``size`` (width, height)."""
        shape = (round(size[1] * scale), round(size[0] * scale), 3)
        return cls(np.zeros(shape, np.float32), origin, scale)

    def window(self, low: tuple[float, float], high: tuple[float, float]) -> Window:
        """The part between two scene points, clipped to the canvas."""
        height, width = self.pixels.shape[:2]
        x0, y0 = ((low[k] - self.origin[k]) * self.scale for k in (0, 1))
        x1, y1 = ((high[k] - self.origin[k]) * self.scale for k in (0, 1))
        box = (
            int(np.clip(np.floor(x0), 0, width)),
            int(np.clip(np.floor(y0), 0, height)),
            int(np.clip(np.ceil(x1), 0, width)),
            int(np.clip(np.ceil(y1), 0, height)),
        )
        return Window(self, *box)

    def whole(self) -> Window:
        """All of it."""
        return Window(self, 0, 0, self.pixels.shape[1], self.pixels.shape[0])

    def around(self, points: F32, margin: float) -> Window:
        """The part that holds ``points`` and a margin in scene units."""
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        return self.window((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))

    def fill(self, points: F32, colour: Colour, opacity: float = 1.0, feather: float = 0.0) -> None:
        """Paint the inside of a polygon; ``feather`` is the blur of its edge in scene units."""
        window = self.around(points, 3 * feather + 1)
        window.blend(colour, window.mask(points, feather) * np.float32(opacity))

    def stroke(
        self,
        points: F32,
        width: float | Sequence[float],
        colour: Colour,
        opacity: float = 1.0,
        feather: float = 0.0,
    ) -> None:
        """Paint along a curve; ``width`` may be given at several places along it (tapered ends)."""
        self.fill(ribbon(points, width), colour, opacity, feather)

    def glow(
        self,
        at: tuple[float, float],
        radius: tuple[float, float],
        colour: Colour,
        opacity: float,
        turn: float = 0.0,
    ) -> None:
        """A soft spot of colour."""
        reach = 3 * max(radius)
        window = self.window((at[0] - reach, at[1] - reach), (at[0] + reach, at[1] + reach))
        x, y = window.grid()
        window.blend(colour, bump(x, y, at, radius, turn) * np.float32(opacity))


def ribbon(points: F32, width: float | Sequence[float]) -> F32:
    """The outline of a curve with a width: polygon ``[2n, 2]``."""
    n = len(points)
    widths = np.atleast_1d(np.asarray(width, np.float32))
    half = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
    return np.vstack([points + normal * half, (points - normal * half)[::-1]]).astype(np.float32)


@dataclass
class Window:
    """A rectangle of a canvas, in canvas pixels."""

    canvas: Canvas
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.y1 - self.y0, self.x1 - self.x0)

    @property
    def pixels(self) -> F32:
        """A view of the canvas' pixels."""
        return self.canvas.pixels[self.y0 : self.y1, self.x0 : self.x1]

    def grid(self) -> tuple[F32, F32]:
        """Scene coordinates of every pixel: x as ``[1, w]`` and y as ``[h, 1]``."""
        c = self.canvas
        x = (np.arange(self.x0, self.x1, dtype=np.float32) + 0.5) / c.scale + c.origin[0]
        y = (np.arange(self.y0, self.y1, dtype=np.float32) + 0.5) / c.scale + c.origin[1]
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)

    def mask(self, points: F32, feather: float = 0.0) -> F32:
        """Coverage of a polygon, 0..1."""
        c = self.canvas
        flat = (points - np.asarray(c.origin, np.float32)) * c.scale - np.asarray(
            [self.x0 + 0.5, self.y0 + 0.5], np.float32
        )
        mask = np.zeros(self.shape, np.uint8)
        if mask.size:
            cv2.fillPoly(mask, [np.rint(flat * (1 << _SHIFT)).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
        soft = mask.astype(np.float32) * np.float32(1 / 255)
        return self.blurred(soft, feather)

    def blurred(self, mask: F32, feather: float) -> F32:
        """A Gaussian blur of ``feather`` scene units."""
        sigma = feather * self.canvas.scale
        if sigma <= 0.3 or not mask.size:
            return mask
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)

    def blend(self, colour: Colour | F32, mask: F32) -> None:
        """``pixels += (colour - pixels) * mask``; the colour may be a picture of the window's shape."""
        pixels = self.pixels
        pixels += (np.asarray(colour, np.float32) - pixels) * mask[..., None]

    def shade(self, factor: Colour | F32, mask: F32) -> None:
        """Multiply by ``factor`` where ``mask`` is 1."""
        self.pixels[...] *= 1 + (np.asarray(factor, np.float32) - 1) * mask[..., None]

    def screen(self, colour: Colour | F32, mask: F32) -> None:
        """Add light."""
        pixels = self.pixels
        pixels += (1 - pixels) * np.asarray(colour, np.float32) * mask[..., None]
