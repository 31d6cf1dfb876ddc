"""Lips that meet: an open mouth of a picture is closed with the picture's own pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import measure
from models.templates.features import Curve, Frame, frame_between, look_up, smooth, window_around

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
MEET = 0.35
"""Where lips meet, from the upper (0) to the lower (1)."""
END = 0.06
"""Over so much at both ends a mouth's opening fades, in its widths."""
ROUND, BROAD = 0.10, 0.22
"""How much wider than their inner edges the outlines of lips move, and the skin around them: sigma in widths."""
SPREAD = 0.45
"""So far from the lips skin moves as skin does, in widths."""
COLUMNS, SAMPLES = 49, 28
"""Places across the mouth at which the lips' edges are looked for, and samples of each way across a lip."""
LIP_LEAST = 0.20
"""So much of a lip, from its outline, is a lip whatever the picture says."""
SURE = slice(1, 7)
"""Samples that are taken for the lip itself."""
TRUST = 60.0
"""What it costs an edge to leave its place in the mesh, samples per width of the mouth."""
BEND = 0.7
"""What a step between neighbouring columns costs, per sample."""
PALE, DARK, WHITE = (0.95, 0.40), (0.62, 0.24), (1.15, 0.30)
"""Chroma of teeth, light of the dark, and light of teeth in a grey picture, in the lip's: where they begin to look
like it, and over how much."""
GREY = 6.0
"""Chroma of lips, levels, below which a picture has no colours."""


class _Lips(NamedTuple):
    """Edges of the lips over the frame's s axis."""

    top: Curve
    upper: Curve
    lower: Curve
    bottom: Curve


def inner_edges(picture: U8, points: F32) -> F32:
    """How far down from where the mesh has them the inner edges of the lips lie, as the picture shows.

    The mesh tends to take teeth for lip.

    Args:
        picture: u8 BGR ``[H, W, 3]``.
        points: ``[468, 2]``, its pixels.

    Returns:
        Of the upper and of the lower lip, ``[2, COLUMNS]`` from corner to corner, in widths of the mouth.
    """
    frame, width = _frame(points)
    s = _places(width)
    top, upper, lower, bottom = (curve(s).astype(np.float64) for curve in _mesh_lips(frame, points))
    found = []
    for outer, inner in ((top, upper), (bottom, lower)):
        way = np.linspace(outer + LIP_LEAST * (inner - outer), inner, SAMPLES)
        worth = _worth(_colours(picture, frame, s, way)) - TRUST * np.abs(way - inner) / width
        found.append(_evened(_path(way, worth) - inner) / width)
    return np.stack(found)


def close_mouth(picture: U8, points: F32, edges: F32 | None = None) -> F32:
    """Make the lips of ``picture`` meet, in place; returns ``points`` with the lips where they are now.

    An engine that moves a photo's own lips starts from a closed mouth: what is open at rest cannot be closed
    on m, b and p.

    Args:
        picture: u8 BGR ``[H, W, 3]``.
        points: ``[468, 2]``, its pixels.
        edges: see ``inner_edges``; None: those of this picture.
    """
    frame, width = _frame(points)
    window = window_around(points[list(measure.LIPS_UPPER_OUTER + measure.LIPS_LOWER_OUTER)], 0.9 * width, picture)
    if edges is None:
        edges = inner_edges(picture, points)
    lips = _corrected(_mesh_lips(frame, points), edges, width)
    shut = _Shut(lips, width, frame.local(points[[measure.NOSE_BASE, measure.CHIN]])[:, 1])
    if shut.tall < 1:
        return points
    x, y, s, t = frame.grid(*window)
    gap = shut.opening(s)
    meet = shut.seam(s)
    down, up = shut.shifts(s, t)
    above = look_up(picture, window, x, y, frame, -down)
    below = look_up(picture, window, x, y, frame, up)
    out = above + (below - above) * np.clip(t - meet + 0.5, 0, 1)[..., None]
    left = np.where(t < meet, t - down - lips.upper(s), lips.lower(s) - t - up)
    shown = _without(out, (left > 0) & (gap > 0))
    seam = np.exp(-0.5 * ((t - meet) / np.float32(0.018 * width)) ** 2) * np.clip(gap / (0.3 * shut.tall), 0, 1)
    shown = shown * (1 - 0.42 * seam)[..., None]
    x0, y0, x1, y1 = window
    picture[y0:y1, x0:x1] = np.clip(shown + 0.5, 0, 255).astype(np.uint8)
    return _closed_points(points, frame, shut)


