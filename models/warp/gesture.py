"""Head, brows and eyes answer to speech, a little: a nod and a raised brow with what is stressed, a sway and a
glance aside while it lasts.

From sound to gesture as pure as from sound to mouth: the numbers of a frame depend on the sound around it and on
its place on the media timeline, by smooth windows that end inside the look-ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP
from models.warp.eyes import Iris, iris
from models.warp.sampling import sample, source
from models.warp.track import BACK_BLOCKS, CONTEXT_BLOCKS, FLOOR_RMS, FRAME_BLOCKS, Context

F32 = NDArray[np.floating[Any]]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
STRESS_MS, WORDS_MS, PHRASE_MS = (-290, 90), (-700, 90), (-1400, 90)
"""Windows, from the middle of the frame, over which a stressed syllable, some words and a phrase are heard."""
HEARD = 0.3
"""Levels from which on head and brows answer in full: in a pause both return to rest."""
LEVEL = 0.5
"""Exponent of loudness: quiet speech moves the head, too."""
NOD, BROW, SWAY = 2.9, 3.2, 1.2
"""Pixels of the crop: down on what is stressed, brows up, and to the sides, at the mouth and more so above it."""
SWAYS = ((7.3, 0.0), (3.1, 1.9))
"""Periods of the sway, seconds, and their phases."""
GLANCES = ((1.1, 0.75, -1.0), (4.0, 0.5, 0.8))
"""Of every ``GLANCES_S`` on the media timeline: when the eyes look aside, for how long, and where to."""
GLANCES_S = 5.7
GLANCE = 0.055
"""How far, in widths of the eye."""
JUMP_S = 0.06
"""Eyes jump."""
FADE_IN_US, FADE_OUT_US = 480_000, 120_000
EDGE = 0.47
"""Of the face's half axes, so much at the border stands still: the outline of the head is not moved."""
BROW_ABOVE, BROW_BELOW = 0.34, 0.17
"""How far a raised brow is felt above and below it (sigma), in distances from the nose's base to the chin."""

LEANING_TOP = 100
"""The first row of an upright crop, about, that is sure to be in the box of a leaning head."""
ALPHA_TOP = 0.03
"""Over so much of the box the paste begins at its upper side."""


class Gesture(NamedTuple):
    """One frame's head and brows; crop pixels."""

    nod: float = 0.0
    """Downwards."""
    sway: float = 0.0
    """To the right."""
    brow: float = 0.0
    """Upwards."""
    glance: float = 0.0
    """To the right, in widths of an eye."""


STILL = Gesture()
_X = np.arange(CROP, dtype=np.float32)
_Y = np.arange(CROP, dtype=np.float32)[:, None]
_EACH_X, _EACH_Y = (np.ascontiguousarray(np.broadcast_to(v, (CROP, CROP))) for v in (_X, _Y))


def _window(first_ms: float, last_ms: float) -> F64:
    """A raised cosine over the blocks of a context, its sum 1; times from the middle of the frame."""
    ms = (np.arange(CONTEXT_BLOCKS) + 0.5 - BACK_BLOCKS - FRAME_BLOCKS / 2) * 10
    t = np.clip((ms - first_ms) / (last_ms - first_ms), 0, 1)
    weights = np.sin(np.pi * t) ** 2
    return np.asarray(weights / weights.sum(), np.float64)


_STRESS, _WORDS, _PHRASE = (_window(*ends) for ends in (STRESS_MS, WORDS_MS, PHRASE_MS))


def gesture(context: Context, seconds: float) -> Gesture:
    """What head and brows do in the middle of the frame.

    Args:
        context: what is heard around it.
        seconds: of the frame on the media timeline.
    """
    fade = _eased(context.since_start_us / FADE_IN_US)
    if context.until_end_us is not None:
        fade *= _eased(context.until_end_us / FADE_OUT_US)
    if fade <= 0:
        return STILL
    rms = context.rms()
    loud = np.maximum(rms - FLOOR_RMS, 0)
    usual = math.sqrt(float((_PHRASE * loud * loud).sum()))
    if usual <= 0:
        return STILL
    level = np.minimum(loud / (1.6 * usual + 0.01), 1) ** LEVEL
    stress, words, phrase = (float((window * level).sum()) for window in (_STRESS, _WORDS, _PHRASE))
    accent = (stress - phrase * _eased(stress / HEARD)) * fade
    raised = max(accent + 0.12 * min(phrase, stress) * fade, 0.0)
    sway = sum(math.sin(2 * math.pi * seconds / period + phase) for period, phase in SWAYS) / len(SWAYS)
    while_heard = _eased(words / HEARD) * fade
    return Gesture(
        NOD * accent,
        SWAY * sway * while_heard,
        BROW * raised * raised / (raised + 0.12),
        GLANCE * _glance(seconds) * while_heard,
    )


