"""What is in the cache: facts on a template, whether it is whole and whose, another one of the same content."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import structlog

from models.api import EngineError
from models.templates.origin import (
    SOURCE,
    Entry,
    is_kept,
    keep_source,
    mark_kept,
    read_origin,
    refuse_beyond_room,
)
from models.templates.store import read_manifest
from models.templates.writer import PART, damaged_files, file_sha256, folder_size, publish

log = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """How a request came by its template."""

    cached: bool
    """No pixel had to be made."""
    replaced: bool = False
    """Its id held another source's template, which is gone."""
    same_as: str = ""
    """The id of the template whose files it shares, when it was not in place under its own."""


class Held(Enum):
    """What an id holds, seen from a source that is to become its template."""

    NOTHING = "nothing"
    SAME = "same"
    """A template of this source, though maybe of another version, other options, or damaged."""
    OTHER = "other"
    """Another source's template, or one of which that cannot be told."""


class Prepared(NamedTuple):
    """Facts on a template in place."""

    id: str
    path: Path
    hash: str
    kind: str
    frames: int
    width: int
    height: int
    nbytes: int
    engines: list[str]
    outcome: Outcome
    seconds: float
    bbox_shift: dict[str, int | list[int]] | None
    """What became of it: ``asked``, ``used`` and, where it matters, the ``range`` that suits the face; None where
    no engine looks at it."""

    @property
    def cached(self) -> bool:
        """Whether no pixel had to be made."""
        return self.outcome.cached


def describe(path: Path, outcome: Outcome, *, seconds: float) -> Prepared:
    """Facts on the template in folder ``path``.

    Raises:
        EngineError: as ``read_manifest``.
    """
    manifest = read_manifest(path)
    return Prepared(
        manifest["id"],
        path,
        manifest["hash"],
        manifest["kind"],
        manifest["frames"],
        manifest["width"],
        manifest["height"],
        folder_size(path),
        list(manifest["engines"]),
        outcome,
        seconds,
        _bbox_shift(path, manifest["engines"]),
    )


def _bbox_shift(path: Path, engines: list[str]) -> dict[str, int | list[int]] | None:
    """What the first engine that knows of it has noted in its ``meta.json``."""
    for engine in engines:
        try:
            meta = json.loads((path / "engine" / engine / "meta.json").read_text("utf-8"))
            found: dict[str, int | list[int]] = meta["bbox_shift"]
        except (OSError, ValueError, KeyError):
            continue
        return found
    return None


def content_of(path: Path) -> str:
    """The content hash of the template in ``path``; "" when there is none that can be read."""
    try:
        return str(read_manifest(path)["hash"])
    except (EngineError, KeyError):
        return ""


def intact(path: Path, digest: str) -> bool:
    """Whether the template in ``path`` has this content, every file as its manifest says.

    One of this content with a damaged file is reported to the log.
    """
    if content_of(path) != digest:
        return False
    try:
        damaged = damaged_files(path)
    except (EngineError, KeyError, OSError) as error:
        log.warning("template.damaged", template=path.name, reason=str(error))
        return False
    if damaged:
        log.warning("template.damaged", template=path.name, files=damaged)
    return not damaged


def templates(root: Path) -> Iterator[Path]:
    """Folders of templates below ``root``."""
    if root.is_dir():
        yield from sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def twin(root: Path, template_id: str, digest: str) -> Path | None:
    """Another template of the same content, whole."""
    for path in templates(root):
        if path.name != template_id and content_of(path) == digest and intact(path, digest):
            return path
    return None


def held(path: Path, entry: Entry) -> Held:
    """What the folder ``path`` holds for somebody who comes with the source of ``entry``.

    The source decides: the same picture made anew, after an upgrade or with another option, costs nobody a face.
    Of templates that were made before sources were kept, the content hash has to say it.
    """
    kept = read_origin(path)
    if kept is not None:
        same = entry.origin is not None and kept.sha256 == entry.origin.sha256
        return Held.SAME if same else Held.OTHER
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return Held.NOTHING
    digest = manifest.get("hash") if isinstance(manifest, dict) else None
    if digest is None:
        return Held.NOTHING
    return Held.SAME if digest == entry.digest else Held.OTHER


def confirm(path: Path, entry: Entry) -> None:
    """The template in ``path`` is what was asked for: add what its folder lacks.

    Raises:
        OSError: the disk refuses.
    """
    _provide_source(path, entry)
    if entry.keep and not is_kept(path):
        mark_kept(path)


def _provide_source(path: Path, entry: Entry) -> None:
    """The source of ``entry`` stands in ``path``, whole."""
    if entry.file is None or entry.origin is None:
        return
    if read_origin(path) != entry.origin or file_sha256(path / SOURCE) != entry.origin.sha256:
        keep_source(path, entry.file, entry.origin)


def adopt(root: Path, template_id: str, source: Path, entry: Entry) -> Path:
    """Make ``template_id`` out of the template in ``source``, sharing its files on disk; returns its folder.

    Files of a template never change once it is in place, so two may share them. Idle segments and what belongs to
    the id, not to the content, are not shared. Call with the lock of ``template_id`` held.

    Raises:
        OSError: the disk refuses, or ``source`` was deleted meanwhile.
        EngineError: FAILED when the cache has no room for it.
    """
    part = root / f".{template_id}{PART}{secrets.token_hex(4)}"
    try:
        manifest = read_manifest(source)
        for name in manifest["files"]:
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source / name, target)
        (part / "idle").mkdir()
        manifest["id"] = template_id
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
        _provide_source(part, entry)
        if entry.keep or is_kept(root / template_id):
            mark_kept(part)
        refuse_beyond_room(template_id, folder_size(part), entry)
        return publish(root, template_id, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
