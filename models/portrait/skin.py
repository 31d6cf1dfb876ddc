"""Skin: the face as a relief under two lights, then the colour of cheeks, nose and lips."""

from __future__ import annotations

import cv2
import numpy as np

from models.portrait.anatomy import MOUTH_HALF, face_outline, mouth_curves
from models.portrait.paint import F32, Canvas, Window, bump, mirrored, noise, ramp, rgb, smoothstep, spline

SKIN = rgb(0xEFC4A8)
SHADOW = rgb(0x9C5A48)
DEEP = rgb(0x6A3530)
LIGHT = rgb(0xFFE9D6)
BLUSH = rgb(0xDD7F70)
LIP = rgb(0xC5636A)
LIP_DARK = rgb(0x7A2F38)

_KEY = np.array([-0.46, -0.50, 0.73])
_FILL = np.array([0.72, -0.05, 0.69])


def relief(x: F32, y: F32) -> F32:
    """Height of the face above the picture plane in scene units, from soft hills and hollows."""
    half = np.where(y < 20, 101.0, 101.0 - 34.0 * smoothstep(20, 150, y))
    up = np.where(y < 0, y / 150.0, y / 178.0)
    z = 96 * np.sqrt(np.clip(1.02 - (x / half) ** 2 - up**2, 0.0, None))
    for side in (-1.0, 1.0):
        z = z - 10 * bump(x, y, (side * 42, 0), (22, 14))
        z = z + 5 * bump(x, y, (side * 43, 1), (17, 10))
        z = z + 4.5 * bump(x, y, (side * 46, -30), (30, 9), side * 0.12)
        z = z + 6 * bump(x, y, (side * 56, 44), (24, 20), side * -0.5)
        z = z + 6.5 * bump(x, y, (side * 14.5, 64), (6.5, 7.5))
        z = z - 2.5 * bump(x, y, (side * 33, 78), (8, 20), side * -0.45)
        z = z - 2.2 * bump(x, y, (side * (MOUTH_HALF + 5), 102), (6, 6))
    z = z + 15 * bump(x, y, (0, 38), (8.5, 27)) + 13 * bump(x, y, (0, 59), (10.5, 9.5))
    z = z - 2.0 * bump(x, y, (0, 84), (4, 7)) + 4 * bump(x, y, (0, 92), (22, 9))
    z = z + 5.5 * bump(x, y, (0, 111), (19, 6.5)) - 6 * bump(x, y, (0, 124), (22, 5.5))
    z = z + 7 * bump(x, y, (0, 140), (19, 12))
    return np.asarray(z, np.float32)


def _lit(window: Window, z: F32) -> tuple[F32, F32, F32]:
    """Key light, fill light and gloss on a relief, each 0..1."""
    scale = window.canvas.scale
    z = np.asarray(cv2.GaussianBlur(z, (0, 0), 1.2 * scale))
    dx = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3) * (scale / 8)
    dy = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3) * (scale / 8)
    length = 1 / np.sqrt(dx * dx + dy * dy + 1)

    def towards(light: np.ndarray) -> F32:
        light = light / np.linalg.norm(light)
        return np.asarray((-dx * light[0] - dy * light[1] + light[2]) * length, np.float32)

    key = np.clip((towards(_KEY) + 0.30) / 1.30, 0, 1)
    fill = np.clip(towards(_FILL), 0, 1)
    gloss = np.clip(towards(_KEY / np.linalg.norm(_KEY) + np.array([0, 0, 1.0])), 0, 1) ** 26
    return np.asarray(key, np.float32), np.asarray(fill, np.float32), np.asarray(gloss, np.float32)


def shaded(key: F32, fill: F32) -> F32:
    """Skin colour under the lights: a warm turn from deep shadow through red to the lit tone."""
    level = np.clip(0.10 + 0.78 * key**1.25 + 0.20 * fill, 0, 1.05)
    tones = (DEEP, SHADOW, rgb(0xD59A7E), SKIN, LIGHT)
    return ramp(np.asarray(level), (0.0, 0.28, 0.55, 0.80, 1.05), tones)


