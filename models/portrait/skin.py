"""Skin: the face as a relief under two lights, then the colour of cheeks, nose and lips."""

from __future__ import annotations

import cv2
import numpy as np

from models.portrait.anatomy import MOUTH_HALF, face_outline, mouth_curves
from models.portrait.paint import F32, Canvas, Window, bump, mirrored, noise, ramp, rgb, smoothstep, spline

SKIN = rgb(0xF0C9B0)
SHADOW = rgb(0xB27561)
DEEP = rgb(0x6E3B34)
LIGHT = rgb(0xFFEBDD)
BLUSH = rgb(0xE58C80)
LIP, LIP_UPPER, LIP_DARK = rgb(0xD0727A), rgb(0xBD5F69), rgb(0x74303A)
TONES = (DEEP, SHADOW, rgb(0xDFA98E), SKIN, LIGHT)
TONE_STOPS = (0.0, 0.28, 0.55, 0.82, 1.08)

_KEY = np.array([-0.42, -0.46, 0.78])
_FILL = np.array([0.75, -0.05, 0.66])
_RIM = 44.0
"""Width of the band in which the face turns away from the viewer, scene units."""


def relief(x: F32, y: F32, inside: F32) -> F32:
    """Height of the face above the picture plane in scene units.

    Args:
        x: scene coordinates, ``[1, w]``.
        y: ``[h, 1]``.
        inside: distance to the face's outline, 0 outside, ``[h, w]``.
    """
    turn = np.clip(inside / _RIM, 0, 1)
    z = 40 * np.sqrt(1 - (1 - turn) ** 2)
    z = z + 44 * np.sqrt(np.clip(1.06 - (x / 118) ** 2 - (y / 190) ** 2, 0.05, None))
    for side in (-1.0, 1.0):
        z = z - 9 * bump(x, y, (side * 41, -2), (23, 13))
        z = z + 5 * bump(x, y, (side * 43, 1), (17, 10))
        z = z + 3.5 * bump(x, y, (side * 46, -31), (30, 9), side * 0.12)
        z = z + 8 * bump(x, y, (side * 53, 47), (21, 15), side * -0.45)
        z = z + 5.0 * bump(x, y, (side * 13.5, 65), (6.0, 6.5))
        z = z - 2.4 * bump(x, y, (side * 35, 79), (5.5, 16), side * -0.55)
        z = z - 2.0 * bump(x, y, (side * (MOUTH_HALF + 5), 97), (5, 5))
    z = z + 8.5 * bump(x, y, (0, 34), (10.5, 26)) + 13 * bump(x, y, (0, 58.5), (10.5, 9.5))
    z = z - 1.8 * bump(x, y, (0, 84), (4, 7)) + 3.5 * bump(x, y, (0, 92), (22, 9))
    z = z + 5 * bump(x, y, (0, 111), (19, 6.5)) - 3.6 * bump(x, y, (0, 125), (19, 6.0))
    z = z + 5 * bump(x, y, (0, 140), (17, 11))
    return np.asarray(z, np.float32)


def lights(window: Window, z: F32) -> tuple[F32, F32, F32]:
    """Key light, fill light and gloss on a relief, each 0..1."""
    scale = window.canvas.scale
    z = np.asarray(cv2.GaussianBlur(np.asarray(z, np.float32), (0, 0), 1.2 * scale))
    dx = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3) * (scale / 8)
    dy = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3) * (scale / 8)
    length = 1 / np.sqrt(dx * dx + dy * dy + 1)

    def towards(light: F32) -> F32:
        light = light / np.linalg.norm(light)
        return np.asarray((-dx * light[0] - dy * light[1] + light[2]) * length, np.float32)

    key = np.clip((towards(_KEY) + 0.34) / 1.34, 0, 1)
    fill = np.clip(towards(_FILL), 0, 1)
    gloss = np.clip(towards(_KEY / np.linalg.norm(_KEY) + np.array([0, 0, 1.0])), 0, 1) ** 30
    return np.asarray(key, np.float32), np.asarray(fill, np.float32), np.asarray(gloss, np.float32)


def shaded(key: F32, fill: F32) -> F32:
    """Skin colour under the lights: a warm turn from deep shadow through red to the lit tone."""
    level = np.clip(0.09 + 0.83 * key**1.2 + 0.17 * fill, 0, 1.08)
    return ramp(np.asarray(level), TONE_STOPS, TONES)


