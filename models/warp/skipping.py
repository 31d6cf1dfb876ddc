"""Frames between drawn ones: what the mouths on either side change of their templates' own pixels, blended.

A drawn frame costs several milliseconds, one in between a fraction of one. What is blended is the change against
the pose's own pixels, not the picture: what no mouth has moved stays the template's own, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP, FrameJob, SpeechWindow
from models.media.paste import own_crop
from models.templates.store import Template
from models.warp.face import FaceState, face_state
from models.warp.track import contexts

U8 = NDArray[np.uint8]
Draw = Callable[[U8, Template, int, FaceState], None]
"""Draws a pose with its face into a crop, u8 BGR ``[256, 256, 3]``."""


class Change(NamedTuple):
    """What a mouth changes: ``difference``, s16 ``[h, w, 3]`` in levels, at row ``y`` and column ``x``."""

    y: int
    x: int
    difference: NDArray[np.int16]


@dataclass(slots=True)
class Drawn:
    """A frame that is drawn, once, and blended from on either side."""

    pose: int
    state: FaceState
    done: bool = False
    change: Change | None = None
    """None: nothing is changed, or it is not drawn yet."""


class Between(NamedTuple):
    """A frame that is not drawn: ``share`` of ``after``, the rest of ``before``. A drawn one is its own two."""

    before: Drawn
    after: Drawn
    share: float


def sources(frame: int, frames: int, skip: int) -> tuple[int, int]:
    """The drawn frames on either side of one of a segment's frames; for a drawn one twice itself.

    Every ``skip``-th frame and the segment's last one are drawn, so one segment suffices to interpolate.
    """
    before = frame if frame == frames - 1 else frame // skip * skip
    return before, frame if before == frame else min(before + skip, frames - 1)


def plan(window: SpeechWindow) -> list[FrameJob]:
    """The frames ``start``.. of a window whose ``skip`` is above 1.

    Raises:
        ValueError: the PCM does not fit the window.
    """
    first = sources(window.start, window.frames, window.skip)[0] if window.start < window.frames else window.start
    found = contexts(replace(window, start=first))
    loop = window.template.frames
    drawn: dict[int, Drawn] = {}

    def source(frame: int) -> Drawn:
        made = drawn.get(frame)
        if made is None:
            pose = (window.frame0 + frame) % loop
            made = drawn[frame] = Drawn(pose, face_state(found[frame - first], window.frame0 + frame))
        return made

    jobs = []
    for frame in range(window.start, window.frames):
        before, after = sources(frame, window.frames, window.skip)
        share = (frame - before) / (after - before) if after > before else 0.0
        mouth = Between(source(before), source(after), share)
        jobs.append(FrameJob(window.template, (window.frame0 + frame) % loop, mouth))
    return jobs


def render_into(out: U8, job: FrameJob, draw: Draw) -> None:
    """Draw, or blend, one job of ``plan`` into ``out``, u8 BGR ``[256, 256, 3]``."""
    mouth: Between = job.data
    for one in (mouth.before, mouth.after):
        if not one.done:
            one.change, one.done = _change(job.template, one, draw), True
    out[...] = own_crop(job.template.roi[job.pose])
    parts = [(mouth.before.change, 1 - mouth.share), (mouth.after.change, mouth.share)]
    _apply(out, [(change, share) for change, share in parts if change is not None and share > 0])


def _change(template: Template, drawn: Drawn, draw: Draw) -> Change | None:
    own = own_crop(template.roi[drawn.pose])
    crop = np.empty_like(own)
    draw(crop, template, drawn.pose, drawn.state)
    apart = cv2.absdiff(crop, own).reshape(CROP, 3 * CROP)
    rows, columns = np.flatnonzero(apart.max(axis=1)), np.flatnonzero(apart.max(axis=0)) // 3
    if not len(rows):
        return None
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    difference = cv2.subtract(crop[part], own[part], dtype=cv2.CV_16S)
    return Change(int(rows[0]), int(columns[0]), np.asarray(difference, np.int16))


def _apply(out: U8, parts: Sequence[tuple[Change, float]]) -> None:
    if not parts:
        return
    top, left = min(c.y for c, _ in parts), min(c.x for c, _ in parts)
    bottom = max(c.y + c.difference.shape[0] for c, _ in parts)
    right = max(c.x + c.difference.shape[1] for c, _ in parts)
    window = out[top:bottom, left:right]
    (first, share), (second, rest) = parts[0], parts[-1] if len(parts) > 1 else (parts[0][0], 0.0)
    near, far = _placed(first, top, left, window.shape), _placed(second, top, left, window.shape)
    total = near if share == 1 else cv2.addWeighted(near, share, far, rest, 0)
    window[...] = cv2.add(window, total, dtype=cv2.CV_8U)


def _placed(change: Change, top: int, left: int, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """The change in a window of this shape whose corner is at ``top``, ``left``."""
    if change.difference.shape == shape:
        return change.difference
    placed = np.zeros(shape, np.int16)
    height, width = change.difference.shape[:2]
    y, x = change.y - top, change.x - left
    placed[y : y + height, x : x + width] = change.difference
    return placed
