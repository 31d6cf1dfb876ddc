"""The painted portrait as it is shipped: one picture per built-in template, and eyes for every stage of a blink.

``python -m tools.portrait`` paints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

LIDS = (1.0, 0.72, 0.42, 0.16, 0.0)
"""Openings of the painted eye patches; the first is the picture itself."""
SCALE = 2
"""Pixels of the painting per pixel of the finished picture."""
PATCHES = "lids"
"""Name of the file with the patches, one below the other: the same eyes look out of every picture."""


@dataclass(frozen=True)
class Painting:
    """A painted portrait.

    Attributes:
        picture: u8 BGR ``[H * SCALE, W * SCALE, 3]``, eyes open.
        patches: per opening of ``LIDS`` the u8 BGR rectangle of both eyes.
        patch_at: column and row of the patches' upper left corner in ``picture``.
        origin: scene coordinates of the picture's upper left corner.
        size: width and height of the finished picture.
    """

    picture: NDArray[np.uint8]
    patches: tuple[NDArray[np.uint8], ...]
    patch_at: tuple[int, int]
    origin: tuple[float, float]
    size: tuple[int, int]


def load(name: str, size: tuple[int, int], origin: tuple[float, float]) -> Painting:
    """The shipped painting ``name``, of ``size``, whose upper left corner is ``origin`` in the scene."""
    picture = _read(name)
    patches = np.split(_read(PATCHES), len(LIDS))
    height, width = patches[0].shape[:2]
    # The patches are symmetrical about the point between the eyes, the scene's zero.
    column, row = round(-origin[0] * SCALE - width / 2), round(-origin[1] * SCALE - height / 2)
    picture[row : row + height, column : column + width] = patches[0]
    return Painting(picture, tuple(patches), (column, row), origin, size)


def _read(name: str) -> NDArray[np.uint8]:
    data = files("models.portrait").joinpath(f"{name}.webp").read_bytes()
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
