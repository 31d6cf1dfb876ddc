"""Eyes, lashes, lids and brows, at any opening from shut (0) to open (1) and with a direction of gaze."""

from __future__ import annotations

import numpy as np

from models.portrait.anatomy import EYE, IRIS
from models.portrait.paint import F32, Canvas, Colour, Window, bump, moved, rgb, smoothstep, spline, tone
from models.portrait.skin import SHADOW

# The eye on the viewer's right; x grows towards the temple.
_UPPER = np.array([(-22.5, 4.2), (-17, -2.6), (-8, -8.8), (2, -10.6), (12, -8.6), (19.5, -3.4), (24.5, 0.6)])
_LOWER = np.array([(-22.5, 4.2), (-15, 6.4), (-5, 7.6), (6, 7.5), (15, 5.2), (24.5, 0.6)])
_SHUT = np.array([(-22.5, 4.2), (-16, 6.2), (-6, 7.6), (4, 7.7), (13, 6.2), (19.5, 3.6), (24.5, 0.6)])
_CREASE = np.array([(-20, -3.5), (-14, -9.5), (-5, -14.6), (5, -16.0), (16, -12.8), (25.5, -5.6)])
SIZE = 1.12
"""Of the eye against the curves above."""
PATCH = (38.0, 29.0)
"""Half width and half height of the rectangle around an eye that a blink changes."""
LASH = rgb(0x241713)
WHITE = 0xEFE8E3
IRIS_RIM, IRIS_MID, IRIS_LIT = tone(0x2E2A1F), tone(0x5E5D38), tone(0xB39F62)


def paint_eyes(canvas: Canvas, opening: float, gaze: tuple[float, float] = (0.0, 0.0)) -> None:
    """Both eyes on painted skin."""
    for side in (-1.0, 1.0):
        _eye(canvas, side, opening, gaze)


def _place(points: F32, side: float) -> F32:
    return np.asarray(SIZE * points * (side, 1) + (side * EYE[0], EYE[1]), np.float32)


def _eye(canvas: Canvas, side: float, opening: float, gaze: tuple[float, float]) -> None:
    upper = _place(spline(_SHUT + (_UPPER - _SHUT) * opening, 60), side)
    lower = _place(spline(_LOWER, 60), side)
    if opening > 0.05:
        _ball(canvas, side, np.vstack([upper, lower[::-1]]), upper, gaze)
    _lid(canvas, side, upper, lower, opening)
    _lashes(canvas, side, upper, lower, opening)


def _ball(canvas: Canvas, side: float, opening: F32, upper: F32, gaze: tuple[float, float]) -> None:
    window = canvas.around(opening, 4)
    x, y = window.grid()
    mask = window.mask(opening, 0.4)
    cx, cy = side * (EYE[0] + 0.4) + gaze[0], EYE[1] - 1.4 + gaze[1]
    round_off = smoothstep(8, 25, np.abs(x - side * EYE[0]) + 0 * y)[..., None]
    window.blend(tone(WHITE) * (1 - round_off * np.asarray([0.22, 0.30, 0.32])), mask)
    radius = np.sqrt((x - cx) ** 2 + (y - cy) ** 2)
    _iris(window, mask, (x - cx) / IRIS, (y - cy) / IRIS, radius)
    band = np.vstack([moved(upper, 0, -6), moved(upper[::-1], 0, 4.0)])
    window.shade(rgb(0x6B524C), mask * window.mask(band, 1.7) * 0.85)
    window.screen((1, 1, 1), mask * smoothstep(2.8, 1.7, np.sqrt((x - cx + 3.9) ** 2 + (y - cy + 3.7) ** 2)))
    window.screen((1, 1, 1), mask * bump(x, y, (cx + 4.2, cy + 4.4), (1.5, 1.2)) * 0.45)
    canvas.glow((side * (EYE[0] - 20.5 * SIZE), 3.8 * SIZE), (2.2, 1.6), rgb(0xD9958C), 0.70)


