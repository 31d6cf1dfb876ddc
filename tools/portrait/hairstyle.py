"""How the hair falls: guide curves from the parting for masses of locks, and what is particular to each mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.portrait.paint import F32, smoothstep, spline
from tools.portrait.strands import STEPS

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mass:
    """Locks that run between the same guide curves, from the face outwards, root to tip.

    Attributes:
        guides: curves of scene points.
        locks: how many.
        hairs: in a lock.
        lit: +1 where outwards is towards the window, -1 where it is away from it.
        light: strength of the light on it.
        wave: sideways swing of a lock in shares of the mass' width.
        swing: sideways swing of the whole mass, scene units.
        reach: shares of the length at which locks end, shortest and longest.
        seed: of all that is irregular.
    """

    guides: tuple[Points, ...]
    locks: int
    hairs: int
    lit: float
    light: float
    wave: float
    swing: float
    reach: tuple[float, float]
    seed: int


LEFT = Mass(
    (
        ((16, -111), (-6, -107), (-38, -90), (-68, -58), (-88, -18), (-97, 26),
         (-96, 70), (-97, 114), (-106, 160), (-104, 212), (-88, 262)),
        ((16, -134), (-14, -137), (-56, -122), (-95, -82), (-113, -30), (-119, 24),
         (-114, 76), (-117, 124), (-130, 172), (-131, 228), (-112, 284)),
        ((12, -160), (-18, -167), (-64, -157), (-107, -119), (-130, -62), (-138, 6),
         (-134, 68), (-137, 122), (-153, 176), (-158, 236), (-136, 302)),
    ),
    40, 46, 1.0, 1.0, 0.16, 6.5, (0.84, 1.0), 1,
)  # fmt: skip
RIGHT = Mass(
    (
        ((16, -111), (40, -105), (67, -84), (86, -48), (96, -8), (98, 36),
         (93, 80), (95, 122), (106, 166), (107, 212), (92, 256)),
        ((16, -134), (46, -133), (82, -114), (107, -72), (117, -20), (119, 34),
         (114, 82), (117, 126), (132, 172), (135, 222), (116, 272)),
        ((12, -160), (46, -160), (88, -144), (120, -100), (136, -40), (140, 22),
         (136, 76), (139, 126), (154, 176), (160, 230), (142, 288)),
    ),
    40, 46, -1.0, 0.74, 0.16, 6.5, (0.84, 1.0), 2,
)  # fmt: skip
LAYER_LEFT = Mass(
    (
        ((14, -148), (-16, -153), (-60, -140), (-100, -100), (-121, -44), (-127, 14), (-122, 66),
         (-126, 112), (-139, 158), (-142, 200)),
        ((13, -161), (-18, -168), (-66, -158), (-109, -119), (-131, -60), (-139, 8), (-134, 62),
         (-141, 108), (-158, 150), (-169, 186)),
    ),
    9, 30, 1.0, 1.0, 0.42, 3.0, (0.66, 1.0), 5,
)  # fmt: skip
LAYER_RIGHT = Mass(
    (
        ((16, -148), (46, -148), (85, -130), (114, -88), (128, -30), (131, 28), (126, 78),
         (129, 118), (140, 160), (145, 202)),
        ((15, -160), (48, -161), (90, -145), (121, -100), (137, -40), (141, 22), (136, 72),
         (143, 112), (160, 152), (172, 188)),
    ),
    9, 30, -1.0, 0.74, 0.42, 3.0, (0.66, 1.0), 6,
)  # fmt: skip
FRINGE_LEFT = Mass(
    (
        ((15, -111), (-6, -104), (-38, -83), (-66, -51), (-85, -14), (-94, 22), (-101, 62), (-104, 108)),
        ((15, -130), (-12, -130), (-50, -112), (-82, -76), (-100, -34), (-108, 12), (-113, 62), (-118, 124)),
    ),
    11, 34, 1.0, 1.0, 0.10, 0.0, (0.62, 1.0), 3,
)  # fmt: skip
FRINGE_RIGHT = Mass(
    (
        ((16, -111), (36, -104), (61, -82), (80, -48), (91, -12), (97, 24), (102, 62), (105, 106)),
        ((16, -130), (44, -126), (76, -106), (99, -68), (109, -22), (113, 22), (114, 64), (119, 122)),
    ),
    10, 34, -1.0, 0.78, 0.10, 0.0, (0.62, 1.0), 4,
)  # fmt: skip
WISPS: tuple[tuple[Points, int], ...] = (
    (((12, -114), (-12, -103), (-44, -76), (-66, -44), (-82, -8), (-91, 26)), 26),
    (((10, -118), (-20, -104), (-56, -68), (-76, -30), (-88, 10), (-93, 48), (-104, 72)), 30),
    (((13, -112), (-2, -100), (-30, -82), (-56, -56), (-76, -28)), 12),
    (((-60, -104), (-82, -66), (-93, -20), (-95, 28), (-90, 66), (-95, 96)), 18),
    (((18, -114), (38, -102), (61, -76), (79, -40), (89, -4), (97, 30)), 26),
    (((20, -118), (44, -106), (70, -70), (86, -30), (95, 12), (97, 50), (108, 70)), 30),
    (((70, -98), (88, -62), (97, -16), (98, 30), (92, 72), (98, 100)), 18),
)
"""Thin locks over forehead and temples: a curve, root to tip, and how many hairs."""
SIDES = (RIGHT, LEFT)
LAYERS = (LAYER_RIGHT, LAYER_LEFT)
"""Shorter locks on top of the sides, whose tips leave the outline."""
FRINGE = (FRINGE_RIGHT, FRINGE_LEFT)
FILLED = 0.89
"""Share of the guides' length that is a closed mass; beyond it there are only locks."""


def guides_of(mass: Mass) -> F32:
    """The guide curves ``[k, STEPS, 2]`` with a swing that all locks share."""
    guides = np.stack([spline(guide, STEPS) for guide in mass.guides])
    s = np.linspace(0, 1, STEPS)
    guides[:, :, 0] += mass.swing * smoothstep(0.35, 0.65, s) * np.sin(2 * np.pi * (2.3 * s + 0.05 * mass.seed))
    return guides


def body_of(mass: Mass, share: float) -> F32:
    """The closed part: a little inside of the outermost guide, so that locks make the outline."""
    guides = guides_of(mass)[:, : int(share * STEPS)]
    outer = guides[-1] * 0.93 + guides[-2] * 0.07
    return np.vstack([guides[0], outer[::-1]])


def along(guides: F32, across: F32) -> F32:
    """Paths for ``across`` ``[n, STEPS]`` in 0..1 between the guides: ``[n, STEPS, 2]``."""
    place = np.clip(across, -0.3, 1.3) * (len(guides) - 1)
    low = np.clip(np.floor(place).astype(int), 0, len(guides) - 2)
    t = (place - low)[..., None]
    step = np.arange(STEPS)[None, :]
    return np.asarray(guides[low, step] * (1 - t) + guides[low + 1, step] * t, np.float32)
