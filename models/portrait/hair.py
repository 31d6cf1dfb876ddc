"""Hair: masses of strands that run between two guide curves, lit by a soft band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.portrait.paint import F32, Canvas, Colour, mix, rgb, spline

DARK, MID, BRIGHT = rgb(0x20110D), rgb(0x5A3324), rgb(0xB9794E)


@dataclass(frozen=True)
class Lock:
    """A mass of hair between two guide curves that run from root to tip."""

    inner: Sequence[tuple[float, float]]
    outer: Sequence[tuple[float, float]]
    strands: int
    shine_at: float = 0.22
    """Where along the strands the light falls, 0 at the root."""
    shine: float = 1.0
    seed: int = 0


_LEFT_INNER = [
    (12, -108),
    (-22, -101),
    (-60, -76),
    (-84, -38),
    (-94, 8),
    (-93, 56),
    (-95, 104),
    (-106, 158),
    (-101, 222),
    (-82, 262),
]
_LEFT_OUTER = [
    (14, -151),
    (-34, -158),
    (-88, -136),
    (-122, -84),
    (-134, -20),
    (-137, 44),
    (-142, 110),
    (-154, 172),
    (-152, 236),
    (-122, 282),
]
_RIGHT_INNER = [
    (12, -108),
    (36, -102),
    (66, -82),
    (86, -42),
    (95, 4),
    (94, 54),
    (93, 102),
    (103, 158),
    (104, 220),
    (84, 264),
]
_RIGHT_OUTER = [
    (14, -151),
    (54, -157),
    (98, -134),
    (127, -82),
    (137, -20),
    (139, 44),
    (143, 110),
    (153, 172),
    (154, 238),
    (124, 284),
]

FRONT = [
    Lock(_LEFT_INNER, _LEFT_OUTER, 900, 0.27, 1.0, 1),
    Lock(_RIGHT_INNER, _RIGHT_OUTER, 800, 0.27, 0.75, 2),
]


def paint_back(canvas: Canvas) -> None:
    """The hair behind neck and face."""
    shape = spline(
        [
            (0, -150),
            (90, -128),
            (132, -60),
            (138, 40),
            (148, 150),
            (150, 230),
            (110, 268),
            (0, 272),
            (-110, 268),
            (-150, 230),
            (-146, 150),
            (-138, 40),
            (-130, -60),
            (-88, -130),
        ],
        160,
        closed=True,
    )
    canvas.fill(shape, mix_colour(DARK, MID, 0.15), 1.0, 2.0)


def mix_colour(a: Colour, b: Colour, t: float) -> Colour:
    """Between two colours."""
    r, g, b_ = mix(a, b, t)
    return (float(r), float(g), float(b_))


def paint_front(canvas: Canvas) -> None:
    """The hair that frames the face."""
    for lock in FRONT:
        _paint_lock(canvas, lock)


def _paint_lock(canvas: Canvas, lock: Lock) -> None:
    inner, outer = spline(lock.inner, 120), spline(lock.outer, 120)
    body = np.vstack([inner, outer[::-1]])
    canvas.fill(body, mix_colour(DARK, MID, 0.45), 1.0, 1.2)
    random = np.random.default_rng(lock.seed)
    for _ in range(lock.strands):
        t, drift = random.beta(1.1, 1.1), random.normal(0, 0.05)
        _paint_strand(canvas, lock, inner, outer, t, drift, random)


def _paint_strand(
    canvas: Canvas, lock: Lock, inner: F32, outer: F32, t: float, drift: float, random: np.random.Generator
) -> None:
    start = int(random.uniform(0, 40)) if random.random() < 0.5 else int(random.uniform(0, 85))
    stop = min(120, start + int(random.uniform(25, 60)))
    s = np.linspace(0, 1, 120)
    across = np.clip(t + drift * s + 0.02 * np.sin(s * 9 + random.uniform(0, 6)), -0.03, 1.03)[:, None]
    line = (inner * (1 - across) + outer * across)[start:stop].astype(np.float32)
    middle = (start + stop) / 240
    light = np.exp(-(((middle - lock.shine_at) / 0.12) ** 2)) * lock.shine + 0.35 * np.exp(
        -(((middle - 0.72) / 0.14) ** 2)
    )
    round_off = 1 - abs(2 * t - 0.9) ** 2.5
    level = float(np.clip(0.10 + 0.75 * light * round_off + random.normal(0, 0.13), 0, 1))
    colour = mix_colour(DARK, MID, level * 2) if level < 0.5 else mix_colour(MID, BRIGHT, level * 2 - 1)
    width = random.uniform(0.7, 2.2)
    canvas.stroke(line[::3], [0.2, width, width, 0.2], colour, 0.55, 0.2)
