"""A still photo becomes a loop: the head sways within its own surroundings, the chest breathes, lids blink."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import measure
from models.templates.features import close_eyes, close_mouth
from models.templates.motion import EYES_TO_CHIN, Sway, lid, sway

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

OVER = 2
"""The photo is sampled at this multiple of its size, so that moving by half a pixel does not blur it."""
GRID = 8
"""The warp is computed on a grid of this many pixels and interpolated."""
BORDER = 0.09
"""Share of the picture's shorter side over which the movement fades out towards its border."""
FACE_HALF = 98.0
"""Half the width of a face, in face units, of ordinary proportions."""


class PhotoAnimator:
    """Frames of a photo.

    Args:
        picture: u8 BGR ``[H, W, 3]``, both sides even.
        points: ``[468, 2]``, the face's mesh in its pixels.
        loop: frames in the loop.
    """

    def __init__(self, picture: U8, points: NDArray[np.floating[Any]], loop: int) -> None:
        self.loop = loop
        height, width = picture.shape[:2]
        fine = cv2.resize(picture, (width * OVER, height * OVER), interpolation=cv2.INTER_CUBIC)
        self._source: U8 = np.ascontiguousarray(fine, np.uint8)
        # Pixel centres: p' = (p + 0.5) * OVER - 0.5.
        raised = close_mouth(self._source, (np.asarray(points[:, :2], np.float64) + 0.5) * OVER - 0.5)
        self._raised = raised
        self._shut = 0.0
        self._eyes = _around(raised, picture.shape)
        self._lids: dict[float, U8] = {}
        self._show(0.0)
        self.points: F32 = np.asarray((raised + 0.5) / OVER - 0.5, np.float32)
        """``[468, 2]``: the mesh at rest, lips closed."""
        self._measure(width, height)
        self.still = self._still()

    def _measure(self, width: int, height: int) -> None:
        """Where the face is, and how much each part of the picture moves."""
        eyes = measure.eye_line(self.points)
        down = self.points[measure.CHIN].astype(np.float64) - eyes
        self._scale = max(float(np.linalg.norm(down)), 1.0) / EYES_TO_CHIN
        down = down / np.linalg.norm(down)
        across = np.array([down[1], -down[0]])
        gx = np.arange(0, width + GRID, GRID, dtype=np.float64)
        gy = np.arange(0, height + GRID, GRID, dtype=np.float64)[:, None]
        px, py = np.broadcast_arrays(gx, gy)
        dx, dy = px - eyes[0], py - eyes[1]
        u = (dx * across[0] + dy * across[1]) / self._scale
        v = (dx * down[0] + dy * down[1]) / self._scale
        wide = max(measure.face_width(self.points) / 2 / self._scale, 0.6 * FACE_HALF) / FACE_HALF
        radius = np.hypot(u / (190 * wide), (v - 5) / 200)
        margin = max(BORDER * min(width, height), 4.0 * self._scale)
        inner = np.minimum(np.minimum(px, width - 1 - px), np.minimum(py, height - 1 - py))
        rim = _smooth(inner / margin)
        sides = _smooth(np.minimum(px, width - 1 - px) / margin)
        self._head = _smooth((1.45 - radius) / 0.75) * _smooth((275 - v) / 135) * rim
        dome = np.sqrt(np.clip(1 - (u / (140 * wide)) ** 2 - ((v - 5) / 185) ** 2, 0, 1))
        nose = np.exp(-0.5 * ((u / 17) ** 2 + ((v - 50) / 24) ** 2))
        depth = cv2.GaussianBlur(np.asarray(dome + 0.20 * nose - 0.35, np.float32), (0, 0), 1.2)
        self._depth = depth * self._head
        self._chest = _smooth((v - 150) / 180) * _smooth((330 - np.abs(u)) / 130) * sides
        self._u, self._v = u, v
        self._across, self._down = across, down
        amount = np.maximum(self._head, 0.6 * self._chest) > 1e-3
        self.region = _region(amount, width, height)
        x0, y0, x1, y1 = self.region
        self._nodes = np.s_[y0 // GRID : -(-y1 // GRID) + 1, x0 // GRID : -(-x1 // GRID) + 1]
        rows, columns = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        self._base = [(place + np.float32(0.5)) * OVER - np.float32(0.5) for place in (columns, rows)]
        self._maps = [np.empty_like(base) for base in self._base]

    def _shift(self, s: Sway) -> tuple[F32, F32]:
        """Backward displacement on the grid, pixels."""
        du = self._head * (s.x - s.roll * (self._v - 190)) + s.yaw * self._depth
        dv = self._head * (s.y + s.roll * self._u) + s.pitch * self._depth
        dv = dv - s.breath * (self._chest + 0.4 * self._head * (1 - self._chest))
        dx = du * self._across[0] + dv * self._down[0]
        dy = du * self._across[1] + dv * self._down[1]
        return np.asarray(-self._scale * dx, np.float32), np.asarray(-self._scale * dy, np.float32)

    def _still(self) -> U8:
        """The picture at rest, at its own size."""
        size = (self._source.shape[1] // OVER, self._source.shape[0] // OVER)
        return np.asarray(cv2.resize(self._source, size, interpolation=cv2.INTER_AREA), np.uint8)

    def moved(self, n: int) -> U8:
        """What ``region`` shows at frame ``n``: u8 BGR ``[h, w, 3]``. Outside, ``still`` holds."""
        self._show(lid(n, self.loop))
        for shift, base, place in zip(self._shift(sway(n, self.loop)), self._base, self._maps, strict=True):
            part = np.multiply(shift[self._nodes], np.float32(OVER))
            whole = (part.shape[1] * GRID, part.shape[0] * GRID)
            fine = cv2.resize(part, whole, interpolation=cv2.INTER_LINEAR)
            # The first node is the region's first pixel; resize puts it half a cell in.
            half = GRID // 2
            cv2.add(base, fine[half : half + base.shape[0], half : half + base.shape[1]], dst=place)
        edge = cv2.BORDER_REFLECT_101
        moved = cv2.remap(self._source, self._maps[0], self._maps[1], cv2.INTER_LINEAR, borderMode=edge)
        return np.asarray(moved, np.uint8)

    def _show(self, amount: float) -> None:
        """Put the lids where they belong."""
        x0, y0, x1, y1 = self._eyes
        place = self._source[y0:y1, x0:x1]
        if not self._lids:
            self._lids[0.0] = place.copy()
        if amount == self._shut:
            return
        if amount not in self._lids:  # a few distinct amounts exist, see ``motion.LID``
            place[...] = self._lids[0.0]
            close_eyes(self._source, self._raised, amount)
            self._lids[amount] = place.copy()
        place[...] = self._lids[amount]
        self._shut = amount

    def follow(self, n: int) -> F32:
        """The mesh at frame ``n``: f32 ``[468, 2]``, pixels. Lids are not followed."""
        dx, dy = self._shift(sway(n, self.loop))
        rest = self.points
        place = rest.copy()
        for _ in range(4):  # the warp is backward: p + shift(p) = rest
            u = np.ascontiguousarray(place[:, 0] / GRID)[:, None]
            v = np.ascontiguousarray(place[:, 1] / GRID)[:, None]
            moves = [cv2.remap(f, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0] for f in (dx, dy)]
            place = np.asarray(rest - np.stack(moves, axis=1), np.float32)
        return place


def _smooth(value: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    t = np.clip(value, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _region(amount: NDArray[np.bool_], width: int, height: int) -> tuple[int, int, int, int]:
    """The smallest even rectangle that holds every grid cell that moves."""
    rows, columns = np.flatnonzero(amount.any(axis=1)), np.flatnonzero(amount.any(axis=0))
    x0, x1 = max((int(columns[0]) - 1) * GRID, 0), min((int(columns[-1]) + 2) * GRID, width)
    y0, y1 = max((int(rows[0]) - 1) * GRID, 0), min((int(rows[-1]) + 2) * GRID, height)
    return x0, y0, x1, y1


def _around(points: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What a blink may change, in source pixels."""
    eyes = points[list(measure.LEFT_EYE_UPPER + measure.RIGHT_EYE_UPPER + measure.LEFT_EYE_LOWER
                       + measure.RIGHT_EYE_LOWER)]  # fmt: skip
    reach = float(np.ptp(eyes[:, 0]))
    low = np.maximum(np.floor(eyes.min(axis=0) - reach), 0).astype(int)
    high = np.ceil(eyes.max(axis=0) + reach).astype(int)
    limit = (shape[1] * OVER, shape[0] * OVER)
    return int(low[0]), int(low[1]), min(int(high[0]), limit[0]), min(int(high[1]), limit[1])
