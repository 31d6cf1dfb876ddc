"""Eyes, lashes, lids and brows, at any opening from shut (0) to open (1) and with a direction of gaze."""

from __future__ import annotations

import numpy as np

from models.portrait.anatomy import EYE, IRIS
from models.portrait.paint import F32, Canvas, bump, rgb, smoothstep, spline, tone
from models.portrait.skin import SHADOW, SKIN

_UPPER = np.array([(-23.5, 4.0), (-17, -4.6), (-6, -11.0), (5, -11.8), (15, -8.2), (21.5, -2.4), (25.0, 0.2)])
_LOWER = np.array([(-23.5, 4.0), (-15, 7.4), (-4, 9.4), (7, 9.0), (16, 6.2), (25.0, 0.2)])
_SHUT = np.array([(-23.5, 4.0), (-16, 6.8), (-5, 8.8), (6, 8.6), (15, 6.4), (21, 3.0), (25.0, 0.2)])
_CREASE = np.array([(-21, -4.5), (-14, -11.5), (-3, -17.0), (8, -17.2), (19, -12.4), (27, -5.0)])
PATCH = (34.0, 26.0)
"""Half width and half height of the rectangle around an eye that a blink changes."""
LASH = rgb(0x1F1513)
IRIS_RIM, IRIS_MID, IRIS_LIT = rgb(0x2A2417), rgb(0x5C5A2E), rgb(0xA8944F)


def paint_eyes(canvas: Canvas, opening: float, gaze: tuple[float, float] = (0.0, 0.0)) -> None:
    """Both eyes on painted skin."""
    for side in (-1.0, 1.0):
        _eye(canvas, side, opening, gaze)


def _place(points: np.ndarray, side: float) -> F32:
    return np.asarray(points * (side, 1) + (side * EYE[0], EYE[1]), np.float32)


def _eye(canvas: Canvas, side: float, opening: float, gaze: tuple[float, float]) -> None:
    upper = _place(spline(_SHUT + (_UPPER - _SHUT) * opening, 60), side)
    lower = _place(spline(_LOWER, 60), side)
    if opening > 0.05:
        _ball(canvas, side, np.vstack([upper, lower[::-1]]), upper, gaze)
    else:
        canvas.fill(np.vstack([upper, lower[::-1]]), SKIN, 1.0, 0.5)
    _lid(canvas, side, upper, opening)
    _lashes(canvas, side, upper, lower, opening)


def _ball(canvas: Canvas, side: float, opening: F32, upper: F32, gaze: tuple[float, float]) -> None:
    window = canvas.around(opening, 4)
    x, y = window.grid()
    mask = window.mask(opening, 0.35)
    cx, cy = side * EYE[0] + gaze[0] + side * 0.6, EYE[1] - 1.6 + gaze[1]
    white = tone(0xF2EAE4) * np.ones((*window.shape, 1), np.float32)
    round_off = smoothstep(10, 26, np.abs(x - side * EYE[0]) + 0 * y)
    white *= 1 - 0.30 * round_off[..., None] * np.asarray([0.8, 1, 1], np.float32)
    window.blend(white, mask)
    radius = np.sqrt((x - cx) ** 2 + (y - cy) ** 2)
    angle = np.arctan2(y - cy, x - cx)
    iris = mask * smoothstep(IRIS + 0.7, IRIS - 0.7, radius)
    rays = 0.5 + 0.5 * np.sin(angle * 23 + 3 * np.sin(angle * 7)) * smoothstep(3, 7, radius)
    t = np.clip(radius / IRIS, 0, 1)[..., None]
    lit = np.clip(0.45 + 0.5 * (y - cy) / IRIS, 0, 1)[..., None]
    base = np.asarray(IRIS_MID) * (1 - lit) + np.asarray(IRIS_LIT) * lit
    base = base * (0.80 + 0.28 * rays[..., None])
    base = base * (1 - smoothstep(0.70, 1.0, np.asarray(t))) + np.asarray(IRIS_RIM) * smoothstep(
        0.70, 1.0, np.asarray(t)
    )
    window.blend(base.astype(np.float32), iris)
    window.blend(rgb(0x0E0A09), mask * smoothstep(5.2, 4.2, radius))
    shadow = canvas.around(opening, 4).mask(
        np.vstack([upper - (0, 6), upper[::-1] - (0, -4.5)]).astype(np.float32), 1.8
    )
    window.shade(rgb(0x57423E), mask * shadow * np.float32(0.85))
    window.screen((1, 1, 1), mask * smoothstep(2.9, 2.0, np.sqrt((x - cx + 4.0) ** 2 + (y - cy + 4.2) ** 2)))
    window.screen((1, 1, 1), mask * bump(x, y, (cx + 4.2, cy + 4.6), (1.5, 1.2)) * np.float32(0.55))
    canvas.glow((side * (EYE[0] - 21), 3.4), (2.6, 1.8), rgb(0xD58E86), 0.75)


