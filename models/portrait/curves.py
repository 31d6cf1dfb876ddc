"""Curves that the painted portrait and its movement share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.floating[Any]]


def spline(points: ArrayLike, count: int = 64, *, closed: bool = False) -> F32:
    """A Catmull-Rom curve through ``points`` ``[n, d]``, sampled at ``count`` places: f32 ``[count, d]``."""
    p = np.asarray(points, np.float64)
    n = len(p)
    t = np.linspace(0, n if closed else n - 1, count, endpoint=not closed)
    i = np.minimum(t.astype(int), n - 1 if closed else n - 2)
    u = (t - i)[:, None]
    if closed:
        a, b, c, d = (p[(i + k) % n] for k in (-1, 0, 1, 2))
    else:
        ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
        a, b, c, d = (ends[i + k] for k in (0, 1, 2, 3))
    curve = 0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3)
    return np.asarray(curve, np.float32)


def smoothstep(low: float, high: float, value: F32) -> F32:
    """0 below ``low``, 1 above ``high``, smooth between; also falling when low > high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