def paint_face(canvas: Canvas) -> None:
    """The face without eyes and hair."""
    outline = face_outline()
    window = canvas.around(outline, 14)
    x, y = window.grid()
    mask = window.mask(outline, 0.6)
    solid = (mask > 0.5).astype(np.uint8)
    # Softened: the steps of the mask's edge would run down the chin as fine lines.
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / canvas.scale
    inside = cv2.GaussianBlur(np.asarray(inside, np.float32), (0, 0), 2.2 * canvas.scale)
    key, fill, gloss = lights(window, relief(x, y, np.asarray(inside)))
    grain = 0.006 * noise(window.shape, 2.0 * canvas.scale, 1) + 0.010 * noise(window.shape, 16 * canvas.scale, 2)
    colour = shaded(key, fill) * (1 + grain)[..., None]
    window.blend(np.clip(colour, 0, 1), mask)
    for side in (-1.0, 1.0):
        window.blend(BLUSH, mask * bump(x, y, (side * 58, 50), (22, 15), side * -0.4) * 0.26)
        window.shade(rgb(0xD09A8C), mask * bump(x, y, (side * 41, -9), (25, 11)) * 0.42)
        window.shade(rgb(0xC89488), mask * bump(x, y, (side * 21, -5), (8, 13)) * 0.45)
        window.shade(rgb(0xE2BCB0), mask * bump(x, y, (side * 41, 14), (20, 5)) * 0.35)
    window.blend(BLUSH, mask * bump(x, y, (0, 60), (12, 8)) * 0.16)
    low = 1 - 0.55 * smoothstep(100, 130, y)
    window.screen(rgb(0xFFF2E8), mask * gloss * low * 0.24)
    _nose(canvas)
    _lips(canvas)


def _nose(canvas: Canvas) -> None:
    for side in (-1.0, 1.0):
        wing = spline(np.array([(12.5, 71), (17.5, 68), (18.5, 62), (15, 57)]) * (side, 1), 40)
        canvas.stroke(wing, [0.6, 2.2, 1.6, 0.2], SHADOW, 0.45, 1.1)
        hole = np.array([(3.8, 71.2), (7, 68.9), (11.4, 69.6), (12.4, 71.6), (8.2, 72.9)])
        canvas.fill(spline(hole * (side, 1), 40, closed=True), rgb(0x6B332D), 0.75, 0.9)
    under = spline([(-12, 73.6), (-5, 74), (0, 75.6), (5, 74), (12, 73.6)], 40)
    canvas.stroke(under, [0.5, 3, 0.5], SHADOW, 0.40, 1.6)
    canvas.glow((5, 80), (13, 4), SHADOW, 0.20)
    canvas.glow((-2.2, 55.5), (3.4, 3.8), (1, 0.97, 0.94), 0.50)
    canvas.glow((-2.2, 30), (2.2, 14), (1, 0.96, 0.92), 0.16)


def _lips(canvas: Canvas) -> None:
    upper, seam, _, lower = mouth_curves(65)
    both = np.vstack([upper, lower[::-1]])
    window = canvas.around(both, 8)
    x, y = window.grid()
    top = window.mask(np.vstack([upper, seam[::-1]]), 0.8)
    bottom = window.mask(np.vstack([seam, lower[::-1]]), 0.9)
    window.blend(LIP_UPPER, top * 0.80)
    window.blend(LIP, bottom * 0.78)
    ends = smoothstep(MOUTH_HALF * 0.5, MOUTH_HALF, np.abs(x)) * np.ones_like(y)
    window.shade(rgb(0xB88886), np.maximum(top, bottom) * ends * 0.5)
    window.shade(rgb(0xAC7072), bottom * bump(x, y, (0, 104), (40, 2.4)) * 0.55)
    window.shade(rgb(0xB88480), bottom * bump(x, y, (2, 118.5), (34, 2.8)) * 0.40)
    wrinkles = 0.5 + 0.5 * np.sin(x * 1.9 + 0.8 * np.sin(x * 0.7)) + 0 * y
    window.shade(rgb(0xD9A9A8), np.maximum(top, bottom) * wrinkles * 0.10)
    window.screen(rgb(0xFFE6E2), bottom * bump(x, y, (-5, 110), (11, 2.0)) * 0.42)
    window.screen(rgb(0xFFE6E2), bottom * bump(x, y, (9, 109.5), (4, 1.3)) * 0.20)
    window.screen(rgb(0xFFD9D2), top * bump(x, y, (-8, 96.0), (4.5, 1.5), 0.3) * 0.25)
    canvas.stroke(seam[1:-1], [0.5, 1.4, 1.7, 1.4, 0.5], LIP_DARK, 0.80, 0.35)
    for side in (-1.0, 1.0):
        canvas.glow((side * (MOUTH_HALF + 0.3), 97.5), (2.2, 1.7), LIP_DARK, 0.42)
        crease = spline([(side * 41.5, 90.5), (side * 43.8, 96), (side * 42.4, 101.5)], 20)
        canvas.stroke(crease, [0.3, 1.8, 0.3], SHADOW, 0.30, 1.2)
    rim = upper[6:-6] - np.asarray([0, 1.0], np.float32)
    canvas.stroke(rim, [0.2, 1.3, 1.0, 1.3, 0.2], (1, 0.94, 0.88), 0.28, 0.7)
    canvas.glow((0, 124), (15, 2.6), SHADOW, 0.30)


def paint_ears(canvas: Canvas) -> None:
    """What the hair leaves of the ears."""
    ear = spline([(90, -14), (103, -20), (109, -6), (106, 18), (98, 34), (91, 30)], 60, closed=True)
    for shape in (ear, mirrored(ear)):
        canvas.fill(shape, rgb(0xC98A72), 1.0, 0.6)
