"""The room behind the portrait, far out of focus: a window, shelves, a lamp, a plant."""

from __future__ import annotations

import cv2
import numpy as np

from tools.portrait.paint import F32, Canvas, bump, noise, ramp, rgb, smoothstep, tone

COARSE = 0.25
"""Canvas pixels per scene unit of the sketch that is then blurred and enlarged."""
_BOOKS = (0x6D7B86, 0x8C6A58, 0x4F6466, 0xA38B6B, 0x5A5566, 0x7C8B7A, 0x93584C, 0x3F5560)


def paint_room(canvas: Canvas) -> None:
    """Fill the whole canvas."""
    height, width = canvas.pixels.shape[:2]
    size = (width / canvas.scale, height / canvas.scale)
    sketch = Canvas.blank((round(size[0]) + 160, round(size[1]) + 160), _shifted(canvas.origin, -80), COARSE)
    _wall(sketch)
    _window(sketch)
    _shelves(sketch)
    _lamp_and_plant(sketch)
    blurred = cv2.GaussianBlur(sketch.pixels, (0, 0), 13 * COARSE)
    blurred = _with_lights(sketch, np.asarray(blurred))
    margin = round(80 * COARSE)
    inner = blurred[margin:-margin, margin:-margin]
    canvas.pixels[...] = cv2.resize(inner, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas.pixels += (0.0025 * noise((height, width), 2.2, 31))[..., None]


def _shifted(point: tuple[float, float], by: float) -> tuple[float, float]:
    return (point[0] + by, point[1] + by)


def _box(sketch: Canvas, x0: float, y0: float, x1: float, y1: float, code: int, opacity: float = 1.0) -> None:
    corners = np.asarray([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
    sketch.fill(corners, rgb(code), opacity)


def _wall(sketch: Canvas) -> None:
    x, y = sketch.whole().grid()
    level = 0.62 - 0.00075 * x - 0.00028 * (y + 100) + 0 * x * y
    tones = [rgb(0x2A333A), rgb(0x51606A), rgb(0x8D9A9E), rgb(0xC9CCC6)]
    sketch.pixels[...] = ramp(np.asarray(level), (0.0, 0.35, 0.70, 1.05), tones)


def _window(sketch: Canvas) -> None:
    _box(sketch, -420, -470, -188, 330, 0xB9B4A6)
    for left in (-408, -300):
        for top in (-456, -196, 64):
            _box(sketch, left, top, left + 98, top + 246, 0xF4F1E6)
            _box(sketch, left, top + 150, left + 98, top + 246, 0xC7D6C4, 0.7)
    _box(sketch, -196, -480, -150, 560, 0xA79F93, 0.55)


def _shelves(sketch: Canvas) -> None:
    random = np.random.default_rng(17)
    for row, y in enumerate((-250, -90, 70, 230)):
        at = 176.0 + 6 * row
        while at < 420:
            wide, tall = random.uniform(14, 30), random.uniform(70, 118)
            if random.random() < 0.86:
                _box(sketch, at, y - tall, at + wide, y, int(random.choice(_BOOKS)), 0.62)
            at += wide + 2
        _box(sketch, 168, y, 430, y + 14, 0x5B4A3E, 0.8)


def _lamp_and_plant(sketch: Canvas) -> None:
    random = np.random.default_rng(23)
    for _ in range(60):
        at = random.normal((-262, 300), (52, 62))
        turn = random.uniform(0, np.pi)
        colour = rgb(int(random.choice((0x5E7A54, 0x45633F, 0x7F9B68, 0x38543C))))
        sketch.glow((float(at[0]), float(at[1])), (18, 7), colour, 0.6, turn)
    _box(sketch, -310, 380, -214, 520, 0x8A6D58, 0.8)


def _with_lights(sketch: Canvas, picture: F32) -> F32:
    """Glow of window and lamp, discs of out-of-focus lights, and a darker rim to hold the eye."""
    x, y = sketch.whole().grid()
    sketch.pixels[...] = picture
    window = sketch.whole()
    window.screen(rgb(0xFFF3DC), np.asarray(bump(x, y, (-270, -120), (150, 260)) * 0.34))
    window.screen(rgb(0xFFC98A), np.asarray(bump(x, y, (268, -8), (62, 70)) * 0.42))
    for cx, cy, radius, code, strength in (
        (262, -34, 24, 0xFFE0AE, 0.50),
        (226, 96, 15, 0xFFCF96, 0.26),
        (300, 120, 18, 0xFFD9A8, 0.22),
        (232, -168, 13, 0xFFE2BC, 0.14),
        (318, -210, 20, 0xFFE6C8, 0.16),
    ):
        distance = np.sqrt((x - cx) ** 2 + (y - cy) ** 2)
        disc = smoothstep(radius + 3, radius - 3, distance) * (0.75 + 0.25 * smoothstep(0, radius, distance))
        window.screen(rgb(code), np.asarray(disc * strength))
    fall = smoothstep(0.55, 1.7, np.sqrt((x / 380) ** 2 + ((y + 20) / 420) ** 2))
    window.shade(tone(0x6F6E74), np.asarray(fall * 0.55))
    return np.asarray(cv2.GaussianBlur(sketch.pixels, (0, 0), 2.5 * COARSE))
