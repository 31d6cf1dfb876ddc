"""A video becomes a template: a track of the face through it, and a loop that plays it there and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import FPS, Cancel, EngineError, Progress
from models.landmarks import measure
from models.landmarks.faces import Face, Landmarker, landmarker
from models.media.paste import bgr_to_i420
from models.templates import framing, moving
from models.templates.canvas import Box, read_bgr, write_bgr
from models.templates.checks import Fault, choose, describe, lean_fault, open_fault, runs, unlike
from models.templates.mouth import COLUMNS as EDGE_COLUMNS
from models.templates.mouth import close_mouth, inner_edges
from models.templates.origin import Entry
from models.templates.points import save_points
from models.templates.work import BOX_MAX, SIDE_MAX, Source, Workplace, refuse_cancelled, refuse_full_disk
from models.templates.writer import TemplateWriter, scratch_folder

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

MIN_FRAMES = 13
"""About half a second; shorter is a photo."""
GAP_FRAMES = 5
"""A run of so many frames without a usable face is bridged."""
GAP_SHARE = 0.06
"""Of all frames that may be bridged."""
OPEN_FRAMES, OPEN_SHARE = 12, 0.15
"""The same of frames with a mouth too wide open to be closed well: half a second is a word, more a shout."""
LOOKED_AT = 12
"""Of every so many frames one is looked at several times: whether it is a face."""
MESH_SIGMA = 1.0
BOX_SIGMA = 5.0
EDGE_SIGMA = 2.0
"""Smoothing in frames: of the points, of the box, which a viewer must not see tremble, of the edges of lips."""
JUMP = 0.5
"""Widths of the face that it may move between two frames; more is a cut to another scene."""
OPEN_MOUTH = 0.035
"""Opening of the mouth in widths of the mouth above which lips are made to meet."""


class Track(NamedTuple):
    """A video read to its end."""

    size: tuple[int, int]
    meshes: F32
    """``[N, 468, 2]``, pixels, smooth in time."""
    valid: NDArray[np.bool_]


def prepare_film(
    source: Source, film: moving.Film, entry: Entry, place: Workplace, progress: Progress, cancel: Cancel
) -> None:
    """Make the template of ``film``. Call with the lock of the id held.

    Raises:
        EngineError: as ``make.prepare_source``.
    """
    with scratch_folder(place.root, source.template_id) as folder:
        raw = folder / "frames"
        models = landmarker(place.weights_dir)
        reader = _Reader(models, place, progress, cancel, film.expected)
        with raw.open("wb") as out:
            for picture in moving.frames(film, SIDE_MAX, place.max_video_s):
                reader.take(picture, out)
        _write(source, raw, reader.track(), entry, place, progress, cancel)


class _Reader:
    """Looks for the face in every frame and keeps the frames on disk."""

    def __init__(
        self, models: Landmarker, place: Workplace, progress: Progress, cancel: Cancel, expected: int
    ) -> None:
        self._models, self._place = models, place
        self._progress, self._cancel = progress, cancel
        self._expected = expected
        self._size = (0, 0)
        self._found: list[Face | Fault] = []
        self._doubts: list[Fault | None] = []
        """Of the frames that were looked at several times."""

    def take(self, picture: U8, out: BinaryIO) -> None:
        """The next frame: u8 BGR ``[H, W, 3]``, all of one size."""
        refuse_cancelled(self._cancel)
        if not self._found:
            self._begin(picture)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        face = choose(self._models.faces(picture), picture)
        if isinstance(face, Face) and len(self._found) % LOOKED_AT == 0:
            self._doubts.append(unlike(self._models.agreement(picture, face)))
        self._found.append(face)
        out.write(bgr_to_i420(picture).data)
        count = len(self._found)
        if count % 8 == 0:
            self._progress("faces", count, max(self._expected, count))

    def _begin(self, picture: U8) -> None:
        """The first frame decides the size: a face that fills more than a crop can hold is scaled down."""
        height, width = picture.shape[:2]
        faces = self._models.faces(picture)
        lying = lean_fault(self._models.lean(picture, faces))
        if lying is not None:
            raise EngineError("INVALID_ARGUMENT", f"this video cannot be used: {lying.fact}", lying.hint)
        face = choose(faces, picture)
        scale = 1.0
        if isinstance(face, Face):
            scale = min(1.0, BOX_MAX / framing.box_side(face.points[None], (1 << 20, 1 << 20)))
        self._size = (2 * round(width * scale / 2), 2 * round(height * scale / 2))
        need = 3 * max(self._expected, MIN_FRAMES)  # the frames, and the loop there and back
        refuse_full_disk(self._place.root, need, self._size, min(BOX_MAX, *self._size))

    def track(self) -> Track:
        """All frames read.

        Raises:
            EngineError: INVALID_ARGUMENT, naming the frames that cannot be used.
        """
        count = len(self._found)
        if count < MIN_FRAMES:
            raise EngineError(
                "INVALID_ARGUMENT",
                f"the video has {count} frames at {FPS} frames/s; at least {MIN_FRAMES} are needed",
                "send a longer one, or a photo",
            )
        refuse_faults(self._found)
        refuse_doubts(self._doubts)
        # A mouth wide open for a moment is closed as well as may be.
        judged = [one if isinstance(one, Fault) else open_fault(one) or one for one in self._found]
        refuse_faults(judged, OPEN_FRAMES, OPEN_SHARE)
        valid = np.array([isinstance(one, Face) for one in judged])
        where = np.flatnonzero([isinstance(one, Face) for one in self._found])
        known = np.stack([one.points[:, :2] for one in self._found if isinstance(one, Face)])
        refuse_cuts(known, where)
        flat = known.reshape(len(known), -1)
        every = np.arange(count)
        full = np.stack([np.interp(every, where, column) for column in flat.T], axis=1)
        meshes = framing.followed(full.reshape(count, -1, 2), MESH_SIGMA)
        return Track(self._size, meshes, valid)


def refuse_doubts(doubts: Sequence[Fault | None]) -> None:
    """Raise when most of the looks saw no face with a mouth."""
    sure = [doubt for doubt in doubts if doubt is not None]
    if 2 * len(sure) > len(doubts):
        raise EngineError("INVALID_ARGUMENT", f"this video cannot be used: {sure[0].fact}", sure[0].hint)


def refuse_faults(found: Sequence[Face | Fault], most: int = GAP_FRAMES, share: float = GAP_SHARE) -> None:
    """Raise unless the faulty frames are few and far between: at most ``most`` in a row, and that share of all."""
    faults = [one if isinstance(one, Fault) else None for one in found]
    bad = runs(faults)
    longest = max((run.last - run.first + 1 for run in bad), default=0)
    missing = sum(fault is not None for fault in faults)
    if longest <= most and missing <= max(1, share * len(found)):
        return
    raise EngineError(
        "INVALID_ARGUMENT",
        f"this video cannot be used, {missing} of {len(found)} frames are at fault: {describe(bad)}",
        bad[0].fault.hint,
    )


def refuse_cuts(meshes: F32, where: NDArray[np.intp]) -> None:
    """Raise where the face jumps: the picture was cut to another scene."""
    centres = meshes.mean(axis=1)
    widths = np.linalg.norm(meshes[:, measure.RIGHT_CHEEK] - meshes[:, measure.LEFT_CHEEK], axis=1)
    moved = np.linalg.norm(np.diff(centres, axis=0), axis=1) / widths[:-1] / np.diff(where)
    cuts = np.flatnonzero(moved > JUMP)
    if len(cuts):
        at = int(where[cuts[0] + 1])
        raise EngineError(
            "INVALID_ARGUMENT",
            f"this video cannot be used: at frame {at} ({at / FPS:.2f} s) the face jumps, as at a cut",
            "send one shot without cuts",
        )


def loop_length(frames_read: int) -> int:
    """How many frames to use, so that there and back (2N - 2) is a multiple of the quantum of 8."""
    return (frames_read - 1) // 4 * 4 + 1


def _write(
    source: Source, raw: Path, track: Track, entry: Entry, place: Workplace, progress: Progress, cancel: Cancel
) -> None:
    count = loop_length(len(track.meshes))
    width, height = track.size
    stored = np.memmap(raw, np.uint8, "r+", shape=(len(track.meshes), height * 3 // 2, width))
    meshes = track.meshes[:count].astype(np.float64)
    side = min(framing.box_side(meshes, track.size), 2 * BOX_MAX)
    steady = framing.smooth_in_time(meshes, BOX_SIGMA)
    placed = framing.framed(steady, side, track.size, source.bbox_shift)
    boxes = [(int(x), int(y), int(x) + side, int(y) + side) for x, y in placed.origins]
    edges = _edges(stored, meshes, boxes)
    order = [*range(count), *range(count - 2, 0, -1)]
    with TemplateWriter(
        place.root, source.template_id, "video", track.size, (side, side), placed.alpha, entry
    ) as writer:
        for k, n in enumerate(order):
            refuse_cancelled(cancel)
            box = boxes[n]
            roi = read_bgr(stored[n], box)
            if k < count and n in edges:  # on the way there; the way back finds it done
                meshes[n] = _meet(stored[n], roi, box, meshes[n], edges[n])
                roi = read_bgr(stored[n], box)
            writer.add_i420(stored[n], roi, box[:2], valid=bool(track.valid[n]))
            if k % 8 == 7:
                progress("frames", k + 1, len(order))
        save_points(writer, meshes[order], placed.axes if placed.axes is None else placed.axes[order])
        writer.finish(place.preparers, progress, cancel)


def _is_open(mesh: NDArray[np.float64]) -> bool:
    return measure.lip_gap(mesh) >= OPEN_MOUTH * measure.lip_width(mesh)


def _edges(stored: U8, meshes: NDArray[np.float64], boxes: Sequence[Box]) -> dict[int, NDArray[np.float64]]:
    """The inner edges of the lips of every frame with an open mouth, see ``inner_edges``; smooth in time."""
    opened = [n for n, mesh in enumerate(meshes) if _is_open(mesh)]
    if not opened:
        return {}
    found = np.zeros((len(meshes), 2, EDGE_COLUMNS), np.float32)
    for n in opened:
        found[n] = inner_edges(read_bgr(stored[n], boxes[n]), meshes[n] - np.array(boxes[n][:2], np.float64))
    known = np.zeros((len(meshes), 1, 1), np.float32)
    known[opened] = 1
    sums, shares = (framing.smooth_in_time(values, EDGE_SIGMA) for values in (found, known))
    return {n: (sums[n] / shares[n]).astype(np.float64) for n in opened}


def _meet(
    frame: U8, roi: U8, box: Box, mesh: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Close an open mouth in ``roi`` and ``frame``; returns the mesh afterwards."""
    corner = np.array(box[:2], np.float64)
    closed = close_mouth(roi, mesh - corner, edges) + corner
    write_bgr(frame, box, roi)
    return closed
