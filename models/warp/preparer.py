"""What ``warp`` needs of a template: the mouth of every pose in crop coordinates, and how its picture looks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.api import CROP, Cancel, EngineError, Progress
from models.landmarks import measure as mesh_measure
from models.media.paste import own_crop
from models.templates.motion import lid
from models.templates.store import OPEN_TEMPLATES, Template
from models.warp.eyes import lids
from models.warp.geometry import COLUMNS, Pose
from models.warp.gesture import Fields, Gesture, Moving, Shape, face_alpha, fields
from models.warp.lean import Turn, turns, upright, upright_points, within
from models.warp.look import Look, look, measure

ENGINE = "warp"


class WarpPreparer:
    """Turns a template's landmarks into poses.

    Reads ``landmarks.npy`` of the template: f32 ``[L, 4 * COLUMNS + 2, 2]`` in frame pixels: the four lip
    curves (see ``geometry.Pose``), the base of the nose and the tip of the chin; and ``axes.npy`` where the head
    leans (see ``models.templates.framing.Framing``).
    """

    engine = ENGINE
    version = "6"

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Write ``poses.npy`` (f32 ``[L, 4 * COLUMNS + 2, 2]``, crop pixels), ``look.npy`` (f32 ``[11]``, see
        ``look.measure``) and ``shape.npy`` (f32 ``[5]``, see ``gesture.Shape``); of a leaning head they are of
        the upright crop, and ``turns.npy`` (f64 ``[L, 2, 3]``, see ``lean.Turn``) leads back from it.
        ``alpha.npy`` (see ``Template.alpha_of``) is where crops are pasted: brows move, too.

        Raises:
            EngineError: FAILED when the template has no landmarks.
        """
        path = template.path / "landmarks.npy"
        if not path.is_file():
            raise EngineError("FAILED", f"template {template.id} has no landmarks", "prepare it again")
        points = np.load(path)
        scale = CROP / (template.boxes[:, 2:] - template.boxes[:, :2]).astype(np.float32)
        # OpenCV's resize maps pixel centres: x' = (x + 0.5) * scale - 0.5.
        crop = (points - template.boxes[:, None, :2] + 0.5) * scale[:, None, :] - 0.5
        folder = Path(out)
        first = template.roi[0]
        if (template.path / "axes.npy").is_file():
            turned = turns(np.load(template.path / "axes.npy"), template.boxes)
            crop = np.stack([upright_points(one, turn) for one, turn in zip(crop, turned, strict=True)])
            first = upright(own_crop(first), turned[0])
            np.save(folder / "turns.npy", turned)
            np.save(folder / "alpha.npy", within(template.alpha, turned))
        else:
            np.save(folder / "alpha.npy", face_alpha(template.alpha))
        np.save(folder / "poses.npy", crop.astype(np.float32))
        lips = crop[0, : 4 * COLUMNS].reshape(4, COLUMNS, 2)
        np.save(folder / "look.npy", measure(first, lips, crop[0, -2], crop[0, -1]))
        np.save(folder / "shape.npy", _shape(template, crop[:, -2:]))
        progress("warp", 1, 1)


BROWS, HALF = 1.32, 1.09
"""How far above the base of the nose brows are, and half the width of a face, in distances from there to the chin:
of the built-in faces, which have no mesh."""


def _shape(template: Template, ends: NDArray[np.float32]) -> NDArray[np.float32]:
    """``Shape`` of the face in its middle pose.

    Args:
        template: with a mesh, or drawn.
        ends: base of the nose and tip of the chin, crop pixels: f32 ``[L, 2, 2]``.
    """
    nose, chin = ends.mean(axis=0)
    unit = float(chin[1] - nose[1])
    brows, half = BROWS, HALF
    path = template.path / "mesh.npy"
    if path.is_file():
        mesh = np.load(path)[0, :, :2].astype(np.float64)
        down = mesh[mesh_measure.CHIN] - mesh[mesh_measure.NOSE_BASE]
        long = float(down @ down)
        high = mesh[[*mesh_measure.LEFT_BROW, *mesh_measure.RIGHT_BROW]].mean(axis=0)
        brows = float((mesh[mesh_measure.NOSE_BASE] - high) @ down) / long
        half = float(mesh_measure.face_width(mesh)) / 2 / float(np.sqrt(long))
    middle = float(nose[0] + chin[0]) / 2
    return np.array([middle, nose[1], chin[1], nose[1] - brows * unit, half * unit], np.float32)


class Prepared(NamedTuple):
    """A template's poses, mapped."""

    poses: Sequence[Pose]
    look: Look
    fields: Fields
    eyes: NDArray[np.float32] | None
    """Outlines of the eyes in every pose, see ``eyes.lids``; None: drawn, or not in the upright crop."""
    blinks: bool
    """A photo's lids close by ``motion.lid``, and its points do not follow."""
    turns: Turn | None
    """Of every pose where the head leans: its points are those of the upright crop."""

    def moving(self, index: int, gesture: Gesture) -> Moving:
        """The face of one pose with a gesture."""
        if self.eyes is None:
            return self.fields.of(gesture)
        return self.fields.of(gesture, self.eyes[index], lid(index, len(self.eyes)) if self.blinks else 0.0)


@lru_cache(maxsize=OPEN_TEMPLATES)
def load_prepared(template: Template) -> Prepared:
    """The poses of ``template`` (kept with it: ``open_template`` returns one object per content).

    Raises:
        EngineError: FAILED when it was not prepared for this engine.
    """
    folder = template.engine_dir(ENGINE)
    try:
        points, measured = np.load(folder / "poses.npy"), np.load(folder / "look.npy")
        turned = np.load(folder / "turns.npy") if (folder / "turns.npy").is_file() else None
        shape = Shape(*np.load(folder / "shape.npy").tolist())
    except (OSError, ValueError) as error:
        raise EngineError(
            "FAILED", f"template {template.id} is not prepared for warp: {error}", "prepare it again"
        ) from error
    eyes = None
    if turned is None and (template.path / "mesh.npy").is_file():
        eyes = lids(np.load(template.path / "mesh.npy", mmap_mode="r"), template.boxes)
    moving = fields(shape, leaning=turned is not None)
    poses = [Pose(p[: 4 * COLUMNS].reshape(4, COLUMNS, 2), p[-2], p[-1]) for p in points]
    return Prepared(poses, look(measured), moving, eyes, template.kind == "image", turned)