def paint_face(canvas: Canvas) -> None:
    """The face without eyes and hair."""
    outline = face_outline()
    window = canvas.around(outline, 14)
    x, y = window.grid()
    mask = window.mask(outline, 0.6)
    key, fill, gloss = _lit(window, relief(x, y))
    colour = shaded(key, fill)
    colour *= (
        1 + 0.012 * noise(window.shape, 2.2 * canvas.scale, 1) + 0.010 * noise(window.shape, 14 * canvas.scale, 2)
    )[..., None]
    window.blend(np.clip(colour, 0, 1), mask)
    for side in (-1.0, 1.0):
        window.blend(BLUSH, mask * bump(x, y, (side * 58, 52), (22, 16), side * -0.4) * np.float32(0.30))
        window.shade(rgb(0xC98F84), mask * bump(x, y, (side * 40, -6), (26, 13)) * np.float32(0.35))
        window.shade(rgb(0xC88F86), mask * bump(x, y, (side * 22, -4), (8, 12)) * np.float32(0.5))
    window.blend(BLUSH, mask * bump(x, y, (0, 60), (12, 9)) * np.float32(0.20))
    window.screen(rgb(0xFFF0E2), mask * gloss * np.float32(0.30))
    _nose(canvas)
    _lips(canvas)


def _nose(canvas: Canvas) -> None:
    for side in (-1.0, 1.0):
        wing = spline(np.array([(13, 70.5), (18.5, 67), (19.5, 61), (15.5, 55.5)]) * (side, 1), 40)
        canvas.stroke(wing, [0.6, 2.4, 1.6, 0.2], SHADOW, 0.55, 0.9)
        hole = spline(
            np.array([(3.6, 71.2), (7, 68.6), (12, 69.3), (13, 71.6), (8.5, 72.8)]) * (side, 1), 40, closed=True
        )
        canvas.fill(hole, rgb(0x5A2A26), 0.85, 0.8)
    canvas.stroke(
        spline([(-12, 73.5), (-5, 74), (0, 75.4), (5, 74), (12, 73.5)], 40), [0.5, 3, 0.5], SHADOW, 0.35, 1.4
    )
    canvas.glow((-2.5, 55.5), (4.2, 4.6), (1, 0.97, 0.93), 0.55)
    canvas.glow((-2.0, 26), (2.6, 18), (1, 0.95, 0.9), 0.28)


def _lips(canvas: Canvas) -> None:
    upper, seam, _, lower = mouth_curves(65)
    both = np.vstack([upper, lower[::-1]])
    window = canvas.around(both, 8)
    x, y = window.grid()
    top, bottom = (
        window.mask(np.vstack([upper, seam[::-1]]), 0.7),
        window.mask(np.vstack([seam, lower[::-1]]), 0.8),
    )
    window.blend(rgb(0xB9565E), top * np.float32(0.82))
    window.blend(LIP, bottom * np.float32(0.80))
    ends = smoothstep(MOUTH_HALF * 0.5, MOUTH_HALF, np.abs(x)) * np.ones_like(y)
    window.shade(rgb(0xB08080), np.maximum(top, bottom) * ends * np.float32(0.5))
    window.shade(rgb(0xA86A6C), bottom * bump(x, y, (0, 103.5), (40, 2.6)) * np.float32(0.6))
    window.shade(rgb(0xB07A78), bottom * bump(x, y, (0, 118), (34, 2.8)) * np.float32(0.35))
    window.screen(rgb(0xFFE4DE), bottom * bump(x, y, (-4, 109.5), (12, 2.2)) * np.float32(0.42))
    window.screen(rgb(0xFFD9D2), top * bump(x, y, (-7, 96.2), (4.5, 1.8), 0.3) * np.float32(0.25))
    canvas.stroke(seam[2:-2], [0.5, 1.5, 1.9, 1.5, 0.5], LIP_DARK, 0.85, 0.35)
    for side in (-1.0, 1.0):
        canvas.glow((side * (MOUTH_HALF + 1), 101.3), (2.6, 2.2), LIP_DARK, 0.45)
    canvas.stroke(
        upper[6:-6] - np.asarray([0, 1.0], np.float32), [0.2, 1.3, 1.0, 1.3, 0.2], (1, 0.93, 0.86), 0.30, 0.7
    )


def paint_ears(canvas: Canvas) -> None:
    """What the hair leaves of the ears."""
    ear = spline([(90, -14), (103, -20), (109, -6), (106, 18), (98, 34), (91, 30)], 60, closed=True)
    for shape in (ear, mirrored(ear)):
        canvas.fill(shape, rgb(0xC98A72), 1.0, 0.6)
