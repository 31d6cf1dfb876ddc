"""What a preparation is asked for, where it works, and the limits that all of them share."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.api import Cancel, EngineError, Preparer
from models.templates.builtin import PREPARERS
from models.templates.origin import Origin

SIDE_MAX = 1280
"""Pixels of a template's longer side."""
BOX_MAX = 384
"""Pixels of the face box; a face that fills more is scaled down, for a crop has 256 and would look soft."""
SOURCE_MAX = 1 << 30
SPARE_BYTES = 64 << 20
"""Left free on the disk."""


@dataclass(frozen=True)
class Source:
    """What to prepare. Exactly one of ``path`` and ``data`` is given; what it is, its first bytes say."""

    template_id: str
    path: str = ""
    data: bytes | memoryview = b""
    bbox_shift: int = 0
    crop: str = ""
    """"face": of a photo, head and shoulders; empty: all of it."""
    force: bool = False
    """Make it even when it is in place."""
    in_use: bool = False
    """A session shows the template of this id: it may be confirmed, not replaced."""
    if_absent: bool = False
    """Refuse, where the id holds another source's template."""
    keep: bool = False
    """Never evict it."""
    room: int | None = None
    """Bytes that the cache has for it; None: no limit."""
    no_room: str = ""
    """What a person can do when they do not suffice."""
    kept: Origin | None = None
    """Take the source that is kept beside the template, which must be this; ``path`` and ``data`` are empty."""


@dataclass(frozen=True)
class Workplace:
    """Where and within which limits to work."""

    state_dir: str
    weights_dir: str
    roots: Sequence[str] = ()
    """Folders below which a source's ``path`` may be."""
    max_video_s: float = 20.0
    threads: int = 1
    preparers: Sequence[Preparer] = field(default=PREPARERS)

    @property
    def root(self) -> Path:
        """The folder of all templates."""
        return Path(self.state_dir) / "templates"


def refuse_cancelled(cancel: Cancel) -> None:
    """Raise when the work is no longer wanted."""
    if cancel.is_set():
        raise EngineError("FAILED", "the preparation was cancelled", "ask for it again", retryable=True)


def refuse_full_disk(root: Path, frames: int, size: tuple[int, int], side: int) -> None:
    """Raise FAILED when a template of this size does not fit."""
    need = frames * (size[0] * size[1] * 3 // 2 + side * side * 3) + SPARE_BYTES
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if need > free:
        raise EngineError(
            "FAILED",
            f"the template needs {need >> 20} MiB and {root} has {free >> 20} MiB free",
            "free space, delete templates, or set state_dir",
        )
