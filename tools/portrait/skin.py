"""Skin: the face as a relief under two lights, then the colour of cheeks, nose and lips."""

from __future__ import annotations

import cv2
import numpy as np

from models.portrait.anatomy import MOUTH_HALF, face_outline, mouth_curves
from tools.portrait.paint import F32, Canvas, Window, bump, mirrored, moved, noise, ramp, rgb, smoothstep, spline

SKIN = rgb(0xF0C9B0)
SHADOW = rgb(0xB27561)
DEEP = rgb(0x6E3B34)
LIGHT = rgb(0xFFEBDD)
BLUSH = rgb(0xE58C80)
LIP, LIP_UPPER, LIP_DARK = rgb(0xC96E6E), rgb(0xB65C5C), rgb(0x72332F)
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
    z = z + 46 * np.sqrt(np.clip(1.06 - (x / 118) ** 2 - (y / 190) ** 2, 0.05, None))
    for side in (-1.0, 1.0):
        z = z - 10 * bump(x, y, (side * 42, -3), (23, 13))
        z = z + 6 * bump(x, y, (side * 44.5, 0), (18, 10))
        z = z + 3.5 * bump(x, y, (side * 46, -31), (30, 9), side * 0.12)
        z = z + 3.0 * bump(x, y, (side * 28, -68), (24, 17))
        z = z + 9 * bump(x, y, (side * 53, 46), (20, 15), side * -0.45)
        z = z - 4.0 * bump(x, y, (side * 72, 84), (14, 22), side * 0.35)
        z = z + 5.4 * bump(x, y, (side * 14.2, 65), (6.2, 6.6))
        z = z - 2.4 * bump(x, y, (side * 22, 56), (4.5, 12), side * -0.15)
        z = z - 2.8 * bump(x, y, (side * 33, 80), (5.0, 17), side * -0.55)
        z = z - 1.8 * bump(x, y, (side * (MOUTH_HALF + 5), 96), (5, 5))
        z = z + 0.5 * bump(x, y, (side * 5.2, 85), (2.6, 6))
    z = z + 9.0 * bump(x, y, (0, 32), (9.5, 26)) + 14 * bump(x, y, (0, 57), (10.5, 10))
    z = z - 1.0 * bump(x, y, (0, 85), (3.5, 6)) + 3.5 * bump(x, y, (0, 92), (22, 9))
    z = z + 5 * bump(x, y, (0, 111), (19, 6.5)) - 4.2 * bump(x, y, (0, 125.5), (20, 6.0))
    z = z + 6 * bump(x, y, (0, 139), (18, 10))
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
    gloss = np.clip(towards(_KEY / np.linalg.norm(_KEY) + np.array([0, 0, 1.0])), 0, 1) ** 24
    return np.asarray(key, np.float32), np.asarray(fill, np.float32), np.asarray(gloss, np.float32)


def shaded(key: F32, fill: F32) -> F32:
    """Skin colour under the lights: a warm turn from deep shadow through red to the lit tone."""
    level = np.clip(0.02 + 0.90 * key**1.35 + 0.17 * fill, 0, 1.08)
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
    # Light from the blouse comes back to jaw and chin.
    back = 0.22 * smoothstep(92, 150, y) * smoothstep(0.95, 0.45, key)
    colour = shaded(key, np.asarray(fill + back / 0.17)) * (1 + grain)[..., None]
    window.blend(np.clip(colour, 0, 1), mask)
    _colours(window, x, y, mask)
    low = 1 - 0.55 * smoothstep(100, 130, y)
    window.screen(rgb(0xFFF2E8), mask * gloss * low * 0.10)
    _nose(canvas)
    _cheeks(canvas)
    _lips(canvas)


def _colours(window: Window, x: F32, y: F32, mask: F32) -> None:
    """Where blood is near the skin, and where the face lies in soft shade."""
    for side in (-1.0, 1.0):
        window.blend(BLUSH, mask * bump(x, y, (side * 57, 47), (21, 14), side * -0.4) * (0.24 - 0.05 * side))
        window.shade(rgb(0xD09A8C), mask * bump(x, y, (side * 42, -10), (25, 11)) * 0.40)
        window.shade(rgb(0xC89488), mask * bump(x, y, (side * 21, -5), (8, 13)) * 0.45)
        window.shade(rgb(0xDDB3A6), mask * bump(x, y, (side * 43, 16), (22, 5)) * 0.36)
        window.screen(rgb(0xFFE9D8), mask * bump(x, y, (side * 43, 10.5), (17, 2.2)) * 0.14)
    window.blend(BLUSH, mask * bump(x, y, (0, 60), (13, 9)) * 0.20)
    window.blend(BLUSH, mask * bump(x, y, (0, 142), (16, 8)) * 0.10)
    # The side away from the window.
    window.shade(rgb(0xC6A292), mask * smoothstep(30, 100, x) * 0.22)
    window.screen(rgb(0xFFEBD8), mask * bump(x, y, (-26, -64), (30, 22)) * 0.15)


