"""What MuseTalk keeps of a template: ``engine/musetalk/`` in its folder.

meta.json     {v, vae, settings}: ``vae`` is the SHA-256 of the weights that made the latents
latents.npy   f32 [L, 8, 32, 32]: the masked crop's latent, then the whole crop's
boxes.npy     f32 [L, 4]: the crop that the network sees, x0, y0, x1, y1 in frame pixels; it may leave the frame
mask.npy      u8 [L, 256, 256]: how much of the generated face is shown, in the template's own crop; whoever pastes
              crops reads it too, see ``models.api.Crops``
valid.npy     bool [L]: whether there is a face to generate
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP, EngineError
from models.media import paste
from models.templates.store import Template

ENGINE = "musetalk"
_SAME = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
META_VERSION = 1
U8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A template's files, mapped."""

    latents: NDArray[np.float32]
    boxes: NDArray[np.float32]
    mask: U8
    valid: NDArray[np.bool_]
    meta: dict[str, Any]


@lru_cache(maxsize=32)
def _load(path: str, content_hash: str, name: str) -> Prepared:
    folder = Path(path)
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        if meta.get("v") != META_VERSION:
            raise ValueError(f"version {meta.get('v')}, not {META_VERSION}")
        return Prepared(
            np.load(folder / "latents.npy", mmap_mode="r"),
            np.load(folder / "boxes.npy"),
            np.load(folder / "mask.npy", mmap_mode="r"),
            np.load(folder / "valid.npy"),
            meta,
        )
    except (OSError, ValueError, EOFError) as error:
        raise EngineError(
            "FAILED", f"template {name} is not prepared for musetalk: {error}", "prepare it again"
        ) from error


def load_prepared(template: Template) -> Prepared:
    """What was prepared of ``template``.

    Raises:
        EngineError: FAILED when it was not prepared for this engine.
    """
    return _load(str(template.engine_dir(ENGINE)), template.hash, template.id)


def own_crop(template: Template, pose: int) -> U8:
    """The template's own pixels as a crop, as whoever pastes it makes them: u8 BGR ``[256, 256, 3]``, a copy."""
    return np.array(paste.own_crop(template.roi[pose]))


def to_template_crop(box: NDArray[np.float32], own: NDArray[np.int32]) -> NDArray[np.float64]:
    """2x3 affine map from pixels of the network's crop to pixels of the template's crop.

    Pixel centres correspond: a crop's pixel p lies at ``x0 + (p + 0.5) * width / 256 - 0.5`` in the frame.
    """
    rows = np.zeros((2, 3))
    for axis in range(2):
        step = (float(box[2 + axis]) - float(box[axis])) / CROP
        own_step = (int(own[2 + axis]) - int(own[axis])) / CROP
        rows[axis, axis] = step / own_step
        rows[axis, 2] = (float(box[axis]) + 0.5 * step - float(own[axis])) / own_step - 0.5
    return rows


def compose(own: U8, face: U8, mask: U8, matrix: NDArray[np.float64], weight: float) -> None:
    """Put a generated face into ``own``, both u8 BGR ``[256, 256, 3]``, wherever the mask is not 0.

    How much of it is shown there is for whoever pastes the crop, who has the template's pixels at their own size.

    Args:
        own: the template's crop; changed in place.
        face: the generated crop.
        mask: u8 ``[256, 256]`` in the coordinates of ``own``.
        matrix: see ``to_template_crop``.
        weight: share of the generated face, 0 to 1.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if not width or weight <= 0:
        return
    rows, columns = slice(y, y + height), slice(x, x + width)
    if abs(matrix - _SAME).max() < 1e-3:
        moved: U8 = face[rows, columns]
    else:
        shifted = matrix - ((0, 0, x), (0, 0, y))
        linear, edge = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        moved = np.asarray(cv2.warpAffine(face, shifted, (width, height), flags=linear, borderMode=edge), np.uint8)
    if weight < 1:
        moved = np.asarray(cv2.addWeighted(moved, weight, own[rows, columns], 1 - weight, 0), np.uint8)
    cv2.copyTo(moved, mask[rows, columns], own[rows, columns])
