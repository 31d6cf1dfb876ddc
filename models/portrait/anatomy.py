"""Where everything is: the portrait's proportions, in scene units with the origin between the eyes.

x runs to the viewer's right, y down; one unit is one pixel of the finished picture. The face is 196 units
wide, so that its lower half fits a 256-pixel crop without resampling.
"""

from __future__ import annotations

import numpy as np

from models.portrait.curves import F32, spline

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
    c = 95.6
    upper = spline([(-h, c), (-26, 95.0), (-8.5, 91.0), (0, 93.1), (8.5, 91.0), (26, 95.0), (h, c)], 129)
    seam = spline([(-h, c), (-26, 101.0), (-9.5, 103.5), (0, 104.6), (9.5, 103.5), (26, 101.0), (h, c)], 129)
    lower = spline([(-h, c), (-28, 108.6), (-13.5, 117.0), (0, 119.2), (13.5, 117.0), (28, 108.6), (h, c)], 129)
    x = np.linspace(-h, h, count, dtype=np.float32)
    curves = [np.stack([x, np.interp(x, c[:, 0], c[:, 1])], axis=1) for c in (upper, seam, seam, lower)]
    return np.asarray(curves, np.float32)
