"""Where the face box of each frame lies, and the lip curves that preparers start from. Pure."""

from __future__ import annotations

from typing import Any

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


def box_origins(
    meshes: NDArray[np.floating[Any]], side: int, size: tuple[int, int], shift: int = 0
) -> NDArray[np.int32]:
    """Upper left corners, even, the box wholly inside the frame: i32 ``[N, 2]``.

    Args:
        meshes: ``[N, 468, 2 or 3]``, pixels, smooth in time.
        side: of the box.
        size: width and height of the frames.
        shift: pixels further down (``bbox_shift``).
    """
    middle = (meshes[:, measure.LEFT_CHEEK, 0] + meshes[:, measure.RIGHT_CHEEK, 0]) / 2
    chin = meshes[:, measure.CHIN]
    x = (middle + chin[:, 0]) / 2 - side / 2
    y = chin[:, 1] + BELOW_CHIN * side - side + shift
    corner = 2 * np.rint(np.stack([x, y], axis=1) / 2)
    limit = (np.asarray(size) - side) & ~1
    return np.asarray(np.clip(corner, 0, limit), np.int32)


def lip_landmarks(mesh: NDArray[np.floating[Any]]) -> F32:
    """Lip curves, base of the nose, tip of the chin: f32 ``[4 * COLUMNS + 2, 2]`` from ``[468, 2 or 3]``.

    The curves are upper outline, upper seam, lower seam, lower outline, each from the left corner of the
    mouth to the right one, at the same columns.
    """
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


def box_alpha(side: int) -> NDArray[np.uint8]:
    """How much of a square crop is pasted: the lower face, feathered on all sides, 0 on the border."""
    mask = np.zeros((side, side), np.float32)
    flank, top, bottom = (round(side * share) for share in (0.085, 0.40, 0.055))
    mask[top : side - bottom, flank : side - flank] = 1
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), side * 0.026, borderType=cv2.BORDER_CONSTANT))
    alpha: NDArray[np.uint8] = np.clip(soft * 255 + 0.5, 0, 255).astype(np.uint8)
    alpha[[0, -1], :] = 0
    alpha[:, [0, -1]] = 0
    return alpha
