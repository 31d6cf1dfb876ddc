"""The mouth's displacement field: where each pixel of the moved lower face comes from.

The picture is split along the seam of the lips into an upper and a lower half, each moved by its own smooth
field and looked up backwards; between the two lies the inside of the mouth. All lengths are crop pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.api import CROP
from models.warp.track import MouthState

F32 = NDArray[np.floating[Any]]
COLUMNS = 33
"""Samples along each lip curve."""
NOSE, JAW = 0, 1
"""Indices of the anchors: base of the nose, tip of the chin."""
UPPER_SHARE, UPPER_SHARE_ROUND = 0.42, 0.50
"""How much of the gap opens above the corners of the mouth, spread and rounded; the jaw makes the rest."""
CORNER_SHARE = 0.34
"""How far the corners come down with the jaw, in gaps: the hole is an oval, not a half-moon."""
STRAIGHT_ROUND, STRAIGHT_OPEN = 0.9, 0.85
"""How much of the smile in the resting mouth's line rounded and wide open lips lose."""
TALL = (0.18, 0.60)
"""Gaps, in half widths, between which a mouth becomes a wide open one."""
NARROW_ROUND, NARROW_OPEN, WIDEN = 0.17, 0.13, 0.14
"""How much of their width rounded and open lips (per half width of gap) lose, and spread ones gain."""
CALM_ROUND, CALM_OPEN = 0.70, 0.45
"""How much of what a smile adds to the width goes as lips round or open."""
RELAXED = 0.148
"""Half width of an unsmiling mouth, as a share of the crop; what a smile adds goes where lips round or open."""
SMILE_MAX = 0.30
OVAL_ROUND, OVAL_OPEN = 0.75, 0.60
"""How nearly the outline of rounded and wide open lips is an oval."""
GATHER, GATHER_MAX = 0.06, 0.03
"""How much of the width that rounded lips lose comes back as their thickness, and the most of it in half widths:
they push forward."""
UPPER_LEAST = 0.19
"""The least height of the upper lip of a mouth that speaks, in half widths of an unsmiling mouth."""
BITE_NARROW, BITE_STRAIGHT = 0.36, 0.25
"""How much narrower the opening is for f than the lips, and how much of the smile in their line goes."""
BITE_LIFT, BITE_MEETS = 0.085, 0.03
"""How far the upper lip rises for f, and how far below the closed seam the lower one meets the teeth then."""
EVEN = 0.25
"""How much of its narrowing a mouth does in its middle: the corners fold, the red of the lips keeps its shape."""
HOLE_NARROW = 0.50
"""How much narrower than rounded lips their opening is, as a share of their width."""
HOLE_LEAST = 0.82
"""The least half width of a rounded opening, in its heights: it is never upright."""
SEAM = 0.055
"""Of the lips' edges this much, in half widths, is the dark line between closed lips: not seen when they part."""
LIPS = 0.20
"""So far above and below the corners everything moves sideways as they do, in half widths."""
BESIDE, BESIDE_ROUND = 2.4, 0.25
"""So far from the middle, in half widths, cheeks move as corners do; less where lips round: the jaw keeps its
outline.
"""
CHEEK, WING = 0.55, 0.50
"""How far above the base of the nose cheeks move, and from where on beside its middle; half widths."""
HAIR_STAYS, HAIR_LIFT, HAIR_WIDE = 0.85, 0.65, 0.40
"""What a moustache keeps of its place, and how much less the lip below it rises and narrows."""
HAIR_LIPS, HAIR_SPREAD = 0.0, 0.13
"""How far above the corners a moustache moves sideways as they do, and over which distance less; half widths."""
EDGE_ROWS = 5
"""So many rows beyond the edges of the lips both halves are known."""
REACH = 3.3
"""Half width of the moved region, in half widths of the mouth."""
POSES = 512
"""Poses of which is kept what depends on nothing else, most recent first: those of two built-in loops."""
UNSEEN = 1e-3
"""Pixels by which nothing needs to be moved."""


