"""Where everything is: the portrait's proportions, in scene units with the origin between the eyes.

x runs to the viewer's right, y down; one unit is one pixel of the finished picture. The face is 196 units
wide, so that its lower half fits a 256-pixel crop without resampling.
"""

from __future__ import annotations

import numpy as np

from models.portrait.paint import F32, spline

EYE = (44.5, 0.0)
"""Middle of the eye on the viewer's right; the other one mirrors it."""
IRIS = 14.0
CHIN = (0.0, 153.0)
NOSE_TIP = (0.0, 58.0)
NOSE_BASE = (0.0, 73.0)
MOUTH_HALF = 39.0

FACE_HALF = np.array(
    [
        *((0, -122), (46, -114), (80, -86), (94, -46), (97, -4), (93.5, 40)),
        *((84, 78), (68, 110), (47, 135), (24, 150), (0, 154)),
    ],
    np.float32,
)
"""The face's outline on the viewer's right, from the hairline to the chin."""


def face_outline(count: int = 220) -> F32:
    """The closed outline of the face: f32 ``[count, 2]``."""
    left = FACE_HALF[-2:0:-1] * np.asarray([-1, 1], np.float32)
    return spline(np.vstack([FACE_HALF, left]), count, closed=True)


def mouth_curves(count: int = 33) -> F32:
    """The lips at rest, left corner to right: f32 ``[4, count, 2]``: upper outline, upper seam, lower
    seam, lower outline. The two seams coincide: the mouth is closed.
    """
    h = MOUTH_HALF
    c = 94.4
    upper = spline([(-h, c), (-26, 94.6), (-8.5, 90.2), (0, 92.6), (8.5, 90.2), (26, 94.6), (h, c)], 129)
    seam = spline([(-h, c), (-27, 100.2), (-10, 103.4), (0, 104.4), (10, 103.4), (27, 100.2), (h, c)], 129)
    lower = spline([(-h, c), (-29, 107.0), (-14, 116.0), (0, 118.4), (14, 116.0), (29, 107.0), (h, c)], 129)
    x = np.linspace(-h, h, count, dtype=np.float32)
    curves = [np.stack([x, np.interp(x, c[:, 0], c[:, 1])], axis=1) for c in (upper, seam, seam, lower)]
    return np.asarray(curves, np.float32)
