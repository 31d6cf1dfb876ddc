"""The whole picture, painted once; eye patches for every stage of a blink."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.portrait.anatomy import EYE
from models.portrait.painting import LIDS, SCALE, Painting
from tools.portrait import body, eyes, hair, neck, room, skin
from tools.portrait.paint import Canvas, rgb


def paint(size: tuple[int, int], origin: tuple[float, float]) -> Painting:
    """Paint the portrait into a picture of ``size`` whose upper left corner is ``origin`` in the scene."""
    canvas = Canvas.blank(size, origin, SCALE)
    room.paint_room(canvas)
    hair.paint_back(canvas)
    neck.paint_neck(canvas)
    body.paint_clothes(canvas)
    skin.paint_ears(canvas)
    skin.paint_face(canvas)
    eyes.paint_brows(canvas, rgb(0x55372A))
    hair.shade_face(canvas)
    hair.paint_front(canvas)
    window = canvas.window((-EYE[0] - eyes.PATCH[0], -eyes.PATCH[1]), (EYE[0] + eyes.PATCH[0], eyes.PATCH[1]))
    bare = window.pixels.copy()
    patches = []
    for opening in LIDS[::-1]:
        window.pixels[...] = bare
        eyes.paint_eyes(canvas, opening)
        patches.append(_finished(window.pixels))
    return Painting(_finished(canvas.pixels), tuple(patches[::-1]), (window.x0, window.y0), origin, size)


def _finished(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    soft = cv2.GaussianBlur(pixels[..., ::-1], (0, 0), 0.6)
    return np.asarray(np.clip(soft * 255 + 0.5, 0, 255), np.uint8)
