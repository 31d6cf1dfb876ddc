"""What ``warp`` needs of a template: the mouth of every pose in crop coordinates, and the light it is seen in."""

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
REFERENCE_SKIN = np.array([186.0, 207.0, 240.0])
"""BGR of the built-in face's lit skin."""


class WarpPreparer:
    """Turns a template's landmarks into poses.

    Reads ``landmarks.npy`` of the template: f32 ``[L, 4 * COLUMNS + 2, 2]`` in frame pixels: the four lip
    curves (see ``geometry.Pose``), the base of the nose and the tip of the chin.
    """

    engine = ENGINE
    version = "2"

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Write ``poses.npy`` (f32 ``[L, 4 * COLUMNS + 2, 2]``, crop pixels) and ``light.npy`` (f32 [3]).

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
        np.save(folder / "light.npy", _light(template.roi[0]))
        progress("warp", 1, 1)


def _light(roi: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How the light of this picture would colour something white, BGR, 1 in the light of the built-in face.

    Judged by the skin between eyes and mouth; damped, since skin differs more between people than teeth do.
    """
    height, width = roi.shape[:2]
    patch = roi[height // 4 : height // 2, width // 4 : 3 * width // 4].reshape(-1, 3).astype(np.float64)
    skin = np.maximum(np.percentile(patch, 70, axis=0), 1.0)
    level = np.clip((skin.max() / REFERENCE_SKIN.max()) ** 0.6, 0.4, 1.1)
    tint = (skin / skin.max()) / (REFERENCE_SKIN / REFERENCE_SKIN.max())
    return np.asarray(level * np.clip(tint**0.6, 0.75, 1.05), np.float32)


class Prepared(NamedTuple):
    """A template's poses, mapped."""

    points: NDArray[np.float32]
    light: NDArray[np.float32]
    """Colour of something white in this picture's light, BGR."""

    def pose(self, index: int) -> Pose:
        """One pose of the loop."""
        points = self.points[index]
        return Pose(points[: 4 * COLUMNS].reshape(4, COLUMNS, 2), points[-2], points[-1])


@lru_cache(maxsize=32)
def _load(path: str, content_hash: str) -> Prepared:
    folder = Path(path)
    try:
        points, light = np.load(folder / "poses.npy"), np.load(folder / "light.npy")
    except (OSError, ValueError) as error:
        raise EngineError(
            "FAILED", f"template {folder.parent.parent.name} is not prepared for warp: {error}", "prepare it again"
        ) from error
    return Prepared(points, light)


def load_prepared(template: Template) -> Prepared:
    """The poses of ``template``.

    Raises:
        EngineError: FAILED when it was not prepared for this engine.
    """
    return _load(str(template.engine_dir(ENGINE)), template.hash)