@dataclass(frozen=True, eq=False)
class Pose:
    """One pose's mouth in crop pixels. Equal to itself alone: what depends on it can be kept with it."""

    curves: F32
    """``[4, COLUMNS, 2]``: upper outline, upper seam, lower seam, lower outline, left corner to right."""
    nose: F32
    chin: F32

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Middle between the corners."""
        (x0, y0), (x1, y1) = self.curves[1, 0].tolist(), self.curves[1, -1].tolist()
        return (x0 + x1) / 2, (y0 + y1) / 2

    @cached_property
    def half(self) -> float:
        """Half the mouth's width."""
        return float(self.curves[1, -1, 0] - self.curves[1, 0, 0]) / 2

    @cached_property
    def smile(self) -> float:
        """How much wider the mouth is than one that does not smile, as a share of that."""
        return min(max(self.half / (RELAXED * CROP) - 1, 0.0), SMILE_MAX)

    def shifted(self, dx: float, dy: float) -> Pose:
        """The same mouth elsewhere."""
        by = np.array([dx, dy], np.float32)
        return Pose(self.curves + by, self.nose + by, self.chin + by)

    @cached_property
    def relaxed(self) -> float:
        """Half the mouth's width without its smile: the scale of teeth and jaw."""
        return self.half / (1 + self.smile)


@dataclass(frozen=True, slots=True)
class Field:
    """Backward maps for a rectangle of the crop, and the moved lips' curves over its columns."""

    x0: int
    y0: int
    map_x: F32
    """``[h, w]``, of both halves."""
    upper_y: F32
    """``[n, w]``: the first rows, down to below the mouth."""
    lower_y: F32
    """``[m, w]``: the last rows, from above the mouth on."""
    upper_edge: F32
    """Inner edge of the upper lip per column, ``[w]``."""
    lower_edge: F32
    u: F32
    """Place across the moved mouth per column, -1 and 1 at its corners, ``[w]``."""
    half: float
    """Half width of the moved mouth."""
    seam: float
    """Height of the closed mouth's seam at its middle: the upper jaw's mark."""
    drop: float
    """How far the lower lip's inner edge went down at the middle."""
    inner: float
    """Half width of the opening, as a share of the mouth's."""

    @property
    def first_lower(self) -> int:
        """Row of the rectangle that ``lower_y`` begins with."""
        return len(self.map_x) - len(self.lower_y)

    def between_corners(self) -> tuple[Field, int]:
        """The same field over the columns of the mouth only, and the first of them."""
        within = np.flatnonzero(np.abs(self.u) <= 1)
        first, last = int(within[0]), int(within[-1]) + 1
        cut = slice(first, last)
        upper, lower, u = self.upper_edge[cut], self.lower_edge[cut], self.u[cut]
        return replace(self, x0=self.x0 + first, upper_edge=upper, lower_edge=lower, u=u), first


def clamped(value: F32) -> F32:
    """``value`` within 0 and 1; half the time of ``np.clip``."""
    found = np.maximum(value, 0)
    return np.minimum(found, 1, out=found)


def _smooth(value: F32) -> F32:
    t = clamped(value)
    rest = 3 - 2 * t
    t *= t
    t *= rest
    return np.asarray(t, np.float32)