def _glance(seconds: float) -> float:
    at = seconds % GLANCES_S
    return sum(
        side * (_eased((at - first) / JUMP_S) - _eased((at - first - lasting) / JUMP_S))
        for first, lasting, side in GLANCES
    )


class Fields(NamedTuple):
    """How far each pixel of the crop goes with a gesture of 1, f32."""

    depth: F32
    """Down with a nod: ``[CROP, CROP]``, 0 outside of the face."""
    aside: F32
    """To the side with a sway: as ``depth``."""
    brow: F32
    """Up with the brows: ``[n, CROP]``, the first rows of the crop."""
    moving: tuple[slice, slice]
    """Rows and columns outside of which nothing moves."""

    def of(self, gesture: Gesture, outlines: NDArray[np.float32] | None = None, shut: float = 0.0) -> Moving:
        """The same with a gesture.

        Args:
            gesture: what the face does.
            outlines: of its eyes, see ``eyes.lids``: f32 ``[2, 18, 2]``; None: irises go with the head.
            shut: see ``eyes.iris``.
        """
        moving = Moving(self, gesture)
        if outlines is None or gesture == STILL:
            return moving
        found = (iris(one, moving.at((one[4, 0], one[0, 1])), gesture.glance, shut) for one in outlines)
        return Moving(self, gesture, tuple(one for one in found if one is not None))


@dataclass(frozen=True, slots=True)
class Moving:
    """A gesture of one face."""

    fields: Fields
    gesture: Gesture
    irises: tuple[Iris, ...] = ()

    def at(self, point: tuple[float, float]) -> tuple[float, float]:
        """How far a point of the crop goes, right and down."""
        column, row = (min(max(round(v), 0), CROP - 1) for v in point)
        depth, aside, brow, _ = self.fields
        down = float(depth[row, column]) * self.gesture.nod
        if row < len(brow):
            down -= float(brow[row, column]) * self.gesture.brow
        return float(aside[row, column]) * self.gesture.sway, down

    def follow(self, rows: slice, columns: slice, across: F32, upper: F32, lower: F32) -> None:
        """Let the backward maps of a part of the crop follow, in place.

        Args:
            rows: of the part.
            columns: of the part.
            across: ``[h, w]``.
            upper: its first rows' map down, ``[n, w]``.
            lower: its last rows' map down, ``[m, w]``.
        """
        if self.gesture == STILL:
            return
        self._across(rows, columns, across, across)
        for first, last, part in (
            (rows.start, rows.start + len(upper), upper),
            (rows.stop - len(lower), rows.stop, lower),
        ):
            self._down(slice(first, last), columns, part, part)

    def sources(self) -> tuple[F32, F32]:
        """Where each pixel of the crop comes from: x and y, ``[CROP, CROP]`` each."""
        return self._sources(slice(0, CROP), slice(0, CROP))

    def draw(self, crop: U8, out: U8, rows: slice, columns: slice) -> None:
        """Draw the moved crop into ``out``, both u8 BGR ``[CROP, CROP, 3]``, but for ``rows`` of ``columns``."""
        if self.gesture == STILL:
            out[...] = crop
            return
        out[...] = crop
        high, wide = self.fields.moving
        made = source(crop)
        self._part(made, out, slice(high.start, min(rows.start, high.stop)), wide)
        beside = slice(max(rows.start, high.start), min(rows.stop, high.stop))
        self._part(made, out, beside, slice(wide.start, min(columns.start, wide.stop)))
        self._part(made, out, beside, slice(max(columns.stop, wide.start), wide.stop))
        self._part(made, out, slice(max(rows.stop, high.start), high.stop), wide)

    def _part(self, made: U8, out: U8, rows: slice, columns: slice) -> None:
        if rows.start < rows.stop and columns.start < columns.stop:
            sample(made, *self._sources(rows, columns), out[rows, columns])

    def _sources(self, rows: slice, columns: slice) -> tuple[F32, F32]:
        return (
            self._across(rows, columns, _EACH_X[rows, columns]),
            self._down(rows, columns, _EACH_Y[rows, columns]),
        )

    def _across(self, rows: slice, columns: slice, x: F32, out: F32 | None = None) -> F32:
        """The map ``x`` of a part of the crop, ``[h, w]``, with the gesture; into ``out``, which may be ``x``."""
        sway, aside = self.gesture.sway, self.fields.aside
        out = np.asarray(cv2.scaleAdd(aside[rows, columns], -sway, x, dst=out), np.float32)
        for one in self.irises:
            if there := one.seen(rows, columns):
                out[there.part] += there.mask * (aside[there.crop] * np.float32(one.held * sway) - one.aside)
        return out

    def _down(self, rows: slice, columns: slice, y: F32, out: F32 | None = None) -> F32:
        """The same of the map ``y``."""
        depth, _, brow, _ = self.fields
        nod = self.gesture.nod
        out = np.asarray(cv2.scaleAdd(depth[rows, columns], -nod, y, dst=out), np.float32)
        raised = brow[rows, columns]
        if len(raised):
            part = out[: len(raised)]
            cv2.scaleAdd(raised, self.gesture.brow, part, dst=part)
        for one in self.irises:
            if there := one.seen(rows, columns):
                head = depth[there.crop] * np.float32(nod)
                up = brow[there.crop]
                head[: len(up)] -= up * np.float32(self.gesture.brow)
                out[there.part] += there.mask * (head * np.float32(one.held))
        return out


