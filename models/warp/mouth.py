"""The inside of the mouth: cavity, tongue and two rows of teeth, drawn into the gap between the lips."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.warp.geometry import Field
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]

CAVITY = np.array([46, 34, 92], np.float32)
CAVITY_DEEP = np.array([24, 14, 48], np.float32)
TONGUE = np.array([122, 112, 208], np.float32)
TOOTH = np.array([230, 240, 247], np.float32)
GUM = np.array([112, 104, 190], np.float32)
"""BGR, for a face of middle exposure."""
WARM = np.array([1.16, 1.05, 0.90], np.float32)
"""Exponents of shade, BGR: inside a mouth shadows are red, since light comes through the lips."""
TOOTH_EDGES = np.array([0.0, 0.285, 0.50, 0.69, 0.82], np.float32)
"""Gaps between the upper teeth from the middle outwards, in half widths of the mouth at rest."""


def _cover(value: F32) -> F32:
    """Anti-aliased inside of an edge at 0, one pixel wide."""
    return np.asarray(np.clip(value + 0.5, 0, 1))


def inside(field: Field, state: MouthState, rows: slice, rest_half: float, light: NDArray[np.float32]) -> F32:
    """Colours of ``rows`` of the field: f32 BGR ``[h, w, 3]``.

    Args:
        field: the displaced mouth.
        state: the mouth's state.
        rows: rows of the field to draw, those that hold the gap.
        rest_half: half width of the mouth at rest; teeth do not stretch with the lips.
        light: colour of something white in this picture's light, BGR.
    """
    height, width = rows.stop - rows.start, len(field.u)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + field.y0)[:, None]
    x = field.u * (field.half / rest_half)  # in half widths at rest
    u2 = (field.u * field.u)[None, :]
    top, bottom = field.upper_edge[None, :], field.lower_edge[None, :]
    gap = np.maximum(bottom - top, 0.5)

    depth = np.clip((y - top) / gap, 0, 1)
    colour = CAVITY_DEEP + (CAVITY - CAVITY_DEEP) * (depth[..., None] ** 1.5)
    colour = np.broadcast_to(colour, (height, width, 3)).astype(np.float32)

    _tongue(colour, y, u2, field, state, rest_half)
    # The upper teeth belong to the skull: they do not move, the lip uncovers them; pursed lips hide them.
    visible = 0.100 + 0.02 * state.teeth - 0.20 * state.round * (1 - state.teeth)
    upper_end = np.float32(field.seam + visible * rest_half) - 0.064 * rest_half * np.clip(x * x, 0, 1.2)
    lower_start = _lower_teeth_top(field, state, rest_half, upper_end)
    _teeth(colour, y, x, np.asarray(lower_start, np.float32), field, rest_half, lower=True)
    _teeth(colour, y, x, np.asarray(upper_end, np.float32), field, rest_half, lower=False)

    # The lips shade what lies behind them; the corners are dark.
    shade = 0.76 + 0.24 * np.clip((y - top) / (0.13 * rest_half), 0, 1)
    shade = shade * (0.72 + 0.28 * np.clip((bottom - y) / (0.07 * rest_half), 0, 1))
    shade = shade * (1 - 0.50 * u2**2.0) * (1 - 0.34 * state.round * (1 - state.teeth))
    return np.asarray(colour * shade[..., None] ** WARM * light, np.float32)


def _lower_teeth_top(field: Field, state: MouthState, rest_half: float, upper_end: F32) -> F32:
    hanging = field.seam + 0.17 * rest_half + 0.90 * field.drop
    meeting = upper_end - 0.035 * rest_half  # behind the upper ones, so that no hole shows between
    return np.asarray(hanging + (meeting - hanging) * min(1.0, 1.1 * state.teeth), np.float32)


def _tongue(colour: F32, y: F32, u2: F32, field: Field, state: MouthState, rest_half: float) -> None:
    middle = len(field.u) // 2
    depth = float(field.lower_edge[middle] - field.upper_edge[middle])
    low = float(field.lower_edge[middle]) + 0.06 * rest_half
    lift = (0.07 + 0.16 * state.tongue) * rest_half + (0.38 + 0.20 * state.tongue) * depth
    arc = np.sqrt(np.clip(1 - u2 / 0.50, 0, 1))
    surface = low - lift * arc
    cover = _cover((y - surface) * np.minimum(arc * 3, 1)) * (arc > 0)
    roundness = np.clip((y - surface) / (0.9 * lift + 1), 0, 1)
    tone = TONGUE * ((0.50 + 0.42 * np.exp(-(((roundness - 0.42) / 0.30) ** 2))) * (1 - 0.5 * u2 / 0.5))[..., None]
    groove = np.exp(-u2 / 0.006) * 0.16 * roundness
    tone = tone * (1 - groove)[..., None]
    colour += (tone - colour) * (0.92 * cover)[..., None]


def _teeth(colour: F32, y: F32, x: F32, edge: F32, field: Field, rest_half: float, *, lower: bool) -> None:
    """One row. ``edge`` is the biting edge per column."""
    edges = TOOTH_EDGES * (0.62 if lower else 1.0)
    ax = np.abs(x)
    nearest = np.abs(ax[:, None] - edges[None, :]).min(axis=1) * rest_half
    scallop = (0.008 if lower else 0.012) * rest_half * np.exp(-((nearest / (0.030 * rest_half + 0.4)) ** 2))
    reach = edges[-1] + 0.08
    # Towards the cheeks the row recedes into the dark.
    span = np.clip((reach - ax) / 0.20, 0, 1)
    cover = _cover((y - (edge + scallop)) if lower else ((edge - scallop) - y)) * span
    seam = 1 - 0.13 * np.exp(-((nearest / 0.75) ** 2))
    turn = 1 - 0.55 * np.clip(ax / reach, 0, 1) ** 2.0
    inward = np.clip(((y - edge) if lower else (edge - y)) / (0.22 * rest_half), 0, 1)
    bright = (0.80 if lower else 1.0) * (1 - 0.16 * inward)
    if lower:  # in the shadow of the upper row where the two meet
        bright = bright * (0.66 + 0.34 * np.clip((y - edge) / (0.10 * rest_half), 0, 1))
    tone = TOOTH * (seam * turn * bright)[..., None] ** WARM
    root = np.clip((((y - edge) if lower else (edge - y)) / rest_half - 0.30) / 0.08, 0, 1)
    tone = tone + (GUM * 0.8 - tone) * root[..., None]
    colour += (tone - colour) * (cover * 0.97)[..., None]
