"""Neck, shoulders and clothes: a blazer over a light top, and a fine necklace."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from models.portrait.paint import (
    F32,
    Canvas,
    Colour,
    Window,
    bump,
    mirrored,
    moved,
    noise,
    ramp,
    rgb,
    smoothstep,
    spline,
    tone,
)
from models.portrait.skin import DEEP, SHADOW, SKIN, lights

Points = Sequence[tuple[float, float]]
WOOL = (rgb(0x0B141C), rgb(0x1B2C3A), rgb(0x31495B), rgb(0x5C7A8C))
SILK = (rgb(0x8C7A6E), rgb(0xC9B8A8), rgb(0xEFE5DA), rgb(0xFFFAF3))
STOPS = (0.0, 0.35, 0.70, 1.05)
GOLD = rgb(0xE3BC74)

_JACKET: Points = (
    *((60, 204), (84, 216), (122, 230), (164, 244), (194, 262), (211, 296), (217, 352)),
    *((222, 440), (230, 540), (244, 660), (254, 780), (258, 900)),
)
_SLEEVE: Points = ((176, 300), (166, 350), (160, 420), (158, 500), (166, 620), (184, 760), (196, 900))
_OPENING: Points = ((56, 208), (62, 248), (52, 318), (32, 396), (6, 478), (-2, 540), (-2, 900))
_LAPEL: Points = (
    (56, 206),
    (78, 222),
    (104, 258),
    (122, 296),
    (96, 307),
    (112, 326),
    (86, 392),
    (46, 456),
    (6, 508),
)
_NECKLINE: Points = ((58, 212), (46, 244), (24, 266), (0, 273))


def _outline(right: Points | F32, count: int = 120) -> F32:
    """A symmetrical shape open at the bottom, from its right side, top to bottom."""
    side = spline(right, count)
    return np.vstack([mirrored(side), side[::-1]])


def paint_neck(canvas: Canvas) -> None:
    """Neck and the skin above the collar."""
    neck = _outline([(54, 80), (51, 140), (51, 176), (62, 206), (100, 226), (150, 250), (160, 330)])
    window = canvas.around(neck, 6)
    x, y = window.grid()
    mask = window.mask(neck, 0.8)
    # Its colour first, its edge last: shaded through the mask, the edge would stay light against the hair.
    skin = np.broadcast_to(np.asarray(SKIN, np.float32), (*window.shape, 3))
    for tint, amount in (
        (0xB87F6C, 0.80 * smoothstep(4, 56, np.abs(x + 12) + 0 * y)),
        (0xA8705E, 0.90 * smoothstep(226, 140, y - 0.0022 * x * x)),
    ):
        skin = skin * (1 + (tone(tint) - 1) * amount[..., None])
    deep = (bump(x, y, (4, 146), (60, 17)) * 0.60)[..., None]
    window.blend(skin * (1 - deep) + np.asarray(DEEP, np.float32) * deep, mask)
    for side in (-1.0, 1.0):
        tendon = spline([(side * 44, 172), (side * 28, 208), (side * 10, 238)], 40)
        canvas.stroke(tendon, [1, 7, 2], SHADOW, 0.20, 3.5)
        bone = spline([(side * 12, 246), (side * 42, 234), (side * 86, 232)], 40)
        canvas.stroke(bone, [2, 5, 1], rgb(0xFFE3CC), 0.30, 2.5)
        canvas.stroke(moved(bone, 0, 6), [2, 5, 1], SHADOW, 0.22, 3.0)
    canvas.glow((0, 243), (6, 7), SHADOW, 0.28)
    _necklace(canvas)


def _necklace(canvas: Canvas) -> None:
    chain = spline([(-50, 200), (-32, 226), (0, 247), (32, 226), (50, 200)], 120)
    canvas.stroke(moved(chain, 0.6, 1.6), 1.5, rgb(0x7A4A3A), 0.40, 0.9)
    canvas.stroke(chain, 1.0, GOLD, 0.85, 0.2)
    for link in chain[::4]:
        canvas.glow((float(link[0]) - 0.2, float(link[1]) - 0.3), (0.5, 0.5), rgb(0xFFF3CF), 0.7)
    canvas.glow((0.8, 253.5), (3.2, 3.2), rgb(0x7A4A3A), 0.40)
    canvas.fill(spline([(0, 247), (3.6, 251), (0, 255.5), (-3.6, 251)], 40, closed=True), GOLD, 1.0, 0.2)
    canvas.glow((-1.0, 250), (1.0, 1.0), (1, 1, 0.92), 0.9)


def paint_clothes(canvas: Canvas) -> None:
    """Top, jacket, sleeves and lapels, in that order."""
    _top(canvas)
    jacket = _outline(_JACKET)
    opening = spline(_OPENING, 100)
    left, right = mirrored(opening), opening
    for front, side in ((left, -1.0), (right, 1.0)):
        edge = spline(np.asarray(_JACKET) * (side, 1), 120)
        _cloth(canvas, np.vstack([edge, front[::-1]]), jacket, WOOL, 0.0)
        _sleeve(canvas, side)
    canvas.stroke(moved(left[50:], 3, 4), [1, 8, 10], WOOL[0], 0.5, 4.0)
    for side in (1.0, -1.0):
        _lapel(canvas, side)
    canvas.glow((-9, 537), (7, 7), rgb(0x05090D), 0.5)
    canvas.fill(spline([(-16, 532), (-9, 525), (-2, 532), (-9, 539)], 40, closed=True), rgb(0x1A2530), 1.0, 0.5)
    canvas.glow((-11, 529.5), (2.2, 1.6), WOOL[3], 0.7)


def _relief(window: Window, shape: F32, width: float, height: float) -> F32:
    """A rounded body under a shape: rises over ``width`` scene units to ``height``."""
    solid = (window.mask(shape) > 0.5).astype(np.uint8)
    scale = window.canvas.scale
    # The picture's lower edge cuts the body; it is no edge of it.
    padded = cv2.copyMakeBorder(solid, 0, round(width * scale), 0, 0, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[: window.shape[0]] / scale
    turn = np.clip(inside / width, 0, 1)
    return np.asarray(height * np.sqrt(np.clip(1 - (1 - turn) ** 2, 0, 1)), np.float32)


def _cloth(canvas: Canvas, shape: F32, body: F32, tones: Sequence[Colour], lift: float) -> None:
    window = canvas.around(shape, 4)
    x, y = window.grid()
    z = _relief(window, body, 95, 62)
    z = z + 1.1 * noise(window.shape, 46 * canvas.scale, 21) + 0.25 * noise(window.shape, 13 * canvas.scale, 22)
    key, fill, _ = lights(window, z)
    weave = 0.012 * noise(window.shape, 0.8 * canvas.scale, 23)
    level = 0.04 + 0.66 * key + 0.16 * fill + weave + lift - 0.00025 * (y - 250) + 0 * x
    window.blend(ramp(level, STOPS, tones), window.mask(shape, 0.6))


def _top(canvas: Canvas) -> None:
    neckline = spline(_NECKLINE, 60)
    shape = np.vstack([mirrored(neckline), neckline[::-1], [(96, 250), (96, 900), (-96, 900), (-96, 250)]])
    window = canvas.around(np.asarray(shape, np.float32), 4)
    x, y = window.grid()
    folds = 0.9 * np.sin(x * 0.085 + 0.004 * y) * smoothstep(300, 420, y)
    folds = folds + 1.0 * noise(window.shape, 40 * canvas.scale, 25)
    key, fill, _ = lights(window, 26 * np.sqrt(np.clip(1 - (x / 150) ** 2, 0.05, 1)) + 0 * y + folds)
    level = 0.06 + 0.72 * key + 0.16 * fill
    level = level - 0.45 * smoothstep(28, 66, np.abs(x) + 0.10 * (y - 250))
    window.blend(ramp(level, STOPS, SILK), window.mask(np.asarray(shape, np.float32), 0.5))
    edge = np.vstack([mirrored(neckline), neckline[::-1]])
    canvas.stroke(moved(edge, 0.5, -1.6), [1, 2.6, 1], SHADOW, 0.45, 1.4)
    canvas.stroke(moved(edge, 0, 1.0), [0.6, 1.6, 0.6], SILK[3], 0.7, 0.4)
    canvas.stroke(moved(edge, 0, 5.0), [0.4, 0.9, 0.4], SILK[1], 0.6, 0.5)


def _sleeve(canvas: Canvas, side: float) -> None:
    inner = spline(np.asarray(_SLEEVE) * (side, 1), 100)
    outer = spline(np.asarray(_JACKET[4:]) * (side, 1), 100)
    arm = np.vstack([inner, outer[::-1]])
    window = canvas.around(arm, 4)
    _, y = window.grid()
    z = _relief(window, arm, 38, 34) + 0.8 * noise(window.shape, 26 * canvas.scale, 27)
    key, fill, _ = lights(window, z)
    level = 0.02 + 0.64 * key + 0.16 * fill + 0.012 * noise(window.shape, 0.8 * canvas.scale, 28)
    level = level - 0.00025 * (y - 250)
    mask = window.mask(arm, 1.0) * smoothstep(286, 372, y)
    window.blend(ramp(np.asarray(level), STOPS, WOOL), mask)
    seam = spline([(side * 186, 262), (side * 178, 300), (side * 166, 352)], 40)
    canvas.stroke(seam, [0.5, 1.6, 2.2], WOOL[0], 0.55, 0.9)
    canvas.stroke(inner[8:], [1, 7, 9, 9], WOOL[0], 0.50, 4.0)


def _lapel(canvas: Canvas, side: float) -> None:
    line = np.asarray(_LAPEL) * (side, 1)
    outer = np.vstack([spline(line[:4], 40), line[4:5], spline(line[5:], 60)]).astype(np.float32)
    fold = spline(np.asarray(_OPENING[:5]) * (side, 1), 80)
    shape = np.vstack([outer, fold[::-1]])
    canvas.fill(moved(shape, side * 2.0, 4.0), WOOL[0], 0.60, 4.0)
    window = canvas.around(shape, 4)
    x, y = window.grid()
    z = _relief(window, shape, 12, 4.5) - side * 0.10 * x + 0.5 * noise(window.shape, 22 * canvas.scale, 31)
    key, fill, _ = lights(window, np.asarray(z))
    level = 0.10 + 0.62 * key + 0.14 * fill + 0.012 * noise(window.shape, 0.8 * canvas.scale, 32)
    level = level - 0.05 - 0.0003 * (y - 250) - 0.10 * (side > 0)
    window.blend(ramp(np.asarray(level), STOPS, WOOL), window.mask(shape, 0.5))
    canvas.stroke(
        np.asarray([line[4], moved(line[4], -side * 34, -22)], np.float32), [1.6, 0.6], WOOL[0], 0.8, 0.5
    )
    stitch = moved(outer[:-6], -side * 3.2, 1.6)
    canvas.stroke(stitch[4:36], 0.7, WOOL[3], 0.22, 0.4)
    canvas.stroke(stitch[46:], 0.7, WOOL[3], 0.22, 0.4)
    canvas.stroke(fold[2:], [0.8, 1.4, 1.0], WOOL[3], 0.35, 0.5)
