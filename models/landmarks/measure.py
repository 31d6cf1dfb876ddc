"""Numbers read off the 468 points of a face mesh. Pure.

Indices are those of the published mesh topology (canonical_face_model of mediapipe); "left" and "right" are
sides of the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]
"""``[468 or more, 2 or 3]``, pixels."""

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The outline of the face, closed, from the middle of the forehead clockwise."""
LIPS_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LIPS_UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LIPS_LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LIPS_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
"""Corner to corner, left to right."""
OUTER_LIPS = LIPS_UPPER_OUTER + LIPS_LOWER_OUTER
OUTER_LIPS_MIRRORED = LIPS_UPPER_OUTER[::-1] + LIPS_LOWER_OUTER[::-1]
"""The same places in a mirrored picture."""
LEFT_EYE_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LEFT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_EYE_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_EYE_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
"""Lids, left to right."""
LEFT_BROW = (46, 53, 52, 65, 55)
RIGHT_BROW = (285, 295, 282, 283, 276)
"""Lower edges of the brows, left to right."""
NOSE_TIP, NOSE_BASE, CHIN, FOREHEAD = 1, 2, 152, 10
LEFT_CHEEK, RIGHT_CHEEK = 234, 454
LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 33, 263
_LEFT_OF_PAIRS = (LEFT_EYE_OUTER, 133, LEFT_CHEEK, 61, 172, 46)
_RIGHT_OF_PAIRS = (RIGHT_EYE_OUTER, 362, RIGHT_CHEEK, 291, 397, 276)
"""Corners of the eyes, cheeks, corners of the mouth, jaw, ends of the brows."""
NOSE_REACH = 0.45
"""Height of the nose's tip above the line between the cheeks, in widths of the face."""


def lip_gap(points: Points) -> float:
    """Opening of the mouth: mean distance of the inner lips over their middle three columns, pixels."""
    upper = points[[82, 13, 312], :2]
    lower = points[[87, 14, 317], :2]
    return float(np.linalg.norm(lower - upper, axis=1).mean())


def lip_width(points: Points) -> float:
    """Width of the mouth: distance of its outer corners, pixels."""
    return float(np.linalg.norm(points[291, :2] - points[61, :2]))


def face_width(points: Points) -> float:
    """Distance of the outer corners of the face at the height of the ears, pixels; grows less when it turns."""
    return float(np.linalg.norm(points[RIGHT_CHEEK, :3] - points[LEFT_CHEEK, :3]))


def scatter(sets: NDArray[np.floating[Any]]) -> float:
    """How far sets of the same points, ``[V, N, 2]``, lie apart: mean distance from their median, pixels."""
    return float(np.linalg.norm(sets - np.median(sets, axis=0), axis=2).mean())


def eye_line(points: Points) -> NDArray[np.float64]:
    """The point between the eyes: ``[2]``."""
    return np.asarray(points[[LEFT_EYE_OUTER, 133, 362, RIGHT_EYE_OUTER], :2].mean(axis=0), np.float64)


def nose_share(points: Points) -> float:
    """How far below the line of the eyes the tip of the nose is, in distances from there to the chin; less, the
    further a head is thrown back.
    """
    down = points[CHIN, :2] - eye_line(points)
    return float((points[NOSE_TIP, :2] - eye_line(points)) @ down / max(float(down @ down), 1e-6))


def yaw_degrees(points: Points) -> float:
    """How far the face is turned to its side, degrees; 0 looks at the camera, positive to the picture's right.

    From where the tip of the nose lies between the cheeks. On a photo's mesh turned by 20, 30 and 40 degrees this
    reads 18, 30 and 42; the mesh's own depth, being flattened, only 11, 17 and 25.
    """
    across = points[RIGHT_CHEEK, :2] - points[LEFT_CHEEK, :2]
    offset = (points[NOSE_TIP, :2] - points[LEFT_CHEEK, :2]) @ across / max(float(across @ across), 1e-6) - 0.5
    return float(np.degrees(np.arctan(offset / NOSE_REACH)))


def roll_degrees(points: Points) -> float:
    """How far the head leans, degrees, clockwise, -180 to 180.

    From six pairs of points that lie level in a face, however it is turned to the side: one pair alone follows
    crooked eyes or a crooked smile.
    """
    across = (points[list(_RIGHT_OF_PAIRS), :2] - points[list(_LEFT_OF_PAIRS), :2]).sum(axis=0)
    return float(np.degrees(np.arctan2(across[1], across[0])))
