"""``warp``: lip-sync on a CPU by moving the template's own pixels and drawing the inside of the mouth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.schema import Config
from models.api import CROP, EngineError, FrameJob, Progress, SpeechWindow
from models.media.paste import own_crop
from models.templates.store import Template
from models.warp import skipping
from models.warp.corners import mended
from models.warp.face import FaceState, face_state
from models.warp.geometry import CHEEK, Field, Pose, clamped, field
from models.warp.gesture import LEANING_TOP, Moving
from models.warp.lean import put_back, upright
from models.warp.lips import shade
from models.warp.look import Look
from models.warp.mouth import inside
from models.warp.preparer import Prepared, load_prepared
from models.warp.sampling import sample, source
from models.warp.track import REST, MouthState, contexts

U8 = NDArray[np.uint8]
F32 = NDArray[np.floating[Any]]

CORNER, THIN = 0.24, 0.05
"""How far from the opening's corners the mouth's inside comes to be seen where it is thin, in half widths of the
opening, and what is thin, in half widths of the mouth."""
ABOVE_CHEEK = 8
"""Rows above what the mouth moves that are looked at in a leaning head, crop pixels."""
NOWHERE = slice(CROP, CROP), slice(CROP, CROP)


class WarpLipSync:
    """The embedded lip-sync engine; needs no model files."""

    name = "warp"
    skips = True
    """``SpeechWindow.skip`` is honoured, in both its steps."""
    buckets: Sequence[int] = (1, 2, 4, 8)
    piece = 2
    """Frames gain nothing from each other; but less costs more for handing it on than is won."""
    reentrant = True
    device_name = "cpu"
    gpu = None
    figures: Mapping[str, float] = MappingProxyType({})

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, progress: Progress) -> None:
        """Run every code path once on a synthetic face."""
        from models.warp.warmup import warm

        warm(self, progress)

    def close(self) -> None:
        """Nothing to release."""

    def plan(self, window: SpeechWindow) -> list[FrameJob]:
        """The frames ``start``.. of the window, in order.

        Raises:
            EngineError: INVALID_ARGUMENT when the PCM does not fit the window, FAILED when the template was
                not prepared for this engine.
        """
        load_prepared(window.template)
        try:
            if window.skip > 1:
                return skipping.plan(window)
            found = contexts(window)
        except ValueError as error:
            raise EngineError("INVALID_ARGUMENT", str(error)) from error
        first = window.frame0 + window.start
        loop = window.template.frames
        return [
            FrameJob(window.template, (first + k) % loop, face_state(context, first + k))
            for k, context in enumerate(found)
        ]

    def render(self, jobs: Sequence[FrameJob]) -> U8:
        """Render jobs of any sessions: u8 BGR ``[n, 256, 256, 3]``."""
        crops = np.empty((len(jobs), CROP, CROP, 3), np.uint8)
        for crop, job in zip(crops, jobs, strict=True):
            if isinstance(job.data, skipping.Between):
                skipping.render_into(crop, job, render_into)
            else:
                render_into(crop, job.template, job.pose, job.data)
        return crops


def render_into(out: U8, template: Template, index: int, state: FaceState) -> None:
    """Draw one pose with its face in ``state`` into ``out``, u8 BGR ``[256, 256, 3]``."""
    own = own_crop(template.roi[index])
    if state == FaceState():
        out[...] = own
        return
    prepared = load_prepared(template)
    pose = prepared.poses[index]
    if prepared.turns is None:
        _act(own, out, pose, state, prepared, prepared.moving(index, state.gesture))
        return
    turn = prepared.turns[index]
    before = upright(own, turn, max(min(int(pose.nose[1] - CHEEK * pose.half) - ABOVE_CHEEK, LEANING_TOP), 0))
    after = before.copy()
    _act(before, after, pose, state, prepared, prepared.moving(index, state.gesture))
    out[...] = own
    put_back(out, before, after, turn)


def _act(own: U8, out: U8, pose: Pose, state: FaceState, prepared: Prepared, moving: Moving) -> None:
    """Draw an upright face into ``out``; ``own`` is its picture at rest. Both u8 BGR ``[256, 256, 3]``."""
    mouth, look = state.mouth, prepared.look
    if mouth == REST:
        moving.draw(own, out, *NOWHERE)
        return
    placed = pose.shifted(*moving.at(pose.centre))
    move = field(placed, mouth, look.soft, look.hair)
    height, width = move.map_x.shape
    rows, columns = slice(move.y0, move.y0 + height), slice(move.x0, move.x0 + width)
    moving.follow(rows, columns, move.map_x, move.upper_y, move.lower_y)
    moved = _moved(mended(own, pose, mouth, look), move, mouth, placed, look)
    moving.draw(own, out, *((rows, columns) if mouth.weight >= 1 else NOWHERE))
    window = out[rows, columns]
    if mouth.weight < 1:
        cv2.addWeighted(moved, mouth.weight, window.copy(), 1 - mouth.weight, 0, dst=moved)
    window[...] = moved


def _moved(crop: U8, move: Field, state: MouthState, pose: Pose, look: Look) -> U8:
    """The moved rectangle: upper half, lower half, and what shows between the lips."""
    mouth, first_column = move.between_corners()
    # Beside the mouth the two halves agree along the seam: a plain choice is enough.
    margin = int(np.ceil(look.edge / 2)) + 1
    last = min(int(np.ceil(move.lower_edge.max())) + margin - move.y0, len(move.upper_y))
    made, begin = source(crop), move.first_lower
    upper, lower = (np.empty((*of.shape, 3), np.uint8) for of in (move.upper_y, move.map_x))
    sample(made, move.map_x[: len(upper)], move.upper_y, upper)
    sample(made, move.map_x[begin:], move.lower_y, lower[begin:])
    alone = min(begin, last)  # rows that the upper half has for itself
    lower[:alone] = upper[:alone]
    y = (np.arange(last, dtype=np.float32) + move.y0)[:, None]
    chosen = y[alone:] < move.upper_edge
    first = max(int(np.floor(mouth.upper_edge.min())) - margin - move.y0, 0)
    y = y[first:]
    above = clamped((mouth.upper_edge - y) * (_steepness(mouth.upper_edge) / look.edge) + 0.5)
    below = clamped((y - mouth.lower_edge) * (_steepness(mouth.lower_edge) / look.edge) + 0.5)
    below = np.minimum(below, 1 - above)
    gap = 1 - above - below
    # In the corners lip meets lip: nothing dark shows between them.
    thin = clamped(2 - (mouth.lower_edge - mouth.upper_edge) / (THIN * pose.half))
    hidden = gap * (thin * clamped(1 - (1 - np.abs(mouth.u / mouth.inner)) / CORNER))
    gap -= hidden
    hidden /= 2
    above += hidden
    below += hidden
    shade((upper, lower), mouth, first_column, state, pose.half)
    part = (slice(first, last), slice(first_column, first_column + len(mouth.u)))
    lips = cv2.blendLinear(upper[part], lower[part], above, below)  # as if both made a whole
    if float(gap.max()) > 0:
        band = inside(mouth, state, part[0], pose.relaxed, look)
        band *= gap
        band += _planes(lips) * (1 - gap)
        lips = cv2.convertScaleAbs(cv2.merge([*band]))
    cv2.copyTo(upper[alone:last], chosen.view(np.uint8), lower[alone:last])
    lower[part] = lips
    return lower


def _planes(picture: Any) -> F32:
    """BGR ``[h, w, 3]`` as ``[3, h, w]``: three long rows are quicker to compute with than many of three."""
    found = np.empty((3, *picture.shape[:2]), np.float32)
    for plane, values in zip(found, cv2.split(picture), strict=True):
        plane[...] = values
    return found


def _steepness(edge: F32) -> F32:
    """What turns a vertical distance from the edge into the distance across it, per column: no stairs."""
    rise = np.empty_like(edge)
    rise[1:-1] = (edge[2:] - edge[:-2]) / 2
    rise[0], rise[-1] = edge[1] - edge[0], edge[-1] - edge[-2]
    return np.asarray(1 / np.sqrt(1 + rise * rise), np.float32)
