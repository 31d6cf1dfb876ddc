"""Eyes, lashes, lids and brows, at any opening from shut (0) to open (1)."""

from __future__ import annotations

import numpy as np

from models.portrait.anatomy import EYE, IRIS
from tools.portrait.paint import F32, Canvas, Colour, Window, bump, moved, rgb, smoothstep, spline, tone
from tools.portrait.skin import SHADOW

# The eye on the viewer's right; x grows towards the temple.
_UPPER = np.array([(-22.5, 4.4), (-17, -2.4), (-8, -8.6), (2, -10.6), (12, -8.9), (19.5, -3.8), (24.5, 0.8)])
_LOWER = np.array([(-22.5, 4.4), (-15, 6.2), (-5, 7.2), (6, 7.0), (15, 5.0), (24.5, 0.8)])
_SHUT = np.array([(-22.5, 4.4), (-16, 6.0), (-6, 7.3), (4, 7.3), (13, 6.0), (19.5, 3.7), (24.5, 0.8)])
_CREASE = np.array([(-19, -4.0), (-14, -9.3), (-5, -13.8), (5, -15.2), (16, -12.6), (26, -5.4)])
SIZE = 1.20
"""Of the eye against the curves above."""
PATCH = (40.0, 31.0)
"""Half width and half height of the rectangle around an eye that a blink changes."""
LASH = rgb(0x241713)
WHITE = 0xF1EAE5
IRIS_RIM, IRIS_MID, IRIS_LIT = tone(0x2C2B20), tone(0x5C6040), tone(0xB2A468)


def paint_eyes(canvas: Canvas, opening: float) -> None:
    """Both eyes on painted skin, looking straight at the viewer."""
    for side in (-1.0, 1.0):
        _eye(canvas, side, opening)


def _place(points: F32, side: float) -> F32:
    return np.asarray(SIZE * points * (side, 1) + (side * EYE[0], EYE[1]), np.float32)


def _eye(canvas: Canvas, side: float, opening: float) -> None:
    upper = _place(spline(_SHUT + (_UPPER - _SHUT) * opening, 60), side)
    lower = _place(spline(_LOWER, 60), side)
    if opening > 0.05:
        _ball(canvas, side, np.vstack([upper, lower[::-1]]), upper, lower)
    _lid(canvas, side, upper, lower, opening)
    _lashes(canvas, side, upper, lower, opening)


def _ball(canvas: Canvas, side: float, opening: F32, upper: F32, lower: F32) -> None:
    window = canvas.around(opening, 4)
    x, y = window.grid()
    mask = window.mask(opening, 0.45)
    cx, cy = side * (EYE[0] + 0.2), EYE[1] - 1.6
    round_off = smoothstep(9, 29, np.abs(x - side * EYE[0]) + 0 * y)[..., None]
    window.blend(tone(WHITE) * (1 - round_off * np.asarray([0.20, 0.29, 0.32])), mask)
    radius = np.sqrt((x - cx) ** 2 + (y - cy) ** 2)
    _iris(window, mask, (x - cx) / IRIS, (y - cy) / IRIS, radius)
    # The upper lid and its lashes shade the ball; the lower lid's rim is wet.
    for depth, soft, strength in ((4.5, 1.6, 0.75), (10.0, 4.0, 0.40)):
        band = np.vstack([moved(upper, 0, -6), moved(upper[::-1], 0, depth)])
        window.shade(rgb(0x6B524C), mask * window.mask(band, soft) * strength)
    rim = np.vstack([moved(lower, 0, -1.5), moved(lower[::-1], 0, 2)])
    window.blend(rgb(0xE3B4A8), mask * window.mask(rim, 0.6) * 0.55)
    _glints(window, mask, x - cx, y - cy)
    canvas.glow((side * (EYE[0] - 20.3 * SIZE), 3.8 * SIZE), (2.4, 1.7), rgb(0xD9958C), 0.75)


def _glints(window: Window, mask: F32, dx: F32, dy: F32) -> None:
    """The window in the eye, and the room's light opposite of it."""
    u, v = dx + 4.0 - 0.14 * dy, dy + 4.6
    pane = smoothstep(3.3, 1.9, (np.abs(u) ** 3 + np.abs(0.85 * v) ** 3) ** (1 / 3))
    window.screen((1, 1, 1), mask * pane * 0.95)
    window.screen((1, 0.97, 0.9), mask * bump(dx, dy, (4.6, 5.2), (2.4, 1.5), -0.7) * 0.36)