class _Shut:
    """How a mouth is closed: what is at each place of its frame afterwards."""

    def __init__(self, lips: _Lips, width: float, reach: F32) -> None:
        self._lips, self._width = lips, width
        self._nose, self._chin = float(reach[0]), float(reach[1]) + 0.1 * width
        s = np.linspace(-0.9 * width, 1.9 * width, 257)
        gap = np.maximum(lips.lower(s) - lips.upper(s), 0)
        gap *= smooth((s - 0.02 * width) / (END * width)) * smooth((0.98 * width - s) / (END * width))
        self._s, self._gap = s, gap
        step = float(s[1] - s[0])
        self._outline, self._skin = (_blurred(gap, share * width / step) for share in (ROUND, BROAD))
        self.tall = float(gap.max())

    def opening(self, s: F32) -> F32:
        """Gap between the lips."""
        return np.asarray(np.interp(s, self._s, self._gap), np.float32)

    def seam(self, s: F32) -> F32:
        """Where the lips meet: t at every ``s``."""
        return np.asarray(self._lips.upper(s) + MEET * self.opening(s), np.float32)

    def outline(self, s: F32) -> F32:
        """The same at the outline of the lips: it stays as round as it is."""
        return np.asarray(np.interp(s, self._s, self._outline), np.float32)

    def shifts(self, s: F32, t: F32) -> tuple[F32, F32]:
        """How far what is at (s, t) afterwards came down (upper half) and up (lower half)."""
        meet, top, bottom = self.seam(s), self._lips.top(s), self._lips.bottom(s)
        down = MEET * self._amount(s, meet - t, meet - top - MEET * self.outline(s))
        up = (1 - MEET) * self._amount(s, t - meet, bottom - (1 - MEET) * self.outline(s) - meet)
        return (
            down * smooth((t - self._nose) / np.maximum(top - self._nose, 1)),
            up * smooth((self._chin - t) / np.maximum(self._chin - bottom, 1)),
        )

    def _amount(self, s: F32, away: F32, thick: F32) -> F32:
        """How much opening is closed ``away`` from the seam, where lips of this thickness end."""
        outline, skin = self.outline(s), np.interp(s, self._s, self._skin)
        lip = self.opening(s)
        lip = lip + (outline - lip) * smooth(away / np.maximum(thick, 1))
        return np.asarray(lip + (skin - outline) * smooth((away - thick) / (SPREAD * self._width)), np.float32)


def _blurred(profile: F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(profile.reshape(1, -1).astype(np.float32), (0, 0), sigma)[0])


def _mesh_lips(frame: Frame, points: F32) -> _Lips:
    """The lips as the mesh has them."""

    def curve(indices: tuple[int, ...]) -> Curve:
        return Curve(frame.local(points[list(indices)]))

    return _Lips(
        curve(measure.LIPS_UPPER_OUTER),
        curve((61, *measure.LIPS_UPPER_INNER, 291)),
        curve((61, *measure.LIPS_LOWER_INNER, 291)),
        curve(measure.LIPS_LOWER_OUTER),
    )


def _frame(points: F32) -> tuple[Frame, float]:
    """The mouth's axes and its width."""
    return frame_between(points[61], points[291]), float(np.linalg.norm(points[291] - points[61]))


def _places(width: float) -> F32:
    """Where across the mouth the edges of the lips are looked for."""
    return np.linspace(0.04 * width, 0.96 * width, COLUMNS)


def _corrected(lips: _Lips, edges: F32, width: float) -> _Lips:
    """The lips with their inner edges where the picture has them."""
    s = np.concatenate([[0.0], _places(width), [width]])
    moved = np.pad(edges * width, ((0, 0), (1, 1)))
    upper = lips.upper(s) + moved[0]
    lower = np.maximum(lips.lower(s) + moved[1], upper)
    upper[[0, -1]] = lower[[0, -1]] = 0.0
    return lips._replace(upper=Curve(np.stack([s, upper], axis=1)), lower=Curve(np.stack([s, lower], axis=1)))