def field(pose: Pose, state: MouthState, soft: float = 0.0, hair: float = 0.0) -> Field:
    """The displacement for ``state`` on ``pose``; ``soft`` is the blur of the picture's edges, sigma in pixels."""
    (cx, cy), half = pose.centre, pose.half
    x0, x1 = max(int(cx - REACH * half), 1), min(int(cx + REACH * half) + 1, CROP - 1)
    y0, y1 = max(int(pose.nose[1] - CHEEK * half) - 2, 1), CROP - 1
    x = np.arange(x0, x1, dtype=np.float32)
    y = np.arange(y0, y1, dtype=np.float32)[:, None]

    opened = _opened(state)
    tall = opened * max(1 - 0.9 * state.wide, 0)
    stretch = 1 + (_stretch(state, pose.smile) - 1) * (1 - HAIR_WIDE * hair)
    moved = half * stretch
    u = (x - np.float32(cx)) * np.float32(1 / moved)
    across = np.abs(u)
    within = across < 1
    far = BESIDE - BESIDE_ROUND * state.round
    fall = _smooth((far - across * stretch) / (far - stretch))

    # Where each column comes from at the mouth's own height.
    even = min(1.0, stretch / (1 - EVEN * (1 - stretch)))
    inner = u * (moved - half * (even + (1 - even) * across**3))
    beside = _smooth((across * stretch - WING) / 0.45)
    start = np.float32(pose.nose[1]) - np.float32(CHEEK * half) * beside
    push = np.where(within, inner, np.sign(u) * (moved - half) * fall)
    at = x - push
    upper_out, upper_in, lower_in, lower_out = (
        np.interp(at, curve[:, 0], curve[:, 1]).astype(np.float32) for curve in pose.curves
    )
    middle = float(upper_in[within].mean())

    # A smile widens a mouth, but its jaw drops no further for that.
    gap = state.open * pose.relaxed
    # The lips touch at their corners, rounded ones far inwards: the opening is narrower than they are.
    hole = HOLE_NARROW * state.round * (1 - 0.35 * state.teeth) * (1 - 0.6 * min(state.open, 1.0))
    share = 0.95 - hole - BITE_NARROW * state.bite - 0.10 * tall
    share = max(share, HOLE_LEAST * state.open * state.round / stretch)
    oval = np.maximum(1 - u * u, 0)
    arch = np.maximum(1 - (u / share) ** 2, 0) ** np.float32(max(0.74 - 0.24 * state.round - 0.16 * tall, 0.5))
    outline = _softened(np.sqrt(oval))
    up = (UPPER_SHARE + (UPPER_SHARE_ROUND - UPPER_SHARE) * state.round) * (1 - HAIR_LIFT * hair)
    lift, drop = up * gap, (1 - up) * gap
    lift += half * (0.07 * state.teeth * (1 - state.round) + BITE_LIFT * state.bite)
    sunk = CORNER_SHARE * gap * (1 - 0.6 * state.round) - 0.02 * half * state.wide
    straight = max(STRAIGHT_ROUND * state.round, STRAIGHT_OPEN * opened, BITE_STRAIGHT * state.bite)
    corner = (sunk - straight * (upper_in - middle)) * fall
    rolled = 0.05 * half * state.closed
    gather = GATHER * state.round * max(1 / stretch - 1, 0)
    most = np.float32(GATHER_MAX * half)
    pout = 0.01 * half * state.round

    d_upper_in = corner - lift * arch
    # Bitten, the lower lip meets the edge of the upper teeth, whatever the jaw does.
    d_lower_in = corner + (drop + (BITE_MEETS * half - drop) * state.bite) * arch
    d_upper_in, d_lower_in = _apart(upper_in, lower_in, d_upper_in, d_lower_in)
    above, below = upper_in - upper_out, lower_out - lower_in
    tucked = np.minimum(0.16 * half, 0.45 * below) * state.bite
    d_upper_out = corner - (0.80 * lift + pout - rolled) * outline - np.minimum(gather * above, most)
    d_lower_out = corner + (drop + pout - rolled) * outline + np.minimum(gather * below, most) - tucked
    # A smile thins the upper lip; it fills again as the smile goes.
    d_upper_out -= np.maximum(UPPER_LEAST * pose.relaxed - above, 0) * outline * _raised(state)
    rounding = max(OVAL_ROUND * state.round, OVAL_OPEN * tall)
    base, round_ = upper_in + corner, np.sqrt(oval)
    d_upper_out += rounding * _to_oval(upper_out + d_upper_out - base, within, round_)
    d_lower_out += rounding * _to_oval(lower_out + d_lower_out - base, within, round_)
    # Hair above the lip stays; what moves is the lip below it.
    d_upper_out *= 1 - HAIR_STAYS * hair
    jaw = _smooth((3.3 - np.abs(x - np.float32(cx)) / pose.relaxed) / 1.7)
    d_chin = 0.60 * (sunk + drop) * jaw

    # What parted lips show begins beside the line that they were when closed.
    line = SEAM * half + 0.35 * soft
    upper_edge, lower_edge = upper_in + d_upper_in, lower_in + d_lower_in
    seam = np.minimum(line, 0.5 * np.maximum(lower_edge - upper_edge, 0))

    margin = EDGE_ROWS + int(soft)
    top = y[: min(max(int(np.ceil(lower_edge.max())) + margin - y0, 1), len(y))]
    low = y[min(max(int(np.floor(upper_edge.min())) - margin - y0, 0), len(y) - 1) :]

    outer = upper_out + d_upper_out
    upper_y = np.repeat(top, len(x), axis=1)
    _pull(upper_y, top, start, outer, d_upper_out)
    _pull(
        upper_y, top, outer, upper_edge, d_upper_in + np.minimum(seam, 0.65 * above) - d_upper_out, straight=True
    )

    outer = lower_out + d_lower_out
    chin_y = np.float32(max(pose.chin[1], lower_out.max() + 4)) + d_chin
    end_y = np.float32(CROP - 2)
    d_edge = d_lower_in - seam
    lower_y = low - d_edge
    _pull(lower_y, low, lower_edge, outer, d_lower_out - d_edge, straight=True)
    _pull(lower_y, low, outer, chin_y, d_chin - d_lower_out, straight=True)
    _pull(lower_y, low, np.minimum(chin_y, end_y - 6), end_y, -d_chin)

    height = cy + sunk + straight * (middle - cy)
    down = (y - np.float32(height)) * np.float32(1 / half)
    below_nose = (y - np.float32(pose.nose[1])) * np.float32(1 / half)
    level = _level(down, across, drop / half, state.round, beside, hair, below_nose)
    # Away from the lips the columns of their corners leave no line in the skin.
    soft_push = _softened(push)
    return Field(
        x0,
        y0,
        _sideways(x, level, push, soft_push, _smooth((CROP - 2 - y) / 24)),
        np.asarray(upper_y, np.float32),
        np.asarray(lower_y, np.float32),
        upper_edge,
        lower_edge,
        u,
        moved,
        float(np.interp(cx, pose.curves[1, :, 0], pose.curves[1, :, 1])),
        sunk + drop,
        share,
    )


