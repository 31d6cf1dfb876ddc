"""The templates that come with musecast: shipped paintings, animated on first use, kept in the state directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.api import Cancel, EngineError, Preparer, Progress
from models.templates.cache import Outcome, Prepared, describe, intact
from models.templates.framing import box_alpha
from models.templates.origin import Entry
from models.templates.writer import TemplateWriter, content_hash, template_lock
from models.warp.preparer import WarpPreparer

ARTWORK_VERSION = "10"
"""Raise it whenever a pixel of the artwork changes: older templates are then made again."""
LOOP = 248
"""Frames: 9.92 s, a multiple of the quantum."""
PREPARERS: tuple[Preparer, ...] = (WarpPreparer(),)


@dataclass(frozen=True)
class Artwork:
    """How one built-in template frames the portrait, in scene units (= pixels)."""

    size: tuple[int, int]
    origin: tuple[int, int]
    box: tuple[int, int, int, int] = (-128, -62, 128, 194)
    """The face box at rest: from above the eyes to below the chin, 256 pixels square as a crop is."""


BUILTIN = {
    "default": Artwork((512, 512), (-256, -222)),
    "default-portrait": Artwork((720, 1280), (-360, -430)),
}


def ensure_builtin(
    state_dir: str,
    template_id: str,
    progress: Progress,
    cancel: Cancel,
    preparers: Sequence[Preparer] = PREPARERS,
) -> Prepared:
    """The built-in template ``template_id``, drawn when it is missing, damaged or of older artwork.

    Safe against concurrent callers (they wait for the one that draws) and against death at any moment.

    Raises:
        EngineError: NOT_FOUND for another name; FAILED when cancelled or the disk refuses.
    """
    began = time.monotonic()
    artwork = BUILTIN.get(template_id)
    if artwork is None:
        raise EngineError("NOT_FOUND", f"no built-in template {template_id!r}", f"there are {', '.join(BUILTIN)}")
    root = Path(state_dir) / "templates"
    digest = content_hash(f"builtin:{template_id}:{ARTWORK_VERSION}", {"loop": LOOP}, preparers)
    try:
        with template_lock(root, template_id):
            cached = intact(root / template_id, digest)
            if not cached:
                _draw(root, template_id, artwork, digest, preparers, progress, cancel)
    except OSError as error:
        if not intact(root / template_id, digest):  # one that is whole serves from a folder that takes no lock
            raise EngineError(
                "FAILED",
                f"cannot write template {template_id} below {root}: {error}",
                "free space or set state_dir",
            ) from error
        cached = True
    return describe(root / template_id, Outcome(cached), seconds=time.monotonic() - began)


def _draw(
    root: Path,
    template_id: str,
    artwork: Artwork,
    digest: str,
    preparers: Sequence[Preparer],
    progress: Progress,
    cancel: Cancel,
) -> None:
    # Imported here: a process that finds the template in place needs none of it.
    from models.portrait.anatomy import CHIN, NOSE_BASE, mouth_curves
    from models.portrait.motion import Animator
    from models.portrait.painting import load

    progress("paint", 0, LOOP)
    animator = Animator(load(template_id, artwork.size, artwork.origin), LOOP)
    points = np.vstack([mouth_curves().reshape(-1, 2), NOSE_BASE, CHIN])
    x0, y0, x1, y1 = artwork.box
    corner = (x0 - artwork.origin[0], y0 - artwork.origin[1])
    side = x1 - x0
    landmarks = np.stack([animator.follow(points, n) for n in range(LOOP)])
    drift = landmarks.mean(axis=1) - (points.mean(axis=0) - artwork.origin)
    box, alpha = (side, y1 - y0), box_alpha(side)
    with TemplateWriter(root, template_id, "builtin", artwork.size, box, alpha, Entry(digest)) as writer:
        for n, frame in enumerate(_ahead(animator.frame, LOOP)):
            if cancel.is_set():
                raise EngineError("FAILED", f"drawing {template_id} was cancelled", "ask again", retryable=True)
            dx, dy = (2 * round(float(d) / 2) for d in drift[n])
            writer.add(frame, (corner[0] + dx, corner[1] + dy))
            if n % 8 == 7:
                progress("frames", n + 1, LOOP)
        writer.save("landmarks.npy", landmarks.astype(np.float32))
        writer.finish(preparers, progress, cancel)


def _ahead(make: Callable[[int], NDArray[np.uint8]], count: int) -> Iterator[NDArray[np.uint8]]:
    """``make(0)``, ``make(1)``, ...: each made while the one before is converted and written."""
    with ThreadPoolExecutor(1, "frames") as pool:
        coming = pool.submit(make, 0)
        for n in range(count):
            frame = coming.result()
            if n + 1 < count:
                coming = pool.submit(make, n + 1)
            yield frame
