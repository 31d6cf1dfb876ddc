"""A still photo becomes a loop: the head sways within its own surroundings, the chest breathes, lids blink."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import measure
from models.media.paste import Planes, bgr_to_i420, planes
from models.templates.canvas import Box, write_bgr
from models.templates.features import close_eyes
from models.templates.motion import EYES_TO_CHIN, lid, sway
from models.templates.mouth import close_mouth

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

OVER = 2
"""The photo is sampled at this multiple of its size, so that moving by half a pixel does not blur it."""
GRID = 8
"""The warp is computed on a grid of this many pixels and interpolated."""
CELLS = (GRID, GRID // 2, GRID // 2)
"""The grid in the pixels of the planes of I420."""
BAND = 128
"""Rows of a part: enough parts to share among cores, few enough to be worth calling."""
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
        self._eyes = _around(raised, picture.shape)
        x0, y0, x1, y1 = self._eyes
        self._shut, self._lids = 0.0, {0.0: self._source[y0:y1, x0:x1].copy()}
        # Moving three planes, two of them at half the size, costs half of moving a picture and converting it.
        self._fine = bgr_to_i420(self._source)
        self.points: F32 = np.asarray((raised + 0.5) / OVER - 0.5, np.float32)
        """``[468, 2]``: the mesh at rest, lips closed."""
        self._measure(width, height)

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
        chest = _smooth((v - 150) / 180) * _smooth((330 - np.abs(u)) / 130) * sides
        head = self._head
        fields = (head, head * (v - 190), head * u, self._depth, chest + 0.4 * head * (1 - chest))
        self._fields: F32 = np.stack(fields).astype(np.float32)
        self._across, self._down = across, down
        self.parts = _parts(np.maximum(head, 0.6 * chest) > 1e-3, width, height)
        """What moves: rectangles x0, y0, x1, y1, even and apart. Outside of them ``still`` holds."""

    def shift(self, n: int) -> F32:
        """Backward displacement at frame ``n`` on the grid, pixels: f32 ``[2, rows, columns]``, x and y."""
        s = sway(n, self.loop)
        along_u = np.array([s.x, -s.roll, 0, s.yaw, 0])
        along_v = np.array([s.y, 0, s.roll, s.pitch, -s.breath])
        turn = -self._scale * np.stack([self._across, self._down], axis=1)
        weights = (turn @ np.stack([along_u, along_v])).astype(np.float32)
        return np.asarray(np.tensordot(weights, self._fields, axes=1), np.float32)

    def still(self) -> U8:
        """The picture at rest: I420 u8 ``[H * 3 / 2, W]``, BT.709 limited."""
        height, width = self._source.shape[0] // OVER, self._source.shape[1] // OVER
        out = np.empty((height * 3 // 2, width), np.uint8)
        for plane, fine in zip(planes(out), planes(self._fine), strict=True):
            cv2.resize(fine, plane.shape[::-1], dst=plane, interpolation=cv2.INTER_AREA)
        return out

    def close(self, amount: float) -> None:
        """Make the lids that are closed by ``amount`` ready. Threads may make different amounts."""
        x0, y0, _, _ = self._eyes
        eyes = self._lids[0.0].copy()
        close_eyes(eyes, np.asarray(self._raised - (x0, y0), np.float32), amount)
        self._lids[amount] = eyes

    def blink(self, n: int) -> None:
        """Put the lids where frame ``n`` has them, which are ready; before its parts are drawn."""
        amount = lid(n, self.loop)
        if amount != self._shut:
            write_bgr(self._fine, self._eyes, self._lids[amount])
            self._shut = amount

    def draw(self, frame: Planes, part: Box, shift: F32) -> None:
        """Draw one of ``parts`` as it is after ``shift``. Threads may draw different parts.

        Args:
            frame: of the picture's size.
            part: one of ``parts``.
            shift: see ``shift``.
        """
        x0, y0, x1, y1 = part
        nodes = np.s_[y0 // GRID : -(-y1 // GRID) + 1, x0 // GRID : -(-x1 // GRID) + 1]
        rows, columns = np.ogrid[nodes]
        sizes: dict[int, list[F32]] = {}
        for fine, plane, cell in zip(planes(self._fine), frame, CELLS, strict=True):
            zoom = GRID // cell
            window = plane[y0 // zoom : y1 // zoom, x0 // zoom : x1 // zoom]
            if cell not in sizes:  # both planes of colour move alike
                pairs = zip(shift, (columns, rows), strict=True)
                sizes[cell] = [_places(move[nodes], node, cell, window.shape) for move, node in pairs]
            across, down = sizes[cell]
            cv2.remap(fine, across, down, cv2.INTER_LINEAR, dst=window, borderMode=cv2.BORDER_REFLECT_101)

    def follow(self, n: int) -> F32:
        """The mesh at frame ``n``: f32 ``[468, 2]``, pixels. Lids are not followed."""
        dx, dy = self.shift(n)
        rest = self.points
        place = rest.copy()
        for _ in range(4):  # the warp is backward: p + shift(p) = rest
            u = np.ascontiguousarray(place[:, 0] / GRID)[:, None]
            v = np.ascontiguousarray(place[:, 1] / GRID)[:, None]
            moves = [cv2.remap(f, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0] for f in (dx, dy)]
            place = np.asarray(rest - np.stack(moves, axis=1), np.float32)
        return place


def _places(shift: F32, nodes: NDArray[np.int64], cell: int, shape: tuple[int, ...]) -> F32:
    """Where each pixel of a plane comes from in the plane of ``OVER`` times its size, along one axis.

    Args:
        shift: of the grid's nodes, pixels of the picture.
        nodes: their numbers along the axis.
        cell: the plane's pixels from node to node.
        shape: rows and columns wanted, from the first node.
    """
    # Between nodes a place is as linear as its shift, so one interpolation makes both. resize puts node k half a
    # cell, less half a pixel, from pixel k * cell; and pixel centres: p' = (p + 0.5) * OVER - 0.5.
    place = np.asarray(shift * np.float32(OVER * cell / GRID) + (nodes * OVER * cell - 0.5), np.float32)
    fine = cv2.resize(place, (place.shape[1] * cell, place.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    half = cell // 2
    return np.asarray(fine[half : half + shape[0], half : half + shape[1]], np.float32)


def _smooth(value: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    t = np.clip(value, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _parts(amount: NDArray[np.bool_], width: int, height: int) -> tuple[Box, ...]:
    """Bands of the picture, each as wide as what moves in it."""
    found = []
    for top in range(0, height, BAND):
        first, last = top // GRID, min(top + BAND, height) // GRID
        columns = np.flatnonzero(amount[max(first - 1, 0) : last + 2].any(axis=0))
        if len(columns):
            x0, x1 = max((int(columns[0]) - 1) * GRID, 0), min((int(columns[-1]) + 2) * GRID, width)
            found.append((x0, top, x1, min(top + BAND, height)))
    return tuple(found)


def _around(points: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What a blink may change, in source pixels, even."""
    eyes = points[list(measure.LEFT_EYE_UPPER + measure.RIGHT_EYE_UPPER + measure.LEFT_EYE_LOWER
                       + measure.RIGHT_EYE_LOWER)]  # fmt: skip
    reach = float(np.ptp(eyes, axis=0).max())
    low = np.maximum(np.floor(eyes.min(axis=0) - reach), 0).astype(int) & ~1
    high = np.ceil(eyes.max(axis=0) + reach).astype(int) + 1 & ~1
    limit = (shape[1] * OVER, shape[0] * OVER)
    return int(low[0]), int(low[1]), min(int(high[0]), limit[0]), min(int(high[1]), limit[1])