def _level(v: F32, across: F32, drop: float, rounded: float, beside: F32, hair: float, below_nose: F32) -> F32:
    """How much of its sideways movement a column makes: the lips all. ``[h, w]``.

    Args:
        v: how far below the corners, half widths: ``[h, 1]``.
        across: how far beside the middle of the moved mouth, its half widths: ``[w]``.
        drop: of the jaw, half widths.
        rounded: of the lips.
        beside: 1 in cheeks, which move further up than what is above the lips: ``[w]``.
        hair: a moustache hardly moves.
        below_nose: how far below its base, half widths: ``[h, 1]``.
    """
    lips = LIPS + 0.22 * rounded
    over, spread = (a + (b - a) * hair for a, b in ((lips, HAIR_LIPS), (0.48 - 0.16 * rounded, HAIR_SPREAD)))
    down = np.maximum(v - lips, 0) / (0.50 - 0.16 * rounded + 0.7 * drop)
    up = np.minimum(v + over, 0)
    middle, cheeks = (
        np.exp(-0.5 * (down**2 + (up / width) ** 2)) * _smooth((below_nose + above) / 0.72)
        for width, above in ((spread, 0.0), (spread + 0.40 * (1 - hair), CHEEK))
    )
    # Every term is the product of one factor of the row and one of the column.
    count = 4 if rounded > 0 else 2
    rows, columns = np.empty((len(v), count), np.float32), np.empty((count, len(beside)), np.float32)
    rows[:, :1], rows[:, 1:2] = middle, cheeks - middle
    columns[0], columns[1] = 1, beside
    if rounded > 0:
        # A pout is round below, too: its lower edge folds up more.
        foot = 0.12 * rounded * np.exp(-0.5 * ((v - drop - 0.36) / 0.16) ** 2)
        np.multiply(rows[:, :2], foot, out=rows[:, 2:])
        np.multiply(columns[:2], _smooth((1.8 - across) / 0.8), out=columns[2:])
    return np.asarray(rows @ columns, np.float32)


