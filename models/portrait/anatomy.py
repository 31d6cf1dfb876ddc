"""Where everything is: the portrait's proportions, in scene units with the origin between the eyes.

x runs to the viewer's right, y down; one unit is one pixel of the finished picture. The face is 196 units
wide, so that its lower half fits a 256-pixel crop without resampling.
"""

from __future__ import annotations

import numpy as np

from models.portrait.paint import F32, spline

EYE = (43.0, 0.0)
"""Middle of the eye on the viewer's right; the other one mirrors it."""
IRIS = 11.6
CHIN = (0.0, 151.0)
NOSE_TIP = (0.0, 58.0)
NOSE_BASE = (0.0, 73.0)
MOUTH = (0.0, 103.0)
MOUTH_HALF = 35.0

FACE_HALF = np.array(
    [
        (0, -122), (46, -114), (80, -86), (95, -46), (98, -4), (95, 40), (87, 78), (71, 111),
        (47, 136), (22, 149), (0, 152),
    ],
    np.float32,
)  # fmt: skip
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
    upper = spline([(-h, 101.2), (-23, 96.6), (-8, 92.4), (0, 94.2), (8, 92.4), (23, 96.6), (h, 101.2)], 129)
    seam = spline([(-h, 101.2), (-22, 103.0), (-9, 103.2), (0, 104.4), (9, 103.2), (22, 103.0), (h, 101.2)], 129)
    lower = spline(
        [(-h, 101.2), (-26, 109.6), (-13, 115.8), (0, 117.4), (13, 115.8), (26, 109.6), (h, 101.2)], 129
    )
    x = np.linspace(-h, h, count, dtype=np.float32)
    curves = [np.stack([x, np.interp(x, c[:, 0], c[:, 1])], axis=1) for c in (upper, seam, seam, lower)]
    return np.asarray(curves, np.float32)
