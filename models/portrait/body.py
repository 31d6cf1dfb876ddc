"""Neck, shoulders and clothes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.portrait.paint import F32, Canvas, bump, mirrored, noise, ramp, rgb, smoothstep, spline
from models.portrait.skin import DEEP, SHADOW, SKIN

KNIT = (rgb(0x0C2528), rgb(0x1C4C50), rgb(0x2F7275), rgb(0x74B5B0))


def _outline(right: Sequence[tuple[float, float]], count: int = 120) -> F32:
    """A symmetrical shape open at the bottom, from its right side, top to bottom."""
    side = spline(right, count)
    return np.vstack([mirrored(side), side[::-1]])


def paint_neck(canvas: Canvas) -> None:
    """Neck and the skin above the collar."""
    neck = _outline([(58, 80), (55, 140), (55, 178), (66, 208), (100, 226), (150, 240), (160, 330)])
    window = canvas.around(neck, 6)
    x, y = window.grid()
    mask = window.mask(neck, 0.8)
    window.blend(SKIN, mask)
    window.shade(rgb(0xB87F6C), mask * smoothstep(6, 62, np.abs(x + 12) + 0 * y) * 0.75)
    window.shade(rgb(0x94594A), mask * smoothstep(222, 140, y - 0.0022 * x * x) * 0.95)
    window.blend(DEEP, mask * bump(x, y, (6, 146), (58, 16)) * 0.55)
    for side in (-1.0, 1.0):
        tendon = spline([(side * 46, 172), (side * 30, 205), (side * 12, 232)], 40)
        canvas.stroke(tendon, [1, 7, 2], SHADOW, 0.20, 3.5)
        bone = spline([(side * 14, 238), (side * 45, 230), (side * 90, 228)], 40)
        canvas.stroke(bone, [2, 5, 1], rgb(0xFFE3CC), 0.30, 2.5)


def paint_clothes(canvas: Canvas) -> None:
    """A knitted jumper with a round collar."""
    side = [(64, 214), (104, 228), (160, 240), (214, 258), (254, 300), (276, 380), (288, 520), (300, 900)]
    collar = spline([(-64, 214), (-46, 244), (0, 262), (46, 244), (64, 214)], 80)
    shape = np.vstack([_outline(side), collar[::-1]])
    window = canvas.around(shape, 6)
    x, y = window.grid()
    mask = window.mask(shape, 0.7)
    light = 0.58 - 0.40 * (x / 260) - 0.25 * np.abs(x / 260) ** 2 - 0.0006 * (y - 250)
    light = light + 0.07 * noise(window.shape, 60 * canvas.scale, 21)
    light = light + 0.05 * (0.5 + 0.5 * np.sin(x * 1.5 + 0.4 * np.sin(y * 0.02)))
    window.blend(ramp(light, (0.0, 0.3, 0.6, 1.0), KNIT), mask)
    down = np.asarray([0, 1], np.float32)
    canvas.stroke(collar + 5 * down, [10, 12, 10], KNIT[2], 0.9, 0.8)
    canvas.stroke(collar + down, [1, 2, 1], KNIT[3], 0.5, 0.8)
    canvas.stroke(collar + 11 * down, [2, 4, 2], KNIT[0], 0.5, 1.5)
    for sign in (-1.0, 1.0):
        fold = spline([(sign * 190, 330), (sign * 206, 420), (sign * 200, 560), (sign * 214, 900)], 80)
        canvas.stroke(fold, [3, 16, 20], KNIT[0], 0.45, 7)
