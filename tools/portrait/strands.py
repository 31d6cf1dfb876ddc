"""Single hairs, drawn in pieces of one colour each, onto a layer that is laid over the picture at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.portrait.paint import F32, Colour, Window, ramp, rgb

TONES = (rgb(0x150B09), rgb(0x36211A), rgb(0x66432F), rgb(0xA4744F), rgb(0xE3B98A))
STOPS = (0.0, 0.25, 0.52, 0.78, 1.0)
STEPS = 72
"""Places along a hair."""
U8 = NDArray[np.uint8]


@dataclass
class Layer:
    """Hair under the brush: its colour, and how much of the picture below it hides.

    Attributes:
        window: where on the canvas.
        colour: u8 RGB ``[h, w, 3]``, the picture below where there is no hair.
        cover: u8 ``[h, w]``.
        thin: cover of hairs that let the picture below shine through, u8 ``[h, w]``.
    """

    window: Window
    colour: U8
    cover: U8
    thin: U8

    @classmethod
    def over(cls, window: Window) -> Layer:
        """No hair yet."""
        colour = np.asarray(np.clip(window.pixels * 255, 0, 255), np.uint8)
        return cls(window, colour, np.zeros(window.shape, np.uint8), np.zeros(window.shape, np.uint8))

    def fill(self, points: F32, colour: Colour) -> None:
        """A closed mass."""
        shape = [self.pixels(points)]
        cv2.fillPoly(self.colour, shape, [255 * c for c in colour], cv2.LINE_AA, 4)
        cv2.fillPoly(self.cover, shape, 255, cv2.LINE_AA, 4)

    def pixels(self, points: F32) -> NDArray[np.int32]:
        """Scene points as OpenCV's fixed-point pixels."""
        c = self.window.canvas
        flat = (points - np.asarray(c.origin)) * c.scale - np.asarray([self.window.x0 + 0.5, self.window.y0 + 0.5])
        return np.asarray(np.rint(flat * 16), np.int32)

    def soft_cover(self) -> F32:
        """What hides the picture below, 0..1: the mass with a soft edge, thin hairs by their share."""
        cover = np.maximum(self.cover, self.thin)
        return np.asarray(cv2.GaussianBlur(cover, (0, 0), 0.8).astype(np.float32) / 255)


def draw(
    layer: Layer,
    paths: F32,
    level: F32,
    span: tuple[F32, F32],
    random: np.random.Generator,
    *,
    pieces: int = 26,
    opacity: float = 1.0,
    thick: float = 0.2,
) -> None:
    """Hairs side by side.

    Args:
        layer: receives them.
        paths: scene coordinates ``[n, STEPS, 2]``, root to tip.
        level: brightness ``[n, STEPS]`` on the scale of ``TONES``.
        span: shares of the length ``[n]`` at which each begins and ends.
        random: varies where colours change.
        pieces: of one colour each.
        opacity: below 1 the picture shines through.
        thick: share of hairs two pixels wide.
    """
    n = len(paths)
    points = layer.pixels(paths)
    first = (span[0] * (STEPS - 1)).astype(int)[:, None]
    last = np.maximum((span[1] * (STEPS - 1)).astype(int)[:, None], first + 6)
    last = np.minimum(last, STEPS - 1)
    cuts = _cuts(level, first, last, pieces, random)
    colours = (ramp(np.take_along_axis(level, cuts[:, :-1], 1), STOPS, TONES) * 255).tolist()
    widths = np.where(random.random(n) < thick, 2, 1).tolist()
    cover, value = (layer.cover, 255.0) if opacity >= 1 else (layer.thin, 255 * opacity)
    for k, hair in enumerate(points):
        at = cuts[k].tolist()
        cv2.polylines(cover, [hair[at[0] : at[-1] + 1]], False, value, 1, cv2.LINE_AA, 4)
        _pieces(layer.colour, hair, at, colours[k], widths[k])


def _cuts(
    level: F32, first: NDArray[np.int_], last: NDArray[np.int_], pieces: int, random: np.random.Generator
) -> NDArray[np.int_]:
    """Where the pieces of hairs begin and end ``[n, pieces + 1]``: short ones where the brightness changes."""
    change = np.abs(np.diff(level, axis=1, prepend=level[:, :1])) + 0.3 / STEPS
    way = np.cumsum(change, axis=1)
    begin, end = np.take_along_axis(way, first, 1), np.take_along_axis(way, last, 1)
    share = np.linspace(0, 1, pieces + 1) + random.uniform(-0.5, 0.5, (len(level), 1)) / pieces
    wanted = begin + (end - begin) * np.clip(share, 0, 1)
    found = np.stack([np.searchsorted(row, values) for row, values in zip(way, wanted, strict=True)])
    found[:, 0], found[:, -1] = first[:, 0], last[:, 0]
    return np.asarray(np.clip(found, first, last), np.int_)


def _pieces(
    colour: U8, hair: NDArray[np.int32], at: Sequence[int], tones: Sequence[list[float]], width: int
) -> None:
    thin_from = len(tones) * 3 // 4
    for piece, tone in enumerate(tones):
        if at[piece] < at[piece + 1]:
            line = hair[at[piece] : at[piece + 1] + 1]
            cv2.polylines(colour, [line], False, tone, width if piece < thin_from else 1, cv2.LINE_AA, 4)