class Shape(NamedTuple):
    """Where the parts of an upright face are, crop pixels."""

    middle: float
    """Column of its middle."""
    nose: float
    """Row of the base of the nose; so the others."""
    chin: float
    brows: float
    half: float
    """Half its width."""


def fields(shape: Shape, *, leaning: bool = False) -> Fields:
    """The fields of a face; of a leaning one only the lower half is in the crop, and moves."""
    middle, nose, chin, brows, half = shape
    x, y = _X[None, :], _Y
    unit, centre = chin - nose, nose + 0.2 * (chin - nose) if leaning else (nose + brows) / 2
    top, bottom = (LEANING_TOP + 4.0 if leaning else max(brows - 0.75 * unit, 5.0)), CROP - 10.0
    across = np.abs(x - middle) / min(1.06 * half, middle - 16, CROP - 16 - middle)
    down = np.abs(y - centre) / np.where(y < centre, centre - top, bottom - centre)
    inside = _smooth((1 - (across**2.5 + down**2.5) ** np.float32(1 / 2.5)) / EDGE)
    nose_x, nose_y = (x - middle) / (0.22 * half), (y - nose + 0.15 * unit) / (0.35 * unit)
    depth = inside * (1 + 0.22 * np.exp(-0.5 * (nose_x**2 + nose_y**2)))
    tilt = 0.65 + 0.5 * np.clip((chin - y) / max(chin - brows, 1.0), -0.2, 1.2)
    rise = (y - brows) / unit
    rise = np.exp(-0.5 * (rise / np.where(rise < 0, BROW_ABOVE, BROW_BELOW)) ** 2)
    side = np.abs(x - middle) / half
    both = _smooth((0.98 - side) / 0.35) * (0.72 + 0.28 * np.clip(side / 0.30, 0, 1))
    end = 0 if leaning else min(max(int(brows + 4 * BROW_BELOW * unit), 1), CROP)
    brow = (rise * both * inside)[:end]
    high, wide = (np.flatnonzero(depth.any(axis=axis)) for axis in (1, 0))
    moving = slice(int(high[0]), int(high[-1]) + 1), slice(int(wide[0]), int(wide[-1]) + 1)
    depth, aside, brow = (np.ascontiguousarray(v, np.float32) for v in (depth, depth * tilt, brow))
    return Fields(depth, aside, brow, moving)


def _eased(value: float) -> float:
    t = min(max(value, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _smooth(value: Any) -> Any:
    t = np.clip(value, 0, 1)
    return t * t * (3 - 2 * t)


def face_alpha(lower: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How much of a crop is pasted where the whole face moves: as much as below, up to above the brows.

    Args:
        lower: of a crop in which the lower face moves, u8 ``[h, w]``.
    """
    alpha = np.maximum(lower, lower.max(axis=0))
    feather = np.clip(np.arange(len(alpha)) / (ALPHA_TOP * len(alpha)), 0, 1)
    alpha = np.where(np.arange(len(alpha))[:, None] < len(alpha) // 2, alpha * feather[:, None], lower)
    return np.asarray(alpha + 0.5, np.uint8)