def _nose(canvas: Canvas) -> None:
    # The side away from the window, from the brow down to the wing.
    far = spline([(15, -12), (11.5, 8), (12, 30), (15, 48), (17.5, 60)], 40)
    canvas.stroke(far, [3, 8, 7, 7, 4], SHADOW, 0.27, 3.4)
    near = spline([(-14, -10), (-11.5, 8), (-12.5, 32), (-16, 50)], 40)
    canvas.stroke(near, [2, 5, 4, 3], SHADOW, 0.12, 3.0)
    for side in (-1.0, 1.0):
        wing = spline(
            np.array([(11.5, 71.5), (17.6, 69.6), (20.2, 64.5), (18.2, 58.4), (15.2, 55.5)]) * (side, 1), 40
        )
        canvas.stroke(wing, [0.6, 2.4, 2.2, 1.4, 0.2], SHADOW, 0.50 if side > 0 else 0.38, 1.3)
        tip = spline(np.array([(12.4, 53.5), (10.2, 60), (8.8, 66.5)]) * (side, 1), 30)
        canvas.stroke(tip, [0.4, 3.2, 0.6], SHADOW, 0.20 if side > 0 else 0.10, 1.8)
        hole = np.array([(3.6, 71.6), (6.8, 69.5), (11.2, 69.6), (13.0, 71.4), (8.4, 73.0)])
        canvas.fill(spline(hole * (side, 1), 40, closed=True), rgb(0x7A3E35), 0.66, 1.0)
    under = spline([(-15, 72.6), (-6, 73.6), (0, 76.0), (6, 73.6), (15, 72.6)], 40)
    canvas.stroke(under, [0.5, 3.4, 3.4, 0.5], SHADOW, 0.42, 1.8)
    canvas.glow((6, 80), (13, 4.5), SHADOW, 0.24, 0.15)
    canvas.glow((-3.0, 55.5), (3.6, 4.0), (1, 0.97, 0.94), 0.34)
    canvas.glow((-2.6, 26), (2.6, 15), (1, 0.96, 0.92), 0.10)


def _cheeks(canvas: Canvas) -> None:
    """The folds of a faint smile, and a few freckles."""
    for side in (-1.0, 1.0):
        fold = spline(np.array([(22.5, 67), (31, 76), (38.5, 86), (43, 95)]) * (side, 1), 40)
        canvas.stroke(fold, [0.5, 4.0, 3.2, 0.4], SHADOW, 0.15, 2.4)
        canvas.stroke(moved(fold, side * 5, -3), [0.5, 6.0, 0.5], LIGHT, 0.13, 3.0)
    random = np.random.default_rng(41)
    for _ in range(40):
        at = (float(random.normal(0, 36)), float(random.normal(36, 11)))
        size = float(random.uniform(0.6, 1.1))
        canvas.glow(at, (size, size), rgb(0xA9694E), float(random.uniform(0.04, 0.13)))


def _lips(canvas: Canvas) -> None:
    upper, seam, _, lower = mouth_curves(65)
    both = np.vstack([upper, lower[::-1]])
    window = canvas.around(both, 8)
    x, y = window.grid()
    top = window.mask(np.vstack([upper, seam[::-1]]), 0.9)
    bottom = window.mask(np.vstack([seam, lower[::-1]]), 1.0)
    window.blend(LIP_UPPER, top * 0.82)
    window.blend(LIP, bottom * 0.80)
    ends = smoothstep(MOUTH_HALF * 0.5, MOUTH_HALF, np.abs(x)) * np.ones_like(y)
    window.shade(rgb(0xB88886), np.maximum(top, bottom) * ends * 0.5)
    window.shade(rgb(0xAC7072), bottom * bump(x, y, (0, 104), (40, 2.4)) * 0.55)
    window.shade(rgb(0xB88480), bottom * bump(x, y, (2, 118.5), (34, 2.8)) * 0.40)
    window.shade(rgb(0xC79692), np.maximum(top, bottom) * smoothstep(0, 34, x) * 0.18)
    wrinkles = 0.5 + 0.5 * np.sin(x * 1.9 + 0.8 * np.sin(x * 0.7)) + 0 * y
    window.shade(rgb(0xD9A9A8), np.maximum(top, bottom) * wrinkles * 0.08)
    window.screen(rgb(0xFFE6E2), bottom * bump(x, y, (-6, 110), (11, 2.0)) * 0.40)
    window.screen(rgb(0xFFE6E2), bottom * bump(x, y, (9, 109.5), (4, 1.3)) * 0.18)
    window.screen(rgb(0xFFD9D2), top * bump(x, y, (-8, 96.2), (4.5, 1.5), 0.3) * 0.25)
    canvas.stroke(seam[1:-1], [0.5, 1.3, 1.7, 1.3, 0.5], LIP_DARK, 0.76, 0.4)
    for side in (-1.0, 1.0):
        canvas.glow((side * (MOUTH_HALF + 0.3), 95.4), (2.4, 1.8), LIP_DARK, 0.42)
        crease = spline([(side * 42.2, 89.5), (side * 45.0, 94.6), (side * 43.6, 100)], 20)
        canvas.stroke(crease, [0.3, 2.0, 0.3], SHADOW, 0.30, 1.3)
    rim = upper[6:-6] - np.asarray([0, 1.0], np.float32)
    canvas.stroke(rim, [0.2, 1.3, 1.0, 1.3, 0.2], (1, 0.94, 0.88), 0.26, 0.8)
    canvas.glow((1, 124), (15, 2.8), SHADOW, 0.32)


def paint_ears(canvas: Canvas) -> None:
    """What the hair leaves of the ears."""
    ear = spline([(90, -14), (103, -20), (109, -6), (106, 18), (98, 34), (91, 30)], 60, closed=True)
    for shape in (ear, mirrored(ear)):
        canvas.fill(shape, rgb(0xC98A72), 1.0, 0.6)
