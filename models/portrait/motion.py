"""Life: how the painted portrait moves through its loop. Smooth warps of the painting and painted blinks.

The movement of frame ``n`` of ``L`` is a sum of whole periods of the loop, so frame L meets frame 0.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.portrait.anatomy import EYE
from models.portrait.curves import F32, smoothstep
from models.portrait.painting import SCALE, Painting

GRID = 4
"""The warp is computed on a grid of this many pixels and interpolated."""
NECK = (0.0, 190.0)
"""What the head turns about."""
BLINKS = (36, 92, 149, 161, 214)
"""First frames of the blinks in a loop of 248 frames; the fourth follows the third at once, as people do."""
GAZE = (
    *((0, 0.0, 0.0), (38, 2.0, 0.4), (74, -0.3, -0.1), (111, -2.1, 0.6)),
    *((138, -0.2, 0.1), (188, 1.5, -1.1), (216, 0.0, 0.0)),
)
"""Where the eyes look from a frame on, scene units; the last entry leads into the first. At the viewer for one to
three seconds, aside for little more than one."""
HELD = 2
"""Frames for which head and shoulders stay where they are: they move by 0.3 pixels a frame at most, so nobody sees
it, and a picture in which only the mouth moves takes half the bytes. Eyes and lids do not wait."""
LID_STEPS = (2, 4, 4, 3, 2, 1)
"""Indices into ``LIDS``: down within 80 ms, up again within 160 ms."""


class Sway(NamedTuple):
    """Where head and shoulders are, scene units and radians."""

    x: float
    y: float
    roll: float
    yaw: float
    pitch: float
    breath: float
    brow: float
    gaze_x: float
    gaze_y: float


def sway(n: int, loop: int) -> Sway:
    """The movement of frame ``n``."""
    held = n - n % HELD

    def wave(periods: int, phase: float) -> float:
        return float(np.sin(2 * np.pi * (periods * held / loop + phase)))

    gaze = gaze_at(n, loop)
    x = 3.0 * wave(1, 0.05) + 0.9 * wave(3, 0.4)
    yaw = 6.5 * wave(1, 0.10) + 2.0 * wave(2, 0.15)
    return Sway(
        x=x,
        y=1.6 * wave(2, 0.3) + 0.5 * wave(3, 0.1),
        roll=0.013 * wave(1, 0.30) + 0.005 * wave(2, 0.7),
        yaw=yaw,
        pitch=2.6 * wave(2, 0.9) + 1.0 * wave(3, 0.55),
        breath=1.5 * wave(3, 0.0),
        # Brows rise a little with the eyes.
        brow=1.1 * max(0.0, wave(2, 0.45)) ** 2 - 0.4 * gaze[1],
        # The eyes stay on whoever looks at them while the head turns.
        gaze_x=gaze[0] - 0.16 * (x + yaw),
        gaze_y=gaze[1],
    )


def gaze_at(n: int, loop: int) -> tuple[float, float]:
    """Direction of the eyes: rests, with jumps of two frames between them."""
    times = [frame for frame, _, _ in GAZE]
    k = max(j for j, frame in enumerate(times) if frame <= n % loop)
    t = min((n % loop - times[k] + 1) / 2, 1.0)
    _, x0, y0 = GAZE[k - 1]
    _, x1, y1 = GAZE[k]
    return x0 + (x1 - x0) * t, y0 + (y1 - y0) * t


def lid(n: int, loop: int) -> int:
    """Index into ``LIDS`` at frame ``n``."""
    for first in BLINKS:
        step = (n - first) % loop
        if step < len(LID_STEPS):
            return LID_STEPS[step]
    return 0


class Animator:
    """Frames of a painting.

    Args:
        painting: the picture and its blink patches.
        loop: frames in the loop.
    """

    def __init__(self, painting: Painting, loop: int) -> None:
        self._painting, self.loop = painting, loop
        width, height = painting.size
        gx = np.arange(0, width + GRID, GRID, dtype=np.float32) + painting.origin[0]
        gy = np.arange(0, height + GRID, GRID, dtype=np.float32)[:, None] + painting.origin[1]
        x, y = np.broadcast_arrays(gx, gy)
        self._x, self._y = x.astype(np.float32), y.astype(np.float32)
        radius = np.sqrt((self._x / 190) ** 2 + ((self._y - 5) / 200) ** 2)
        self._head = smoothstep(1.40, 0.72, radius) * smoothstep(265, 140, self._y)
        dome = np.sqrt(np.clip(1 - (self._x / 135) ** 2 - ((self._y - 5) / 185) ** 2, 0, 1))
        nose = np.exp(-0.5 * ((self._x / 16) ** 2 + ((self._y - 50) / 24) ** 2))
        depth = cv2.GaussianBlur(np.asarray(dome + 0.22 * nose - 0.35, np.float32), (0, 0), 1.0)
        self._depth = np.asarray(depth, np.float32) * self._head
        self._chest = smoothstep(150, 330, self._y) * smoothstep(300, 180, np.abs(self._x))
        self._brow = np.exp(-0.5 * ((np.abs(self._x) - 46) / 24) ** 2 - 0.5 * ((self._y + 36) / 11) ** 2)
        # The iris moves as a whole and the white beside it gives way; up and down the lids go along.
        aside, above = np.abs(np.abs(self._x) - EYE[0]), np.abs(self._y + 1.5)
        self._iris = smoothstep(24, 11, aside) * smoothstep(17, 8, above)
        self._lids = smoothstep(26, 10, aside) * smoothstep(24, 10, above)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        self._still = [np.asarray((base + 0.5) * SCALE - 0.5, np.float32) for base in (columns, rows)]
        self._source = painting.picture.copy()
        self._lid = 0

    def _shift(self, n: int) -> tuple[F32, F32]:
        """Backward displacement on the grid, scene units."""
        s = sway(n, self.loop)
        dx = self._head * (s.x - s.roll * (self._y - NECK[1])) + s.yaw * self._depth + s.gaze_x * self._iris
        dy = self._head * (s.y + s.roll * (self._x - NECK[0])) + s.pitch * self._depth
        dy = dy - s.breath * (self._chest + 0.45 * self._head) - s.brow * self._brow + s.gaze_y * self._lids
        return -dx, -dy

    def frame(self, n: int) -> NDArray[np.uint8]:
        """Frame ``n``: u8 BGR ``[height, width, 3]``."""
        self._show_lid(lid(n, self.loop))
        width, height = self._painting.size
        maps = []
        for shift, base in zip(self._shift(n), self._still, strict=True):
            whole = (shift.shape[1] * GRID, shift.shape[0] * GRID)
            fine = cv2.resize(np.asarray(shift * SCALE, np.float32), whole, interpolation=cv2.INTER_LINEAR)
            # The grid's first node is pixel 0; resize puts it half a cell in.
            half = GRID // 2
            maps.append(cv2.add(base, fine[half : height + half, half : width + half]))
        edge = cv2.BORDER_REFLECT_101
        return np.asarray(cv2.remap(self._source, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=edge), np.uint8)

    def _show_lid(self, index: int) -> None:
        if index != self._lid:
            column, row = self._painting.patch_at
            patch = self._painting.patches[index]
            self._source[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
            self._lid = index

    def follow(self, points: F32, n: int) -> F32:
        """Where scene ``points`` ``[k, 2]`` are in frame ``n``, in pixels of the finished picture."""
        dx, dy = (np.asarray(shift, np.float32) for shift in self._shift(n))
        rest = np.asarray(points - np.asarray(self._painting.origin), np.float32)
        place = rest.copy()
        for _ in range(4):  # the warp is backward: p + shift(p) = rest
            cells = place / GRID
            u, v = np.ascontiguousarray(cells[:, 0])[:, None], np.ascontiguousarray(cells[:, 1])[:, None]
            moved = [cv2.remap(f, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0] for f in (dx, dy)]
            place = rest - np.stack(moved, axis=1)
        return np.asarray(place - 0.5, np.float32)
