"""The inside of the mouth: cavity, tongue and two rows of teeth, drawn into the gap between the lips."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.warp.geometry import Field, clamped
from models.warp.look import Look
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]

CAVITY = np.array([44, 40, 92], np.float32)
CAVITY_DEEP = np.array([27, 24, 56], np.float32)
TONGUE = np.array([116, 114, 200], np.float32)
TOOTH = np.array([220, 240, 255], np.float32)
GUM = np.array([112, 104, 190], np.float32)
"""BGR, for a face of middle exposure."""
WARM = np.array([1.16, 1.05, 0.90], np.float32)
"""Exponents of shade, BGR: inside a mouth shadows are red, since light comes through the lips."""
TOOTH_EDGES = np.array([0.0, 0.285, 0.50, 0.69, 0.82], np.float32)
"""Gaps between the upper teeth from the middle outwards, in half widths of the mouth at rest."""
BITE_ARC = 0.105
"""How much higher than in the middle the upper teeth end one half width to the side, in half widths."""
SHADOW = 0.13
"""How far down the upper lip shades what lies behind it, in half widths."""
EDGE_DARK = 0.22
"""How dark the biting edge of the upper teeth is: where rows meet, the line between them is seen."""
CLEFT, CLEFT_SIDE = 0.24, 0.14
"""How dark the lines between the middle four teeth and between the others are."""
PARTED = (0.05, 0.28)
"""Gaps, in half widths, from which on the upper teeth come out from behind the lip, and are seen in full."""
HAIR_HANGS = 0.10
"""How much lower the upper teeth end below a moustache, which does not rise from them; half widths."""
FADE = 0.42
"""Where the inside begins to grow dark towards the corners of the opening, in its half widths."""


class _Place(NamedTuple):
    """Where the pixels to draw are."""

    y: F32
    """Rows, crop pixels: ``[h, 1]``."""
    x: F32
    """Columns in half widths of the mouth at rest, 0 in the middle: ``[w]``."""
    u: F32
    """Columns, -1 and 1 at the corners of the opening: ``[w]``."""
    unit: float
    """Half width of the mouth at rest, crop pixels."""
    soft: float
    """Width of an edge, crop pixels."""

    def cover(self, value: F32) -> F32:
        """What lies inside of an edge at 0, as soft as the picture's."""
        return np.asarray(clamped(value / self.soft + 0.5))


def inside(field: Field, state: MouthState, rows: slice, rest_half: float, look: Look) -> F32:
    """Colours of ``rows`` of the field: f32 BGR ``[3, h, w]``, a plane for each.

    Args:
        field: the displaced mouth, between its corners.
        state: the mouth's state.
        rows: rows of the field to draw, those that hold the gap.
        rest_half: half width of the mouth at rest, unsmiling; teeth do not stretch with the lips.
        look: light, colour, sharpness and grain of the picture.
    """
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + field.y0)[:, None]
    u = np.asarray(field.u / field.inner)
    place = _Place(y, field.u * (field.half / rest_half), u, rest_half, look.edge)
    top, bottom = field.upper_edge[None, :], field.lower_edge[None, :]
    depth = clamped((y - top) / np.maximum(bottom - top, 0.5))
    colour = depth * np.sqrt(depth) * (CAVITY - CAVITY_DEEP)[:, None, None]
    colour += CAVITY_DEEP[:, None, None]

    upper_end = _upper_teeth_end(field, state, place, look)
    raised = state.tongue * (1 - state.between) * (1 - 0.8 * state.round)
    if raised < 1:
        _tongue(colour, field, place)
    _teeth(colour, place, _lower_teeth_top(field, state, place, upper_end), lower=True)
    if raised > 0:
        _raised_tongue(colour, field, place, upper_end, raised)
    _teeth(colour, place, upper_end, lower=False)
    if state.between > 0:
        _tip(colour, field, place, upper_end, state.between)

    # The lips shade what lies behind them; the corners are dark.
    below = clamped((y - top) / (SHADOW * rest_half))
    shade = 0.90 + 0.10 * below * (2 - below)
    shade *= 0.80 + 0.20 * clamped((bottom - y) / (0.07 * rest_half))
    side = clamped((np.abs(u) - FADE) / (1 - FADE))
    shade *= (1 - 0.48 * side * side) * (1 - 0.30 * state.round * (1 - state.teeth))
    colour *= _warm(shade)
    return look.seen(np.asarray(colour, np.float32), rows.start)


def _upper_teeth_end(field: Field, state: MouthState, place: _Place, look: Look) -> F32:
    """The biting edge per column. The upper teeth belong to the skull: the lip uncovers them, rounded lips hide
    them.
    """
    # Lips that only just part show a dark slit: what uncovers the teeth is the jaw.
    parted = min(max((state.open - PARTED[0]) / (PARTED[1] - PARTED[0]), 0.0), 1.0)
    shown = max(parted, state.teeth, state.bite)
    visible = 0.135 * shown - 0.04 + 0.02 * (state.teeth - state.bite) + HAIR_HANGS * look.hair * shown
    visible -= 0.30 * state.round * (1 - state.teeth)
    return np.asarray(field.seam + place.unit * (visible - BITE_ARC * np.clip(place.x**2, 0, 1.2)), np.float32)


def _lower_teeth_top(field: Field, state: MouthState, place: _Place, upper_end: F32) -> F32:
    hanging = field.seam + place.unit * (0.17 - 0.05 * place.x**2) + 0.90 * field.drop
    meeting = upper_end - 0.035 * place.unit  # behind the upper ones, so that no hole shows between
    return np.asarray(hanging + (meeting - hanging) * min(1.0, 1.1 * state.teeth), np.float32)


