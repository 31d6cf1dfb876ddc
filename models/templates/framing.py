"""Where the face box of each frame lies, and the lip curves that preparers start from. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import measure

F32 = NDArray[np.float32]

COLUMNS = 33
"""Samples along each lip curve of ``landmarks.npy``."""
SIDE_OF_HEIGHT = 256 / 151
"""Side of the box in distances from the eyes to the chin: the frame of the built-in portraits."""
SIDE_OF_WIDTH = 256 / 196
"""The same in widths of the face; the larger of the two counts."""
BELOW_CHIN = 42 / 256
"""Room below the chin, in sides of the box: for a jaw that drops, and for the feathered edge below it."""
FLANK, TOP, BOTTOM, FEATHER = 0.085, 0.40, 0.055, 0.026
"""What of the box is pasted: all but this much at its sides, above and below; sigma of the edge. In its sides."""
NOISE = 0.025
"""How far a point of a mesh may be from where its neighbours in time put it, in widths of the mouth."""
RIM = 0.013
"""The same of a box that holds a leaning face: all of it is pasted but its rim."""
HEAD = 2.0
"""Side of a head-and-shoulders picture in sides of the box, as the built-in portrait is framed."""
EYES = 222 / 512
"""Where its eyes are, in its height."""
SMALL = 0.4
"""A picture is left as it is unless that side is below this share of its shorter one."""
LEAN = 4.0
"""Degrees from which on a head leans: its box then holds the face's own, turned one. Below, nobody sees it."""


class Framing(NamedTuple):
    """Where the boxes of a template lie."""

    origins: NDArray[np.int32]
    """``[N, 2]``: upper left corners, even, the boxes wholly inside the frames."""
    axes: F32 | None
    """``[N, 3]``: x and y of the middle of the face's own box, pixels, and how far it leans, degrees clockwise.
    None where the head is upright: the box is the face's own."""
    alpha: NDArray[np.uint8]
    """``[side, side]``: how much of a crop is pasted."""


def box_side(meshes: NDArray[np.floating[Any]], size: tuple[int, int]) -> int:
    """One even side for every frame of a template.

    Args:
        meshes: ``[N, 468, 2 or 3]``, pixels.
        size: width and height of the frames; the side fits them.
    """
    eyes = meshes[:, [measure.LEFT_EYE_OUTER, 133, 362, measure.RIGHT_EYE_OUTER], :2].mean(axis=1)
    tall = np.linalg.norm(meshes[:, measure.CHIN, :2] - eyes, axis=1)
    wide = np.linalg.norm(meshes[:, measure.RIGHT_CHEEK, :2] - meshes[:, measure.LEFT_CHEEK, :2], axis=1)
    side = np.maximum(SIDE_OF_HEIGHT * tall, SIDE_OF_WIDTH * wide).max()
    return min(2 * round(float(side) / 2), min(size) & ~1)


def head_and_shoulders(
    mesh: NDArray[np.floating[Any]], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a square around a face, inside the picture; None: it fills the picture.

    Args:
        mesh: ``[468, 2 or 3]``, pixels.
        size: width and height of the picture.
    """
    side = round(HEAD * box_side(mesh[None], (1 << 20, 1 << 20)))
    if side >= SMALL * min(size):
        return None
    eyes = mesh[[measure.LEFT_EYE_OUTER, 133, 362, measure.RIGHT_EYE_OUTER], :2].mean(axis=0)
    x = (mesh[measure.LEFT_CHEEK, 0] + mesh[measure.RIGHT_CHEEK, 0] - side) / 2
    y = eyes[1] - EYES * side
    left, top = (round(float(np.clip(at, 0, end - side))) for at, end in zip((x, y), size, strict=True))
    return left, top, left + side, top + side


def framed(meshes: NDArray[np.floating[Any]], side: int, size: tuple[int, int], shift: int = 0) -> Framing:
    """Place the boxes.

    Args:
        meshes: ``[N, 468, 2 or 3]``, pixels, smooth in time.
        side: of the box.
        size: width and height of the frames.
        shift: pixels further down the face (``bbox_shift``).
    """
    roll = np.array([measure.roll_degrees(mesh) for mesh in meshes])
    leans = bool(np.abs(roll).max() >= LEAN)
    across, down = _directions(roll if leans else np.zeros_like(roll))
    cheeks = (meshes[:, measure.LEFT_CHEEK, :2] + meshes[:, measure.RIGHT_CHEEK, :2]) / 2
    chin = meshes[:, measure.CHIN, :2]
    x = (_dot(cheeks, across) + _dot(chin, across)) / 2 - side / 2
    y = _dot(chin, down) + BELOW_CHIN * side - side + shift
    if not leans:
        return Framing(_even_inside(np.stack([x, y], axis=1), side, size), None, box_alpha(side))
    middle = (x + side / 2)[:, None] * across + (y + side / 2)[:, None] * down
    # What is pasted fits into a box of this side at any angle, if their middles meet.
    pasted = middle + (TOP - BOTTOM) / 2 * side * down
    axes = np.column_stack([middle, roll]).astype(np.float32)
    return Framing(_even_inside(pasted - side / 2, side, size), axes, whole_alpha(side))


def _directions(roll: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors across and down faces that lean by ``roll`` degrees: ``[N, 2]`` each."""
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)


