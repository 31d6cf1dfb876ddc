"""Template folders for tests, written by the format that ``models/templates/store.py`` describes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from broker.ipc.messages import TemplateRef
from models.media.paste import bgr_to_i420
from models.templates.store import MANIFEST_VERSION

Bgr = tuple[int, int, int]


def soft_alpha(height: int, width: int, border: int = 8) -> NDArray[np.uint8]:
    """0 on a border of 2 pixels, 255 inside, a linear ramp of ``border`` pixels between."""
    y, x = np.ogrid[:height, :width]
    edge = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
    return np.asarray(np.clip((edge - 1) * 255 // border, 0, 255), np.uint8)


def moving_picture(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth colour gradient with a bright bar that moves 4 pixels per frame: u8 BGR [L, H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 200 // width + 20, y * 200 // height + 20, (x + y) * 200 // (width + height) + 20], -1)
    out = np.repeat(base[None].astype(np.uint8), frames, axis=0)
    for k in range(frames):
        out[k, :, (k * 4) % width : (k * 4) % width + 8] = 235
    return out


def write_template(
    folder: Path,
    frames: int = 8,
    width: int = 512,
    height: int = 512,
    *,
    colour: Bgr | None = None,
    box: int = 128,
    alpha: NDArray[np.uint8] | None = None,
    engines: tuple[str, ...] = (),
) -> TemplateRef:
    """Write a template into ``folder`` and return where it is.

    Args:
        folder: created; its name is the template's id.
        frames: L, a multiple of 8.
        width: even.
        height: even.
        colour: BGR of every pixel; None: a moving gradient.
        box: side of the square face box, even; it wanders by 2 pixels per frame.
        alpha: u8 [box, box]; None: ``soft_alpha``.
        engines: names for the manifest (their files are the caller's).
    """
    folder.mkdir(parents=True, exist_ok=True)
    if colour is None:
        bgr = moving_picture(frames, height, width)
    else:
        bgr = np.full((frames, height, width, 3), colour, np.uint8)
    left, top = (width - box) // 4 * 2, (height - box) // 4 * 2
    shift = 2 * (np.arange(frames) % 4)
    boxes = np.stack([left + shift, np.full(frames, top), left + shift + box, np.full(frames, top + box)], 1)
    roi = np.stack([bgr[k, y0:y1, x0:x1] for k, (x0, y0, x1, y1) in enumerate(boxes)])
    np.stack([bgr_to_i420(frame) for frame in bgr]).tofile(folder / "frames.i420")
    roi.tofile(folder / "roi.bgr")
    np.save(folder / "boxes.npy", boxes.astype(np.int32))
    np.save(folder / "alpha.npy", soft_alpha(box, box) if alpha is None else alpha)
    np.save(folder / "valid.npy", np.ones(frames, np.bool_))
    names = ("frames.i420", "roi.bgr", "boxes.npy", "alpha.npy", "valid.npy")
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    manifest = {
        "v": MANIFEST_VERSION, "id": folder.name, "kind": "builtin", "width": width, "height": height,
        "frames": frames, "box": [box, box], "hash": content, "engines": list(engines), "files": files,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return TemplateRef(folder.name, str(folder), content)