def _iris(window: Window, mask: F32, dx: F32, dy: F32, radius: F32) -> None:
    """Colour of the iris; ``dx``, ``dy`` in radii from its middle."""
    angle = np.arctan2(dy + 0 * dx, dx + 0 * dy)
    fibres = np.sin(angle * 21 + 3 * np.sin(angle * 6)) * np.sin(angle * 13 + 1.0)
    rays = 0.5 + 0.5 * fibres * smoothstep(3, 7, radius)
    t = np.clip(radius / IRIS, 0, 1)
    lit = np.clip(0.40 + 0.55 * dy + 0.16 * dx, 0, 1)[..., None]
    base = (IRIS_MID * (1 - lit) + IRIS_LIT * lit) * (0.84 + 0.26 * rays[..., None])
    warm = np.exp(-(((t - 0.50) / 0.12) ** 2))[..., None] * 0.45
    base = base * (1 - warm) + tone(0xA9763C) * (0.55 + 0.45 * lit) * warm
    rim = smoothstep(0.66, 1.02, t)[..., None]
    window.blend(base * (1 - rim) + IRIS_RIM * rim, mask * smoothstep(IRIS + 1.0, IRIS - 1.1, radius) * 0.95)
    window.blend(rgb(0x0F0B0A), mask * smoothstep(6.5, 5.2, radius))


def _lid(canvas: Canvas, side: float, upper: F32, lower: F32, opening: float) -> None:
    crease = _place(spline(_CREASE - (0, 3.5 * (opening - 1)), 60), side)
    if opening < 0.97:
        # The lid that came down covers the opening's upper part and what was the crease.
        open_upper = _place(spline(_UPPER, 60), side)
        lid = np.vstack([moved(open_upper, 0, -2.5), upper[::-1]])
        window = canvas.around(lid, 4)
        x, y = window.grid()
        # The ball under the lid: lit from the window's side, red where the lid turns under the brow.
        light = bump(x, y, (side * EYE[0] - 5, 1.0 - 8 * opening), (15, 5.5))[..., None]
        window.blend(tone(0xC98E78) * (1 - light) + tone(0xEEC4AC) * light, window.mask(lid, 1.3))
        canvas.fill(np.vstack([moved(upper, 0, -2.6), upper[::-1]]), SHADOW, 0.40 * (1 - opening), 1.0)
        if opening < 0.05:
            canvas.stroke(lower, [0.5, 1.4, 0.5], SHADOW, 0.35, 1.0)
    canvas.stroke(moved(crease, 0, -1.2), [0.3, 4.0, 5.0, 4.0, 0.4], rgb(0xA86E5B), 0.24, 2.0)
    canvas.stroke(crease, [0.3, 1.1, 1.7, 1.6, 0.4], rgb(0x85503F), 0.36 + 0.22 * opening, 0.8)
    canvas.stroke(moved(crease, 0, 2.6), [0.3, 3.0, 0.3], rgb(0xFFE9DA), 0.26 * opening, 1.4)


def _lashes(canvas: Canvas, side: float, upper: F32, lower: F32, opening: float) -> None:
    canvas.stroke(moved(lower[6:-2], 0, 0.6), [0.3, 1.3, 1.2], rgb(0xF6D8CA), 0.45, 0.5)
    canvas.stroke(moved(lower[16:-1], 0, 0.9), [0.2, 0.9, 1.6], rgb(0x6E463B), 0.50, 0.6)
    canvas.stroke(moved(upper, 0, -1.0), [0.5, 3.0, 4.4, 5.0, 1.5], rgb(0x6B4034), 0.34, 1.3)
    canvas.stroke(upper[1:], [0.6, 1.9, 2.9, 3.3, 1.5], LASH, 0.90, 0.5)
    random = np.random.default_rng(5)
    drop = 0.85 if opening < 0.3 else -1.0
    for k in range(40):
        t = (k + random.uniform(-0.4, 0.4)) / 40
        at = upper[int(np.clip(9 + 50 * t, 0, 59))]
        size = (1.8 + 4.4 * max(t, 0.0) ** 1.3) * random.uniform(0.75, 1.1)
        turn = -0.35 + 1.55 * t + random.normal(0, 0.10)
        tip = at + size * np.array([side * np.sin(turn), drop * np.cos(turn)])
        bend = (at + tip) / 2 + size * 0.20 * np.array([side * np.cos(turn), -drop * np.sin(turn)])
        canvas.stroke(spline([at, bend, tip], 8), [1.3, 0.8, 0.1], LASH, 0.62, 0.35)


def paint_brows(canvas: Canvas, colour: Colour) -> None:
    """Brows of single hairs, denser and softer than lines."""
    spine = spline([(18.5, -29.0), (32, -32.8), (48, -35.8), (64, -34.4), (80, -26.5)], 80)
    random = np.random.default_rng(9)
    for side in (-1.0, 1.0):
        line = spine * (side, 1)
        canvas.stroke(line, [2.0, 6.4, 7.0, 5.2, 0.8], colour, 0.40, 1.9)
        for k in range(150):
            t = (k + random.random()) / 150
            at = spine[int(t * 79)] + random.uniform(-1, 1, 2) * (0.8, 3.1 * (1 - 0.6 * t))
            direction = np.array([0.55 + 0.6 * t, -0.75 + 1.05 * t])
            tip = at + direction / np.linalg.norm(direction) * random.uniform(4, 7)
            hair = spline([at, (at + tip) / 2 + (0.5, -0.4), tip], 8) * (side, 1)
            dense = random.uniform(0.20, 0.48) * (0.35 + 0.65 * min(1.0, 3.5 * t))
            canvas.stroke(hair, [0.9, 0.8, 0.1], colour, dense, 0.25)
