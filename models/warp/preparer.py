"""What ``warp`` needs of a template: the mouth of every pose in crop coordinates, and how its picture looks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.api import CROP, Cancel, EngineError, Progress
from models.templates.store import Template
from models.warp.geometry import COLUMNS, Pose
from models.warp.look import Look, look, measure

ENGINE = "warp"


class WarpPreparer:
    """Turns a template's landmarks into poses.

    Reads ``landmarks.npy`` of the template: f32 ``[L, 4 * COLUMNS + 2, 2]`` in frame pixels: the four lip
    curves (see ``geometry.Pose``), the base of the nose and the tip of the chin.
    """

    engine = ENGINE
    version = "3"

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Write ``poses.npy`` (f32 ``[L, 4 * COLUMNS + 2, 2]``, crop pixels) and ``look.npy`` (f32 ``[10]``, see
        ``look.measure``).

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
        np.save(folder / "poses.npy", crop.astype(np.float32))
        np.save(folder / "look.npy", measure(template.roi[0], crop[0, : 4 * COLUMNS].reshape(4, COLUMNS, 2)))
        progress("warp", 1, 1)


class Prepared(NamedTuple):
    """A template's poses, mapped."""

    points: NDArray[np.float32]
    look: Look

    def pose(self, index: int) -> Pose:
        """One pose of the loop."""
        points = self.points[index]
        return Pose(points[: 4 * COLUMNS].reshape(4, COLUMNS, 2), points[-2], points[-1])


@lru_cache(maxsize=32)
def _load(path: str, content_hash: str) -> Prepared:
    folder = Path(path)
    try:
        points, measured = np.load(folder / "poses.npy"), np.load(folder / "look.npy")
    except (OSError, ValueError) as error:
        raise EngineError(
            "FAILED", f"template {folder.parent.parent.name} is not prepared for warp: {error}", "prepare it again"
        ) from error
    return Prepared(points, look(measured))


def load_prepared(template: Template) -> Prepared:
    """The poses of ``template``.

    Raises:
        EngineError: FAILED when it was not prepared for this engine.
    """
    return _load(str(template.engine_dir(ENGINE)), template.hash)
