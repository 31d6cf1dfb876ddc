"""Reading a prepared template: memory-mapped, read-only, cheap to open twice.

A template is a folder::

    manifest.json   {v, id, kind, width, height, frames, box: [w, h], hash, engines: [...],
                     files: {name: sha256}}
    frames.i420     u8 [L, H*3/2, W], BT.709 limited range
    roi.bgr         u8 [L, h, w, 3], the box of each frame
    boxes.npy       i32 [L, 4]: x0, y0, x1, y1, all even, x1-x0 = w and y1-y0 = h for every frame
    alpha.npy       u8 [h, w]: how much of the crop is pasted; 0 on the border
    valid.npy       bool [L]: whether a face was found in the frame
    landmarks.npy   f32 [L, n, 2], frame pixels: the lips and anchors that preparers start from
    source, source.json, keep
                    what it was made from, and that it stays: ``models/templates/origin.py``
    axes.npy        f32 [L, 3]: where the head leans, the middle of the face's own box and degrees clockwise
    idle/           idle segments, encoded on first use
    engine/<name>/  what an engine's preparer wrote

L is a multiple of 8, so that every segment of whole quanta meets the loop at a fixed set of phases.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import EngineError

MANIFEST_VERSION = 1
"""Raise it whenever what is read of a template's folder changes, engines' files included: templates whose source
was kept are then made anew at their next use, others are no longer listed.
"""
OPEN_TEMPLATES = 32
"""Handles kept per process; a handle is a few mappings, not memory."""


@dataclass(frozen=True, eq=False)
class Template:
    """One prepared template. Arrays are read-only views of mapped files."""

    id: str
    path: Path
    kind: str
    hash: str
    width: int
    height: int
    frames: int
    engines: tuple[str, ...]
    i420: NDArray[np.uint8]
    roi: NDArray[np.uint8]
    boxes: NDArray[np.int32]
    alpha: NDArray[np.uint8]
    valid: NDArray[np.bool_]

    def engine_dir(self, engine: str) -> Path:
        """Where that engine's prepared files are."""
        return self.path / "engine" / engine

    def alpha_of(self, engine: str) -> NDArray[np.uint8]:
        """How much of that engine's crop is pasted, u8 [h, w]: its own, else the template's."""
        own = self.engine_dir(engine) / "alpha.npy"
        if not engine or not own.is_file():
            return self.alpha
        alpha: NDArray[np.uint8] = np.load(own)
        if alpha.shape != self.alpha.shape or alpha.dtype != np.uint8:
            raise EngineError(
                "FAILED",
                f"{own} is {alpha.dtype} {alpha.shape}, the box is {self.alpha.shape}",
                "prepare it again",
            )
        return alpha

    def masks_of(self, engine: str) -> NDArray[np.uint8]:
        """How much of that engine's crop is shown in each pose: u8 [L, 256, 256], in the crop's own pixels.

        Raises:
            EngineError: FAILED when its preparer has not written them, or others than this template has poses.
        """
        path = self.engine_dir(engine) / "mask.npy"
        try:
            masks: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise EngineError("FAILED", f"{path} cannot be read: {error}", "prepare it again") from error
        if masks.dtype != np.uint8 or masks.ndim != 3 or len(masks) != self.frames:
            fact = f"{path} is {masks.dtype} {masks.shape}, one mask for each of {self.frames} frames is needed"
            raise EngineError("FAILED", fact, "prepare it again")
        return masks


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the template in folder ``path``.

    Raises:
        EngineError: NOT_FOUND when there is none, FAILED when it is unreadable or of another version.
    """
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text("utf-8"))
    except FileNotFoundError:
        raise EngineError("NOT_FOUND", f"no template at {path}", "prepare it first") from None
    except (OSError, ValueError) as error:
        raise EngineError(
            "FAILED", f"unreadable manifest in {path}: {error}", "delete the template and prepare it again"
        ) from error
    if manifest.get("v") != MANIFEST_VERSION:
        raise EngineError(
            "FAILED",
            f"template {path.name} has manifest version {manifest.get('v')}, not {MANIFEST_VERSION}",
            "prepare it again",
        )
    return manifest


def open_template(path: str, content_hash: str) -> Template:
    """Map the template in folder ``path``; ``content_hash`` must be the manifest's.

    Mapped once per process, and again when the folder was replaced: one that was found damaged and made anew
    has the same hash.

    Raises:
        EngineError: NOT_FOUND or FAILED, with what does not fit.
    """
    try:
        incarnation = os.stat(os.path.join(path, "manifest.json")).st_ino
    except OSError:
        incarnation = 0  # reading it says what is wrong
    return _open(path, content_hash, incarnation)


@lru_cache(maxsize=OPEN_TEMPLATES)
def _open(path: str, content_hash: str, incarnation: int) -> Template:
    root = Path(path)
    manifest = read_manifest(root)
    if content_hash and manifest["hash"] != content_hash:
        raise EngineError(
            "FAILED", f"template {root.name} changed on disk", "start a new session", retryable=False
        )
    return map_template(root, manifest)


def map_template(root: Path, manifest: dict[str, Any]) -> Template:
    """Map the files in folder ``root`` as ``manifest`` describes them (the writer does it before the rename).

    Raises:
        EngineError: FAILED, with what does not fit.
    """
    width, height, frames = int(manifest["width"]), int(manifest["height"]), int(manifest["frames"])
    box_w, box_h = manifest["box"]
    try:
        return Template(
            id=manifest["id"],
            path=root,
            kind=manifest["kind"],
            hash=manifest["hash"],
            width=width,
            height=height,
            frames=frames,
            engines=tuple(manifest["engines"]),
            i420=np.memmap(root / "frames.i420", np.uint8, "r", shape=(frames, height * 3 // 2, width)),
            roi=np.memmap(root / "roi.bgr", np.uint8, "r", shape=(frames, box_h, box_w, 3)),
            boxes=np.load(root / "boxes.npy"),
            alpha=np.load(root / "alpha.npy"),
            valid=np.load(root / "valid.npy"),
        )
    except (OSError, ValueError) as error:
        raise EngineError(
            "FAILED", f"template {root.name} is damaged: {error}", "delete it and prepare it again"
        ) from error