def _iris(window: Window, mask: F32, dx: F32, dy: F32, radius: F32) -> None:
    """Colour of the iris; ``dx``, ``dy`` in radii from its middle."""
    angle = np.arctan2(dy + 0 * dx, dx + 0 * dy)
    fibres = np.sin(angle * 21 + 3 * np.sin(angle * 6)) * np.sin(angle * 13 + 1.0)
    rays = 0.5 + 0.5 * fibres * smoothstep(3, 7, radius)
    t = np.clip(radius / IRIS, 0, 1)
    lit = np.clip(0.42 + 0.55 * dy + 0.12 * dx, 0, 1)[..., None]
    base = (IRIS_MID * (1 - lit) + IRIS_LIT * lit) * (0.82 + 0.24 * rays[..., None])
    warm = np.exp(-(((t - 0.48) / 0.13) ** 2))[..., None] * 0.45
    base = base * (1 - warm) + tone(0xA9763C) * (0.55 + 0.45 * lit) * warm
    rim = smoothstep(0.68, 1.0, t)[..., None]
    window.blend(base * (1 - rim) + IRIS_RIM * rim, mask * smoothstep(IRIS + 0.9, IRIS - 0.9, radius) * 0.96)
    window.blend(rgb(0x0F0B0A), mask * smoothstep(6.1, 4.9, radius))


def _lid(canvas: Canvas, side: float, upper: F32, lower: F32, opening: float) -> None:
    crease = _place(spline(_CREASE - (0, 3.5 * (opening - 1)), 60), side)
    if opening < 0.97:
        # The lid that came down covers the opening's upper part and what was the crease.
        open_upper = _place(spline(_UPPER, 60), side)
        lid = np.vstack([moved(open_upper, 0, -2.5), upper[::-1]])
        window = canvas.around(lid, 4)
        x, y = window.grid()
        light = bump(x, y, (side * EYE[0] - 4, 0.5 - 8 * opening), (15, 7))[..., None]
        window.blend(tone(0xD9A58C) * (1 - light) + tone(0xF0C6AC) * light, window.mask(lid, 0.9))
        canvas.fill(np.vstack([moved(upper, 0, -2.6), upper[::-1]]), SHADOW, 0.40 * (1 - opening), 1.0)
        if opening < 0.05:
            canvas.stroke(lower, [0.5, 1.4, 0.5], SHADOW, 0.35, 1.0)
    canvas.stroke(crease, [0.3, 1.2, 1.8, 1.6, 0.4], rgb(0x935C4B), 0.50, 0.8)
    canvas.stroke(moved(crease, 0, 2.2), [0.3, 3.0, 0.3], rgb(0xFFE9DA), 0.20 * opening, 1.4)


def _lashes(canvas: Canvas, side: float, upper: F32, lower: F32, opening: float) -> None:
    canvas.stroke(moved(lower[8:-2], 0, -0.4), [0.3, 1.0, 1.0], rgb(0xF3CFC2), 0.45, 0.5)
    canvas.stroke(moved(lower[18:-1], 0, 0.8), [0.2, 0.8, 1.3], rgb(0x6E463B), 0.50, 0.5)
    canvas.stroke(upper[1:], [0.6, 1.7, 2.5, 2.9, 1.6], LASH, 0.92, 0.4)
    random = np.random.default_rng(5)
    for k in range(26):
        t = k / 25
        at = upper[int(12 + 46 * t)]
        size = (2.4 + 3.8 * t) * random.uniform(0.8, 1.1)
        turn = -0.5 + 1.5 * t + random.normal(0, 0.08)
        drop = 0.85 if opening < 0.3 else -1.0
        tip = at + size * np.array([side * np.sin(turn), drop * np.cos(turn)])
        bend = (at + tip) / 2 + size * 0.16 * np.array([side * np.cos(turn), -drop * np.sin(turn)])
        canvas.stroke(spline([at, bend, tip], 8), [1.0, 0.7, 0.1], LASH, 0.75, 0.2)


def paint_brows(canvas: Canvas, colour: Colour) -> None:
    """Brows of single hairs, denser and softer than lines."""
    spine = spline([(17, -27.5), (31, -31.6), (48, -34.8), (64, -33.6), (79, -26.0)], 80)
    random = np.random.default_rng(9)
    for side in (-1.0, 1.0):
        line = spine * (side, 1)
        canvas.stroke(line, [1.5, 5.6, 6.6, 5.0, 0.8], colour, 0.46, 1.6)
        for k in range(120):
            t = (k + random.random()) / 120
            at = spine[int(t * 79)] + random.uniform(-1, 1, 2) * (0.8, 2.9 * (1 - 0.6 * t))
            direction = np.array([0.55 + 0.6 * t, -0.75 + 1.05 * t])
            tip = at + direction / np.linalg.norm(direction) * random.uniform(4, 7)
            hair = spline([at, (at + tip) / 2 + (0.5, -0.4), tip], 8) * (side, 1)
            canvas.stroke(
                hair, [0.9, 0.8, 0.1], colour, random.uniform(0.25, 0.55) * (0.35 + 0.65 * min(1.0, 3.5 * t)), 0.25
            )