def _lid(canvas: Canvas, side: float, upper: F32, opening: float) -> None:
    crease = _place(spline(_CREASE - (0, 3.0 * (opening - 1)), 60), side)
    if opening < 0.97:
        lid = np.vstack([crease - (0, -1.0), upper[::-1]]).astype(np.float32)
        canvas.fill(lid, rgb(0xE2AC92), 0.95 * (1 - opening) + 0.05, 0.9)
        canvas.fill(np.vstack([upper - (0, 3), upper[::-1]]).astype(np.float32), SHADOW, 0.35 * (1 - opening), 1.0)
    canvas.stroke(crease, [0.3, 1.3, 1.7, 1.5, 0.4], rgb(0x8E5444), 0.55, 0.7)


def _lashes(canvas: Canvas, side: float, upper: F32, lower: F32, opening: float) -> None:
    canvas.stroke(lower[8:-2], [0.3, 0.9, 1.1], rgb(0xA9705F), 0.6, 0.45)
    canvas.stroke(upper[1:], [0.8, 2.2, 3.0, 3.0, 2.2], LASH, 0.95, 0.3)
    random = np.random.default_rng(5)
    for k in range(15):
        at = upper[int(14 + k * 3.0)]
        lean = (k - 4.5) / 10
        size = 4.2 + 4.0 * k / 15 + random.uniform(-0.6, 0.6)
        drop = 1 if opening < 0.4 else -1
        tip = at + np.array([side * lean * size * 0.9, drop * size * (0.95 - 0.4 * abs(lean))], np.float32)
        middle = (at + tip) / 2 + np.array([side * -0.4, 0.8 * drop * -1], np.float32)
        canvas.stroke(spline([at, middle, tip], 10), [1.3, 0.8, 0.15], LASH, 0.85, 0.15)


def paint_brows(canvas: Canvas, colour: tuple[float, float, float]) -> None:
    """Brows of single hairs."""
    spine = spline([(19, -28), (34, -34.5), (52, -37.5), (66, -34), (78, -25.5)], 80)
    random = np.random.default_rng(9)
    for side in (-1.0, 1.0):
        line = spine * np.asarray([side, 1], np.float32)
        canvas.stroke(line, [4.5, 6.5, 5.5, 3.6, 0.8], colour, 0.50, 1.3)
        for k in range(110):
            t = k / 110
            at = spine[int(t * 79)] + random.uniform(-1, 1, 2) * (1, 2.9 * (1 - 0.75 * t))
            direction = np.array([0.35 + 0.75 * t, -0.95 + 1.25 * t])
            tip = at + direction / np.linalg.norm(direction) * random.uniform(5, 8.5)
            hair = spline([at, (at + tip) / 2 + (0.6, -0.4), tip], 8) * np.asarray([side, 1], np.float32)
            canvas.stroke(hair, [1.1, 0.9, 0.15], colour, 0.55, 0.15)