def _middle(field: Field) -> tuple[float, float]:
    """Upper and lower end of the opening at its middle, crop pixels."""
    middle = int(np.abs(field.u).argmin())
    return float(field.upper_edge[middle]), float(field.lower_edge[middle])


def _warm(shade: F32) -> F32:
    """``shade`` of each colour: ``[3, h, w]``."""
    found = np.empty((len(WARM), *shade.shape), np.float32)
    for plane, exponent in zip(found, WARM, strict=True):
        np.power(shade, exponent, out=plane)
    return found


def _paint(colour: F32, tone: F32, cover: F32) -> None:
    """Lay ``tone``, which is overwritten, over ``colour``, both ``[3, h, w]``."""
    tone -= colour
    tone *= cover
    colour += tone


def _tongue(colour: F32, field: Field, place: _Place) -> None:
    """At rest on the floor of the mouth: its back is seen."""
    top, bottom = _middle(field)
    low = bottom + 0.06 * place.unit
    lift = min(0.07 * place.unit + 0.36 * (bottom - top), 0.60 * (bottom - top))
    u2 = np.minimum(place.u**2, 0.62)
    arc = np.sqrt(1 - u2 / 0.62)
    surface = low - lift * arc
    cover = place.cover((place.y - surface) * np.minimum(arc * 3, 1)) * (arc > 0)
    round_ = clamped((place.y - surface) / (0.9 * lift + 1))
    tone = (0.50 + 0.40 * np.exp(-(((round_ - 0.45) / 0.32) ** 2))) * (1 - 0.5 * u2 / 0.62)
    tone = tone * (1 - 0.16 * np.exp(-u2 / 0.006) * round_)
    _paint(colour, TONGUE[:, None, None] * _warm(tone), 0.92 * cover)


def _raised_tongue(colour: F32, field: Field, place: _Place, upper_end: F32, amount: float) -> None:
    """Its tip behind the upper teeth: its underside is seen, narrow above and broad below, dark beside it."""
    _, bottom = _middle(field)
    tip = float(upper_end[len(upper_end) // 2]) - 0.05 * place.unit
    height = max(bottom + 0.05 * place.unit - tip, 1.0)
    surface = bottom + 0.05 * place.unit - amount * height * clamped(1 - (np.abs(place.u) / 0.54) ** 2.4)
    cover = place.cover(place.y - surface) * (np.abs(place.u) < 0.54)
    down = clamped((place.y - tip) / height)
    across = np.minimum(np.abs(place.u) / 0.54, 1)
    tone = (0.98 - 0.34 * down) * (1 - 0.40 * across**2) * (1 - 0.26 * np.exp(-((across / 0.10) ** 2)) * down)
    _paint(colour, TONGUE[:, None, None] * _warm(tone), 0.95 * cover)


def _tip(colour: F32, field: Field, place: _Place, upper_end: F32, amount: float) -> None:
    """Its tip between the rows of teeth, over the lower ones and under the edge of the upper ones."""
    _, bottom = _middle(field)
    half = 0.46 * place.unit
    arc = np.sqrt(clamped(1 - (place.x * (place.unit / half)) ** 2))
    middle = float(upper_end[len(upper_end) // 2])
    surface = bottom - amount * arc * (bottom - middle + 0.055 * place.unit)
    cover = place.cover((place.y - surface) * np.minimum(arc * 3, 1)) * (arc > 0)
    down = clamped((place.y - surface) / max(bottom - middle + 0.055 * place.unit, 1.0))
    tone = (0.84 + 0.24 * np.exp(-(((down - 0.55) / 0.28) ** 2))) * (0.72 + 0.28 * arc)
    _paint(colour, TONGUE[:, None, None] * _warm(tone), cover)


def _teeth(colour: F32, place: _Place, edge: F32, *, lower: bool) -> None:
    """One row. ``edge`` is the biting edge per column."""
    y, unit = place.y, place.unit
    edges = TOOTH_EDGES * (0.62 if lower else 1.0)
    ax = np.abs(place.x)
    reach = edges[-1] + 0.14
    # Towards the cheeks the row recedes into the dark.
    span = clamped((reach - ax) / 0.26)
    inside = (y - edge) if lower else (edge - y)
    if not (place.cover(inside) * span).any():
        return  # as the lower row mostly is, behind the lip
    apart = np.abs(ax[:, None] - edges[None, :])
    nearest = apart.min(axis=1) * unit
    cleft = np.where(apart.argmin(axis=1) < 3, CLEFT, CLEFT_SIDE) * (0.6 if lower else 1.0)
    scallop = (0.008 if lower else 0.012) * unit * np.exp(-((nearest / (0.030 * unit + 0.4)) ** 2))
    cover = place.cover(inside - scallop) * span
    # A tooth is round: it darkens a little towards the line beside it.
    seam = 1 - cleft * np.exp(-((nearest / 0.8) ** 2)) - 0.07 * np.exp(-((nearest / (0.06 * unit)) ** 2))
    turn = 1 - 0.46 * clamped(ax / reach) ** 2.0
    inward = clamped(inside / (0.22 * unit))
    bright = 1 - 0.08 * inward
    bright *= seam * turn * (0.80 if lower else 1.0)
    if lower:  # in the shadow of the upper row where the two meet
        bright *= 0.66 + 0.34 * clamped(inside / (0.10 * unit))
    else:
        bright *= 1 - EDGE_DARK * np.exp(-((inside / (0.014 * unit + 0.5 * place.soft)) ** 2))
    tone = TOOTH[:, None, None] * _warm(bright)
    root = clamped((inside / unit - 0.30) / 0.08)
    if root.any():
        tone += ((GUM * 0.8)[:, None, None] - tone) * root
    _paint(colour, tone, cover * 0.97)
