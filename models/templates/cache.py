"""What is in the cache: facts on a template, whether it is whole, and another one of the same content."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import structlog

from models.api import EngineError
from models.templates.store import read_manifest
from models.templates.writer import PART, damaged_files, publish

log = structlog.get_logger(__name__)


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
    cached: bool
    seconds: float
    bbox_shift: dict[str, int | list[int]] | None
    """What became of it: ``asked``, ``used`` and, where it matters, the ``range`` that suits the face; None where
    no engine looks at it."""


def describe(path: Path, *, cached: bool, seconds: float) -> Prepared:
    """Facts on the template in folder ``path``.

    Raises:
        EngineError: as ``read_manifest``.
    """
    manifest = read_manifest(path)
    nbytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Prepared(
        manifest["id"],
        path,
        manifest["hash"],
        manifest["kind"],
        manifest["frames"],
        manifest["width"],
        manifest["height"],
        nbytes,
        list(manifest["engines"]),
        cached,
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


def adopt(root: Path, template_id: str, source: Path) -> Path:
    """Make ``template_id`` out of the template in ``source``, sharing its files on disk; returns its folder.

    Files of a template never change once it is in place, so two may share them. Idle segments are not shared.
    Call with the lock of ``template_id`` held.

    Raises:
        OSError: the disk refuses, or ``source`` was deleted meanwhile.
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
        return publish(root, template_id, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
