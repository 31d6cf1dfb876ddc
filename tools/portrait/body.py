"""Clothes: a blazer over a light top. Cloth is a relief with folds under the same lights as the skin."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tools.portrait.paint import (
    F32,
    Canvas,
    Window,
    mirrored,
    moved,
    noise,
    ramp,
    rgb,
    ribbon,
    smoothstep,
    spline,
)
from tools.portrait.skin import SHADOW, lights

Points = Sequence[tuple[float, float]]
WOOL = (rgb(0x0A121A), rgb(0x1A2B39), rgb(0x32495B), rgb(0x66859A))
SILK = (rgb(0x8C7A6E), rgb(0xC9B8A8), rgb(0xEFE5DA), rgb(0xFFFAF3))
STOPS = (0.0, 0.35, 0.70, 1.05)

_TORSO: Points = (
    *((56, 200), (84, 213), (130, 226), (170, 238), (202, 252), (212, 285), (204, 329), (197, 373)),
    *((193, 426), (183, 496), (176, 558), (176, 611), (186, 681), (201, 752), (206, 910)),
)
_ARM: Points = (
    *((147, 232), (181, 241), (210, 253), (228, 270), (240, 302), (243, 347), (249, 417), (258, 505)),
    *((266, 576), (271, 628), (272, 668), (258, 702), (226, 706), (195, 668), (198, 605), (196, 549), (190, 470)),
    *((180, 400), (165, 356), (155, 303)),
)
_FOREARM: Points = (
    *((199, 637), (201, 602), (230, 593), (264, 611), (272, 646), (270, 690), (262, 734), (227, 787)),
    *((178, 930), (96, 930), (139, 804), (172, 752), (188, 699)),
)
_ARMHOLE: Points = ((181, 241), (190, 268), (190, 298), (183, 329), (174, 359))
_OPENING: Points = (
    (50, 190),
    (56, 210),
    (62, 248),
    (52, 310),
    (32, 378),
    (6, 451),
    (-3, 505),
    (-2, 699),
    (14, 910),
)
_LAPEL: Points = (
    *((54, 202), (78, 220), (113, 255), (134, 290), (100, 299), (124, 319), (90, 378), (48, 433), (4, 481)),
)
_NECKLINE: Points = ((58, 212), (46, 244), (24, 266), (0, 273))
# Folds on the viewer's right: curve, width and height in scene units; valleys have negative heights.
_FOLDS: tuple[tuple[Points, float, float], ...] = (
    (((12, 498), (50, 477), (96, 465), (153, 428)), 15, 3.6),
    (((8, 512), (52, 505), (109, 510), (164, 496)), 17, 3.6),
    (((10, 525), (52, 540), (100, 563), (158, 562)), 16, 3.2),
    (((16, 549), (48, 593), (70, 646), (86, 734)), 20, 3.0),
    (((185, 375), (158, 384), (124, 408), (100, 428)), 17, 4.2),
    (((191, 408), (166, 422), (143, 447)), 15, 3.2),
    (((158, 593), (147, 646), (145, 725), (153, 822)), 24, 3.4),
    (((109, 646), (113, 716), (124, 822)), 22, 2.6),
    (((195, 326), (220, 342), (246, 340)), 13, -2.8),
    (((191, 375), (214, 394), (244, 400)), 16, 3.8),
    (((200, 444), (223, 465), (254, 466)), 17, 3.2),
    (((206, 523), (227, 549), (262, 554)), 15, 4.2),
    (((208, 562), (231, 584), (269, 583)), 14, 4.6),
    (((225, 268), (233, 320), (237, 400), (246, 488)), 17, 2.0),
)
_ELBOW: tuple[tuple[Points, float, float], ...] = (
    (((200, 646), (225, 660), (275, 646)), 14, 4.4),
    (((197, 678), (227, 685), (275, 683)), 13, -4.4),
    (((187, 701), (220, 708), (267, 720)), 15, 4.4),
    (((168, 734), (200, 739), (248, 755)), 16, 3.2),
    (((139, 778), (172, 780), (218, 792)), 16, 2.8),
)


_WAIST = 560.0
"""A picture that ends above it shows neither hips nor elbows."""


def paint_clothes(canvas: Canvas) -> None:
    """Top, jacket, seams and lapels, in that order."""
    _top(canvas)
    _jacket(canvas)
    low = canvas.origin[1] + len(canvas.pixels) / canvas.scale
    for side in (-1.0, 1.0):
        _seams(canvas, side)
    if low > _WAIST:
        _breast_pocket(canvas)
        for side in (-1.0, 1.0):
            _pocket(canvas, side)
        _front(canvas)
        for side in (-1.0, 1.0):
            _forearm(canvas, side)
    for side in (1.0, -1.0):
        _lapel(canvas, side)
    _button(canvas, (-10, 500))
    _button(canvas, (-9, 576))


def _symmetrical(right: Points | F32, count: int = 120) -> F32:
    """A shape open at the bottom, from its right side, top to bottom."""
    side = spline(right, count)
    return np.vstack([mirrored(side), side[::-1]])


def _relief(window: Window, mask: F32, width: float, height: float) -> F32:
    """A rounded body under a shape: rises over ``width`` scene units to ``height``."""
    solid = (mask > 0.5).astype(np.uint8)
    scale = window.canvas.scale
    # The picture's lower edge cuts the body; it is no edge of it.
    padded = cv2.copyMakeBorder(solid, 0, round(width * scale), 0, 0, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[: window.shape[0]] / scale
    turn = np.clip(inside / width, 0, 1)
    return np.asarray(height * np.sqrt(np.clip(1 - (1 - turn) ** 2, 0, 1)), np.float32)


def _fold(window: Window, z: F32, curve: F32, width: float, height: float) -> None:
    """Add a fold to a relief of the window."""
    shape = ribbon(curve, [0.15 * width, 0.8 * width, width, 0.5 * width])
    part = window.canvas.around(shape, width)
    x0, x1 = max(part.x0, window.x0), min(part.x1, window.x1)
    y0, y1 = max(part.y0, window.y0), min(part.y1, window.y1)
    if x0 < x1 and y0 < y1:
        part = Window(window.canvas, x0, y0, x1, y1)
        z[y0 - window.y0 : y1 - window.y0, x0 - window.x0 : x1 - window.x0] += height * part.mask(
            shape, 0.34 * width
        )


def _jacket(canvas: Canvas) -> None:
    torso = _symmetrical(_TORSO)
    arm = spline(_ARM, 200, closed=True)
    window = canvas.around(np.vstack([torso, arm, mirrored(arm)]), 4)
    masks = [window.mask(shape, 0.6) for shape in (torso, arm, mirrored(arm))]
    z = _relief(window, masks[0], 105, 60)
    for mask in masks[1:]:
        z = np.maximum(z, _relief(window, mask, 38, 46))
    z = window.blurred(z, 3.0)
    random = np.random.default_rng(33)
    for side in (1.0, -1.0):
        for points, width, height in _FOLDS:
            bent = np.asarray(points) + random.normal(0, 3.5, (len(points), 2))
            _fold(window, z, spline(bent * (side, 1), 40), width, 1.5 * height * random.uniform(0.75, 1.15))
    z += 1.3 * noise(window.shape, 44 * canvas.scale, 21) + 0.22 * noise(window.shape, 13 * canvas.scale, 22)
    key, fill, _ = lights(window, z)
    x, y = window.grid()
    weave = 0.013 * noise(window.shape, 0.8 * canvas.scale, 23)
    level = -0.06 + 0.84 * key + 0.12 * fill + weave - 0.00025 * (y - 250) - 0.07 * smoothstep(-40, 230, x)
    front = spline(_OPENING, 100)
    front = front[: int(np.argmax(front[:, 0] < 0))]
    opening = window.mask(np.vstack([mirrored(front), front[::-1]]), 0.6)
    mask = np.maximum.reduce(masks) * (1 - opening)
    window.blend(ramp(np.asarray(level), STOPS, WOOL), mask)


def _forearm(canvas: Canvas, side: float) -> None:
    """The lower sleeve, bent inwards in front of the body: the hands meet below the picture."""
    shape = np.asarray(spline(_FOREARM, 160, closed=True) * (side, 1), np.float32)
    window = canvas.around(shape, 22)
    x, y = window.grid()
    below = smoothstep(612, 668, y)
    window.shade(
        WOOL[1],
        window.mask(moved(shape, 6 - 10 * side, 10), 8.0) * below * window.mask(_symmetrical(_TORSO)) * 0.62,
    )
    mask = window.mask(shape, 0.6)
    z = _relief(window, mask, 40, 44)
    for points, width, height in _ELBOW:
        _fold(window, z, spline(np.asarray(points) * (side, 1), 40), width, 1.4 * height)
    z += 0.8 * noise(window.shape, 40 * canvas.scale, 37)
    key, fill, _ = lights(window, z)
    level = -0.06 + 0.84 * key + 0.12 * fill + 0.013 * noise(window.shape, 0.8 * canvas.scale, 38)
    level = level - 0.00025 * (y - 250) - 0.07 * smoothstep(-40, 230, x)
    window.blend(ramp(np.asarray(level), STOPS, WOOL), mask * below)


def _top(canvas: Canvas) -> None:
    neckline = spline(_NECKLINE, 60)
    shape = np.vstack([mirrored(neckline), neckline[::-1], [(80, 250), (50, 530), (-50, 530), (-80, 250)]])
    shape = np.asarray(shape, np.float32)
    window = canvas.around(shape, 4)
    x, y = window.grid()
    z = np.asarray(26 * np.sqrt(np.clip(1 - (x / 150) ** 2, 0.05, 1)) + 0 * y, np.float32)
    z += 0.9 * noise(window.shape, 40 * canvas.scale, 25)
    for points, width, height in (
        (((-44, 294), (-22, 317), (4, 327), (36, 317)), 12, 2.0),
        (((-40, 338), (-14, 363), (14, 368), (34, 352)), 13, 2.2),
        (((-30, 384), (-8, 405), (22, 400)), 12, 1.8),
        (((-22, 285), (-16, 364), (-4, 452)), 14, 1.6),
        (((26, 294), (22, 364), (6, 444)), 14, 1.4),
    ):
        _fold(window, z, spline(points, 40), width, height)
    key, fill, _ = lights(window, z)
    level = 0.08 + 0.74 * key + 0.16 * fill
    # The jacket's fronts throw their shadow on it, mostly the one on the window's side.
    for side, reach in ((-1.0, 17.0), (1.0, 8.0)):
        fold = spline(np.asarray(_OPENING[:7]) * (side, 1), 80)
        band = np.vstack([moved(fold, side * 30, 0), moved(fold[::-1], -side * reach, 6)])
        level = level - 0.34 * window.mask(np.asarray(band, np.float32), 6.0)
    window.blend(ramp(np.asarray(level), STOPS, SILK), window.mask(shape, 0.5))
    edge = np.vstack([mirrored(neckline), neckline[::-1]])
    canvas.stroke(moved(edge, 0.5, -1.6), [1, 2.6, 1], SHADOW, 0.45, 1.4)
    canvas.stroke(moved(edge, 0, 1.0), [0.6, 1.6, 0.6], SILK[3], 0.7, 0.4)
    canvas.stroke(moved(edge, 0, 5.0), [0.4, 0.9, 0.4], SILK[1], 0.6, 0.5)


def _line(canvas: Canvas, points: Points | F32, side: float, strength: float) -> None:
    """A seam: a dark groove with a lit edge below it."""
    seam = spline(np.asarray(points) * (side, 1), 60)
    canvas.stroke(seam, [0.5, 1.5, 1.5, 0.5], WOOL[0], strength, 0.7)
    canvas.stroke(moved(seam, 1.4, 1.2), [0.4, 1.2, 1.2, 0.4], WOOL[3], 0.30 * strength, 0.6)


def _seams(canvas: Canvas, side: float) -> None:
    armhole = spline(np.asarray(_ARMHOLE) * (side, 1), 60)
    canvas.stroke(moved(armhole, -side * 2, 2), [2, 7, 9, 6], WOOL[0], 0.34, 4.0)
    canvas.stroke(moved(armhole, side * 5, 0), [5, 7, 3], WOOL[3], 0.10, 3.0)
    _line(canvas, _ARMHOLE, side, 0.6)
    _line(canvas, ((92, 216), (136, 227), (178, 240)), side, 0.30)
    _line(canvas, ((113, 422), (118, 488), (111, 558), (113, 628)), side, 0.42)
    _line(canvas, ((229, 294), (231, 382), (231, 488), (242, 593), (248, 664)), side, 0.22)


def _pocket(canvas: Canvas, side: float) -> None:
    """A flap on the hip."""
    flap = np.asarray([(64, 632), (149, 625), (154, 646), (149, 653), (70, 660), (65, 653)], np.float32)
    flap = np.asarray(flap * (side, 1), np.float32)
    canvas.fill(moved(flap, 2, 5), WOOL[0], 0.50, 3.5)
    window = canvas.around(flap, 3)
    _, y = window.grid()
    level = 0.44 - 0.05 * side - 0.0014 * (y - 637) + 0.013 * noise(window.shape, 0.8 * canvas.scale, 35)
    window.blend(ramp(np.asarray(level), STOPS, WOOL), window.mask(flap, 0.6))
    _line(canvas, ((64, 632), (149, 625)), side, 0.7)


def _breast_pocket(canvas: Canvas) -> None:
    welt = np.asarray([(128, 368), (168, 360), (170, 371), (130, 379)], np.float32)
    canvas.fill(moved(welt, 1, 3), WOOL[0], 0.45, 2.5)
    canvas.fill(welt, WOOL[2], 0.45, 0.7)
    _line(canvas, welt[:2], 1.0, 0.7)


def _front(canvas: Canvas) -> None:
    """The edge of the front that lies on top."""
    edge = mirrored(spline(_OPENING, 120))[73:]
    canvas.stroke(moved(edge, 5, 3), [2, 11, 12, 12], WOOL[0], 0.55, 4.5)
    canvas.stroke(edge, [0.6, 1.4, 1.4], WOOL[0], 0.7, 0.5)
    canvas.stroke(moved(edge, -1.6, 0), [0.5, 1.5, 1.5], WOOL[3], 0.26, 0.6)
    canvas.stroke(moved(edge, -6.0, 0), [0.3, 0.8, 0.8], WOOL[0], 0.40, 0.5)


def _button(canvas: Canvas, at: tuple[float, float]) -> None:
    canvas.glow((at[0] + 2, at[1] + 3.5), (7, 7), WOOL[0], 0.6)
    disc = spline([(-8, 0), (0, -8), (8, 0), (0, 8)], 40, closed=True)
    canvas.fill(moved(disc, *at), rgb(0x1A2530), 1.0, 0.5)
    canvas.fill(moved(disc * np.float32(0.66), *at), rgb(0x25323E), 1.0, 0.7)
    for dx, dy in ((-1.6, -1.6), (1.6, -1.6), (-1.6, 1.6), (1.6, 1.6)):
        canvas.glow((at[0] + dx, at[1] + dy), (0.7, 0.7), WOOL[0], 0.9)
    canvas.glow((at[0] - 4.0, at[1] - 4.6), (2.4, 1.4), WOOL[3], 0.7, -0.7)


def _lapel(canvas: Canvas, side: float) -> None:
    line = np.asarray(_LAPEL) * (side, 1)
    outer = np.vstack([spline(line[:4], 40), line[4:5], spline(line[5:], 60)]).astype(np.float32)
    fold = spline(np.asarray(_OPENING[1:6]) * (side, 1), 80)
    shape = np.vstack([outer, fold[::-1]])
    canvas.fill(moved(shape, side * 1.0 + 2.5, 6.0), WOOL[0], 0.46, 6.0)
    canvas.fill(moved(shape, side * 0.6 + 1.0, 2.2), WOOL[0], 0.50, 1.6)
    window = canvas.around(shape, 4)
    x, y = window.grid()
    mask = window.mask(shape, 0.5)
    z = _relief(window, mask, 13, 5.0) - side * 0.10 * x + 0.6 * noise(window.shape, 22 * canvas.scale, 31)
    z = np.asarray(z, np.float32)
    _fold(window, z, spline(np.asarray(((60, 258), (70, 320), (52, 382), (24, 440))) * (side, 1), 40), 16, 1.6)
    key, fill, _ = lights(window, z)
    level = 0.02 + 0.76 * key + 0.12 * fill + 0.013 * noise(window.shape, 0.8 * canvas.scale, 32)
    level = level - 0.0003 * (y - 250) - 0.08 * (side > 0)
    window.blend(ramp(np.asarray(level), STOPS, WOOL), mask)
    notch = np.asarray([line[4], moved(line[4], -side * 36, -24)], np.float32)
    canvas.stroke(notch, [1.6, 0.6], WOOL[0], 0.8, 0.5)
    canvas.stroke(moved(notch, 0.8, 1.6), [1.2, 0.4], WOOL[3], 0.22, 0.5)
    stitch = moved(outer[:-6], -side * 3.2, 1.6)
    canvas.stroke(stitch[4:36], 0.7, WOOL[3], 0.22, 0.4)
    canvas.stroke(stitch[46:], 0.7, WOOL[3], 0.22, 0.4)
    canvas.stroke(moved(fold[2:], side * 2.5, 0), [0.8, 4.0, 1.0], WOOL[3], 0.20, 1.6)
    canvas.stroke(fold[2:], [0.8, 1.3, 1.0], WOOL[3], 0.34, 0.5)
