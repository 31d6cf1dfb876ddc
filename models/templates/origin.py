"""What a template came from, kept beside it, and the mark that it is to stay.

These files stand in the template's folder and mean the same in every version of its format, so that whatever an
upgrade changes can be made anew from them. They are in no manifest::

    source        the bytes of the photo or film
    source.json   {sha256, bbox_shift, crop}: the source's digest, and what else was asked for
    keep          empty; while it is there, the template is never evicted
"""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from models.errors import EngineError

SOURCE, FACTS, KEEP = "source", "source.json", "keep"
_PART = ".part"


class Origin(msgspec.Struct, frozen=True):
    """What a template was made from.

    Attributes:
        sha256: hex digest of the source's bytes.
        bbox_shift, crop: as asked for.
    """

    sha256: str
    bbox_shift: int = 0
    crop: str = ""


@dataclass(frozen=True)
class Entry:
    """What the cache knows of a new template before a pixel of it is made."""

    digest: str
    """The content hash, see ``writer.content_hash``."""
    file: BinaryIO | None = None
    """The source, seekable; None for what is drawn by code. Given together with ``origin``."""
    origin: Origin | None = None
    keep: bool = False
    """Never evict it. An id that was kept stays so, whatever is asked for later."""
    room: int | None = None
    """Bytes that the folder may take; None: as many as there are."""
    no_room: str = ""
    """What a person can do when they do not suffice."""


def read_origin(folder: Path) -> Origin | None:
    """What the template in ``folder`` was made from; None when that is not known, or the source is not there."""
    try:
        origin = msgspec.json.decode((folder / FACTS).read_bytes(), type=Origin)
    except (OSError, msgspec.MsgspecError):
        return None
    return origin if (folder / SOURCE).is_file() else None


def keep_source(folder: Path, file: BinaryIO, origin: Origin) -> None:
    """Put a copy of the source into ``folder``; the facts come last, so that they never stand alone.

    Raises:
        OSError: the disk refuses.
    """
    file.seek(0)
    _write(folder / SOURCE, file)
    file.seek(0)
    _write(folder / FACTS, io.BytesIO(msgspec.json.encode(origin)))


def _write(path: Path, content: BinaryIO) -> None:
    """Whole or not at all, also when the power goes."""
    part = path.with_name(path.name + _PART)
    with part.open("wb") as copy:
        shutil.copyfileobj(content, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    os.replace(part, path)


def is_kept(folder: Path) -> bool:
    """Whether the template in ``folder`` is never to be evicted."""
    return (folder / KEEP).exists()


def mark_kept(folder: Path) -> None:
    """Never evict the template in ``folder``."""
    (folder / KEEP).touch()


def refuse_beyond_room(template_id: str, nbytes: int, entry: Entry) -> None:
    """Raise FAILED when ``nbytes`` are more than the cache has left for this template."""
    if entry.room is not None and nbytes > entry.room:
        raise EngineError(
            "FAILED",
            f"template {template_id} does not fit into the cache: beside those that are kept or in use there is "
            f"room for {max(0, entry.room) / 1e6:.1f} MB",
            entry.no_room,
        )
