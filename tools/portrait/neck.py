"""Neck, collar-bones and a fine necklace."""

from __future__ import annotations

import numpy as np

from models.portrait.anatomy import face_outline
from tools.portrait.paint import F32, Canvas, Window, bump, mirrored, moved, noise, rgb, smoothstep, spline
from tools.portrait.skin import lights, shaded

GOLD = rgb(0xE3BC74)
_SIDE = ((52, 80), (50, 140), (51, 176), (60, 204), (96, 224), (150, 250), (160, 330))


def paint_neck(canvas: Canvas) -> None:
    """Neck and the skin above the collar, of the face's own colour and under the same lights."""
    side = spline(_SIDE, 120)
    neck = np.vstack([mirrored(side), side[::-1]])
    window = canvas.around(neck, 6)
    x, y = window.grid()
    wide = 56 + 190 * smoothstep(176, 275, y)
    z = 46 * np.sqrt(np.clip(1 - (x / wide) ** 2, 0.02, None)) - 0.16 * (y - 150) * smoothstep(190, 270, y)
    for way in (-1.0, 1.0):
        # The two cords that meet above the breastbone, and the collar-bones.
        z = z + 2.6 * _ridge(x, y, way * 40, 160, way * 9, 240, 6.5) * smoothstep(130, 190, y)
        z = z + 3.2 * bump(x, y, (way * 58, 239), (32, 4.5), way * -0.13)
    z = z - 4.0 * bump(x, y, (0, 244), (8, 8))
    key, fill, _ = lights(window, np.asarray(z))
    grain = 0.006 * noise(window.shape, 2.0 * canvas.scale, 5)
    # Its colour first, its edge last: shaded through the mask, the edge would stay light against the hair.
    skin = shaded(key, fill) * (1 + grain)[..., None]
    skin = skin * (1 - (1 - np.asarray(rgb(0xAD7260))) * _shadow_of_the_chin(window)[..., None])
    window.blend(np.asarray(skin, np.float32), window.mask(neck, 0.8))
    _necklace(canvas)


def _ridge(x: F32, y: F32, x0: float, y0: float, x1: float, y1: float, width: float) -> F32:
    """A soft ridge along the line between two points."""
    middle = x0 + (x1 - x0) * (y - y0) / (y1 - y0)
    return np.asarray(np.exp(-0.5 * ((x - middle) / width) ** 2), np.float32)


def _shadow_of_the_chin(window: Window) -> F32:
    """Soft where it falls far, darker right under the jaw; away from the window."""
    face = face_outline()
    near = window.mask(moved(face, 3, 11), 6.0)
    far = window.mask(moved(face * np.asarray([0.86, 1.0], np.float32), 8, 30), 10.0)
    return np.asarray(np.clip(0.66 * near + 0.55 * far, 0, 1), np.float32)


def _necklace(canvas: Canvas) -> None:
    chain = spline([(-50, 200), (-32, 226), (0, 247), (32, 226), (50, 200)], 120)
    canvas.stroke(moved(chain, 0.6, 1.6), 1.5, rgb(0x7A4A3A), 0.40, 0.9)
    canvas.stroke(chain, 1.0, GOLD, 0.85, 0.2)
    for link in chain[::4]:
        canvas.glow((float(link[0]) - 0.2, float(link[1]) - 0.3), (0.5, 0.5), rgb(0xFFF3CF), 0.7)
    canvas.glow((0.8, 253.5), (3.2, 3.2), rgb(0x7A4A3A), 0.40)
    canvas.fill(spline([(0, 247), (3.6, 251), (0, 255.5), (-3.6, 251)], 40, closed=True), GOLD, 1.0, 0.2)
    canvas.glow((-1.0, 250), (1.0, 1.0), (1, 1, 0.92), 0.9)
