"""What ``warp`` needs of a template: the mouth of every pose in crop coordinates, and its exposure."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.api import CROP, Cancel, EngineError, Progress
from models.templates.store import Template
from models.warp.geometry import COLUMNS, Pose

ENGINE = "warp"


class WarpPreparer:
    """Turns a template's landmarks into poses.

    Reads ``landmarks.npy`` of the template: f32 ``[L, 4 * COLUMNS + 2, 2]`` in frame pixels: the four lip
    curves (see ``geometry.Pose``), the base of the nose and the tip of the chin.
    """

    engine = ENGINE
    version = "1"

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Write ``poses.npy`` (f32 ``[L, 4 * COLUMNS + 2, 2]``, crop pixels) and ``exposure.npy`` (f32 [1]).

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
        np.save(folder / "exposure.npy", np.asarray([_exposure(template.roi[0])], np.float32))
        progress("warp", 1, 1)


def _exposure(roi: NDArray[np.uint8]) -> float:
    """Brightness of the middle of the face against a well-lit one, 0.35 to 1.15."""
    height, width = roi.shape[:2]
    patch = roi[height // 4 : height // 2, width // 4 : 3 * width // 4].astype(np.float32)
    return float(np.clip(np.percentile(patch.max(axis=2), 70) / 225, 0.35, 1.15))


class Prepared(NamedTuple):
    """A template's poses, mapped."""

    points: NDArray[np.float32]
    exposure: float

    def pose(self, index: int) -> Pose:
        """One pose of the loop."""
        points = self.points[index]
        return Pose(points[: 4 * COLUMNS].reshape(4, COLUMNS, 2), points[-2], points[-1])


@lru_cache(maxsize=32)
def _load(path: str, content_hash: str) -> Prepared:
    folder = Path(path)
    try:
        points, exposure = np.load(folder / "poses.npy"), np.load(folder / "exposure.npy")
    except (OSError, ValueError) as error:
        raise EngineError(
            "FAILED", f"template {folder.parent.parent.name} is not prepared for warp: {error}", "prepare it again"
        ) from error
    return Prepared(points, float(exposure[0]))


def load_prepared(template: Template) -> Prepared:
    """The poses of ``template``.

    Raises:
        EngineError: FAILED when it was not prepared for this engine.
    """
    return _load(str(template.engine_dir(ENGINE)), template.hash)