def _colours(picture: U8, frame: Frame, s: F32, way: F32) -> F32:
    """Colours (Lab) at the places ``way`` (t, ``[SAMPLES, COLUMNS]``): ``[SAMPLES, COLUMNS, 3]``."""
    x = frame.origin[0] + s * frame.along[0] + way * frame.down[0]
    y = frame.origin[1] + s * frame.along[1] + way * frame.down[1]
    found = cv2.remap(
        picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    lab = cv2.cvtColor(found, cv2.COLOR_BGR2LAB).astype(np.float64)
    return np.asarray(cv2.blur(lab, (3, 1)), np.float64)


def _worth(colours: F32) -> F32:
    """How well each sample parts lip from teeth or the dark, as the first that is no lip: ``[SAMPLES, COLUMNS]``.

    Teeth have less colour than lips, and are brighter than lips in a picture without any; the dark is darker.
    """
    light = colours[..., 0]
    chroma = np.linalg.norm(colours[..., 1:] - 128, axis=-1)
    lip_light = cv2.blur(np.median(light[SURE], axis=0).reshape(1, -1), (9, 1), borderType=cv2.BORDER_REPLICATE)
    lip_chroma = max(float(np.median(chroma[SURE])), 1.0)
    bright = light / np.maximum(lip_light, 1)
    tooth = (PALE[0] - chroma / lip_chroma) / PALE[1] if lip_chroma > GREY else (bright - WHITE[0]) / WHITE[1]
    inside = np.clip(np.maximum(tooth, (DARK[0] - bright) / DARK[1]), 0, 1) - 0.5
    before = np.concatenate([np.zeros_like(inside[:1]), np.cumsum(inside, axis=0)[:-1]])
    return np.asarray(inside.sum(axis=0) - 2 * before, np.float64)


def _path(way: F32, worth: F32) -> F32:
    """The smoothest way from column to column over what is worth most: its t per column."""
    steps = np.abs(np.arange(SAMPLES)[:, None] - np.arange(SAMPLES)[None, :]) * BEND
    best, came = worth[:, 0], []
    for column in range(1, COLUMNS):
        reached = best[None, :] - steps
        came.append(reached.argmax(axis=1))
        best = reached.max(axis=1) + worth[:, column]
    place = [int(best.argmax())]
    for back in reversed(came):
        place.append(int(back[place[-1]]))
    return np.asarray(way[place[::-1], np.arange(COLUMNS)])


def _evened(apart: F32) -> F32:
    """Without what only a few columns say."""
    padded = np.pad(apart, 5, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 11), axis=1)
    return np.asarray(cv2.GaussianBlur(middle.reshape(1, -1), (0, 0), 2.5, borderType=cv2.BORDER_REPLICATE)[0])


def _without(out: F32, inside: NDArray[np.bool_]) -> F32:
    """The picture without what is still to be seen of the mouth's inside, in its corners."""
    mask = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8))
    if not mask.any():
        return out
    filled = cv2.inpaint(np.clip(out + 0.5, 0, 255).astype(np.uint8), mask, 4, cv2.INPAINT_TELEA)
    soft = cv2.blur(mask.astype(np.float32), (3, 3))[..., None]
    return np.asarray(out + (filled - out) * soft, np.float32)


def _closed_points(points: F32, frame: Frame, shut: _Shut) -> F32:
    moved = points.copy()
    for indices, share in ((measure.LIPS_UPPER_OUTER, MEET), (measure.LIPS_LOWER_OUTER, MEET - 1)):
        rows = list(indices[1:-1])
        s = frame.local(points[rows])[:, 0]
        moved[rows] += (share * shut.outline(s))[:, None] * frame.down
    for indices in (measure.LIPS_UPPER_INNER, measure.LIPS_LOWER_INNER):
        rows = list(indices)
        s = frame.local(points[rows])[:, 0]
        moved[rows] = frame.origin + s[:, None] * frame.along + shut.seam(s)[:, None] * frame.down
    return moved
