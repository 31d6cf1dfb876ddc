"""How a still face lives: where head, chest and lids are at each frame of a loop. Pure.

Lengths are in face units, in which the way from the eyes to the chin is 151: the scale of the built-in
portrait, so that both move alike. Every movement is a sum of whole periods, so frame L meets frame 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

EYES_TO_CHIN = 151.0
LID = (0.50, 1.0, 1.0, 0.82, 0.48, 0.18)
"""How far the lids are closed in the frames of one blink: down within 80 ms, up again within 160 ms."""
BLINKS = (23, 88, 147, 159, 221)
"""First frames of the blinks, of 248; the fourth follows the third at once, as people do."""
BLINKS_OF = 248


class Sway(NamedTuple):
    """Displacements in face units, roll in radians."""

    x: float
    y: float
    roll: float
    yaw: float
    pitch: float
    breath: float


def sway(n: int, loop: int) -> Sway:
    """The movement of frame ``n`` of ``loop``."""

    def wave(periods: int, phase: float) -> float:
        return math.sin(2 * math.pi * (periods * n / loop + phase))

    return Sway(
        x=1.7 * wave(1, 0.10) + 0.6 * wave(3, 0.35),
        y=1.0 * wave(2, 0.25) + 0.4 * wave(3, 0.15),
        roll=0.010 * wave(1, 0.32) + 0.004 * wave(2, 0.66),
        yaw=3.6 * wave(1, 0.60) + 1.3 * wave(2, 0.20),
        pitch=1.6 * wave(2, 0.85) + 0.7 * wave(3, 0.50),
        breath=1.1 * wave(3, 0.0),
    )


def lid(n: int, loop: int) -> float:
    """How far the lids are closed at frame ``n``, 0 to 1."""
    for first in BLINKS:
        step = (n - first * loop // BLINKS_OF) % loop
        if step < len(LID):
            return LID[step]
    return 0.0