def _sideways(x: F32, level: F32, push: F32, soft: F32, fade: F32) -> F32:
    """Where each pixel comes from, across: ``[h, w]``.

    Args:
        x: columns, ``[w]``.
        level: of ``push``, ``[h, w]``; the rest moves by ``soft``. Overwritten.
        push: how far the columns move at the lips, ``[w]``.
        soft: how far away from them, ``[w]``.
        fade: how much of all this a row makes, ``[h, 1]``.
    """
    sideways = level * (push - soft)
    sideways += soft
    level *= -fade
    sideways *= level
    sideways += x
    return np.asarray(sideways, np.float32)


def _opened(state: MouthState) -> float:
    """How far the mouth is that of an open vowel: 0 to 1."""
    t = min(max((state.open - TALL[0]) / (TALL[1] - TALL[0]), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _stretch(state: MouthState, smile: float) -> float:
    """Width of the moved mouth over its width at rest. It follows the gap evenly: it never moves faster."""
    calmed = max(CALM_ROUND * state.round, CALM_OPEN * min(state.open, 1.0)) * smile / (1 + smile)
    narrowed = calmed + NARROW_ROUND * state.round + NARROW_OPEN * state.open * (1 - 0.5 * state.round)
    return 1 + WIDEN * state.wide * (1 - smile) - narrowed - 0.08 * state.bite


def _raised(state: MouthState) -> float:
    """How far the upper lip is that of a speaking mouth and not that of one at rest."""
    return min(1.0, state.round + 2 * state.open + 0.6 * state.bite) * (1 - state.closed)


def _to_oval(height: F32, within: NDArray[np.bool_], oval: F32) -> F32:
    """What is missing from a lip's outline, by its height over the corners, to be half an oval as high.

    Args:
        height: ``[w]``.
        within: the columns of the mouth.
        oval: a half circle over them.
    """
    height = np.where(within, height, 0)
    return np.asarray(height[int(np.abs(height).argmax())] * oval - height, np.float32)


_KERNEL = np.array([1, 3, 6, 9, 11, 12, 11, 9, 6, 3, 1], np.float32) / np.float32(72)


def _softened(profile: F32) -> F32:
    """Without the kink at the corners, which would show as a line in the skin below them."""
    return np.asarray(np.convolve(profile, _KERNEL, "same"), np.float32)


def _apart(upper: F32, lower: F32, d_upper: F32, d_lower: F32) -> tuple[F32, F32]:
    """Keep the lower lip from passing through the upper one: where they cross, both meet half way."""
    cross = np.maximum((upper + d_upper) - (lower + d_lower), 0) / 2
    return d_upper - cross, d_lower + cross


def _pull(rows_y: F32, y: F32, start: F32, stop: F32 | np.float32, by: F32, *, straight: bool = False) -> None:
    """Let the rows of a backward map come from further up, in place: none above ``start`` (per column), ``by``
    below ``stop``, rising between.

    Args:
        rows_y: ``[n, w]``.
        y: its rows in the crop, ``[n, 1]``.
        start: ``[w]``.
        stop: ``[w]``, or one for all.
        by: ``[w]``.
        straight: rising evenly, not softly.
    """
    moving = np.flatnonzero(np.abs(by) > UNSEEN)
    if not len(moving):
        return
    columns = slice(int(moving[0]), int(moving[-1]) + 1)
    start, by, stop = start[columns], by[columns], stop[columns] if isinstance(stop, np.ndarray) else stop
    top, steep = float(y[0, 0]), 1 / np.maximum(stop - start, 0.5)
    first = min(max(int(float(start.min()) - top), 0), len(y))
    last = min(max(int(float((start + 1 / steep).max()) - top) + 2, first), len(y))
    t = (y[first:last] - start) * steep
    np.maximum(t, 0, out=t)
    np.minimum(t, 1, out=t)
    if not straight:
        rest = 3 - 2 * t
        t *= t
        t *= rest
    t *= by
    rows_y[first:last, columns] -= t
    rows_y[last:, columns] -= by