def _dot(points: NDArray[np.floating[Any]], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((points * axis).sum(axis=1), np.float64)


def _even_inside(corners: NDArray[np.floating[Any]], side: int, size: tuple[int, int]) -> NDArray[np.int32]:
    limit = (np.asarray(size) - side) & ~1
    return np.asarray(np.clip(2 * np.rint(corners / 2), 0, limit), np.int32)


def lip_landmarks(mesh: NDArray[np.floating[Any]], roll: float = 0.0) -> F32:
    """Lip curves, base of the nose, tip of the chin: f32 ``[4 * COLUMNS + 2, 2]`` from ``[468, 2 or 3]``.

    The curves are upper outline, upper seam, lower seam, lower outline, each from the left corner of the
    mouth to the right one, at the same places along the axis across the face.

    Args:
        mesh: of one face, pixels.
        roll: how far its axes lean, degrees clockwise.
    """
    if roll:
        across, down = _directions(np.array([roll]))
        turn = np.concatenate([across, down])
        upright = lip_landmarks(mesh[:, :2].astype(np.float64) @ turn.T)
        return np.asarray(upright.astype(np.float64) @ turn, np.float32)
    left, right = mesh[61, :2], mesh[291, :2]
    columns = np.linspace(left[0], right[0], COLUMNS)
    curves = []
    for indices in (
        measure.LIPS_UPPER_OUTER, (61, *measure.LIPS_UPPER_INNER, 291),
        (61, *measure.LIPS_LOWER_INNER, 291), measure.LIPS_LOWER_OUTER,
    ):  # fmt: skip
        points = mesh[list(indices), :2].astype(np.float64)
        order = np.argsort(points[:, 0])
        curve = np.interp(columns, points[order, 0], points[order, 1])
        for _ in range(3):  # rounds the corners of the polyline, keeps its ends
            curve[1:-1] = (curve[:-2] + 2 * curve[1:-1] + curve[2:]) / 4
        curves.append(np.stack([columns, curve], axis=1))
    ends = mesh[[measure.NOSE_BASE, measure.CHIN], :2]
    return np.vstack([*curves, ends]).astype(np.float32)


def smooth_in_time(values: NDArray[np.floating[Any]], sigma: float) -> F32:
    """A Gaussian over the first axis, mirrored at its ends: no lag. ``sigma`` in frames."""
    flat = np.asarray(values, np.float32).reshape(len(values), -1)
    if len(flat) < 3 or sigma <= 0:
        return np.asarray(values, np.float32)
    radius = min(int(np.ceil(3 * sigma)), len(flat) - 1)
    kernel = cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F)
    out = cv2.sepFilter2D(flat, -1, np.ones((1, 1), np.float32), kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.float32).reshape(values.shape)


def followed(meshes: NDArray[np.floating[Any]], sigma: float) -> F32:
    """``meshes``, ``[N, 468, 2]``, smooth in time; points that move faster than noise, as lips that speak, stay
    where they are. ``sigma`` in frames."""
    calm = smooth_in_time(meshes, sigma)
    width = np.linalg.norm(calm[:, 291] - calm[:, 61], axis=1)[:, None]
    apart = np.linalg.norm(meshes - calm, axis=2) / np.maximum(width, 1)
    real = np.clip((apart - NOISE) / NOISE, 0, 1)[..., None]
    return np.asarray(calm + (meshes - calm) * real, np.float32)


def box_alpha(side: int) -> NDArray[np.uint8]:
    """How much of a square crop is pasted: the lower face, feathered on all sides, 0 on the border."""
    flank, top, bottom = (round(side * share) for share in (FLANK, TOP, BOTTOM))
    return _feathered(side, np.s_[top : side - bottom, flank : side - flank], FEATHER)


def whole_alpha(side: int) -> NDArray[np.uint8]:
    """The same of a box in which the face leans: all of it, feathered. Engines say themselves what they change."""
    rim = max(round(side * RIM), 1)
    return _feathered(side, np.s_[rim : side - rim, rim : side - rim], RIM)


def _feathered(side: int, inner: tuple[slice, slice], feather: float) -> NDArray[np.uint8]:
    mask = np.zeros((side, side), np.float32)
    mask[inner] = 1
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), side * feather, borderType=cv2.BORDER_CONSTANT))
    alpha: NDArray[np.uint8] = np.clip(soft * 255 + 0.5, 0, 255).astype(np.uint8)
    alpha[[0, -1], :] = 0
    alpha[:, [0, -1]] = 0
    return alpha
