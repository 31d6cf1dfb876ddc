"""Which templates exist: built-in ones and those on disk. Reads manifests, never pixels."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from broker.messages import TemplateReady, TemplateRef

log = structlog.get_logger()

BUILTIN_FRAMES = 248
"""Length of the loop of every built-in template, known before it is drawn."""
BUILTIN = {"default": (512, 512), "default-portrait": (720, 1280)}
"""Template id to width and height."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of ``list_templates``."""

    ref: TemplateRef
    kind: str
    frames: int
    width: int
    height: int
    engines: list[str]
    nbytes: int


class Manifest(msgspec.Struct):
    """What the catalog reads of a template's manifest."""

    id: str
    hash: str
    kind: str
    frames: int
    width: int
    height: int
    engines: list[str]


class Catalog:
    """Templates by id."""

    def __init__(self, state_dir: str) -> None:
        self.root = Path(state_dir) / "templates"
        self._ready: dict[str, Listed] = {}

    def find(self, template_id: str) -> Listed | None:
        """A template that can be used now; a built-in one only after this run has checked its version."""
        found = self._ready.get(template_id)
        if found is None and template_id not in BUILTIN:
            found = self._read(self.root / template_id)
            if found is not None:
                self._ready[template_id] = found
        return found

    def known(self, template_id: str) -> bool:
        """Whether the template is there or can be made."""
        return template_id in BUILTIN or self.find(template_id) is not None

    def add(self, message: TemplateReady) -> Listed:
        """A preparation has finished."""
        listed = Listed(
            message.template,
            message.kind,
            message.frames,
            message.width,
            message.height,
            message.engines,
            message.nbytes,
        )
        self._ready[message.template.id] = listed
        return listed

    def touch(self, template_id: str) -> None:
        """The template is being shown: its folder's time orders the cache."""
        with contextlib.suppress(OSError):
            os.utime(self.root / template_id)

    def delete(self, template_id: str) -> None:
        """Remove a template's folder.

        It is renamed first, so that nobody opens half of it; what a killed broker leaves of it, the prepare
        stage removes. A gigabyte takes the disk a while, so a thread does it.
        """
        self._ready.pop(template_id, None)
        gone = self.root / f".{template_id}.old-{secrets.token_hex(4)}"
        (self.root / template_id).rename(gone)
        threading.Thread(target=shutil.rmtree, args=(gone,), kwargs={"ignore_errors": True}).start()

    def evict(self, limit: int, keep: Callable[[str], bool]) -> list[str]:
        """Delete what was not shown for longest until the cache fits ``limit`` bytes (0: no limit).

        Templates for which ``keep`` is true stay, also when the limit cannot be met then. Built-in ones stay and
        are not counted. Returns the ids that went.
        """
        if not limit:
            return []
        rows = [row for row in self.all() if row.ref.id not in BUILTIN]
        excess = sum(row.nbytes for row in rows) - limit
        gone: list[str] = []
        for row in sorted(rows, key=lambda row: _shown_at(Path(row.ref.path))):
            if excess <= 0:
                break
            if keep(row.ref.id):
                continue
            try:
                self.delete(row.ref.id)
            except OSError as error:
                log.warning("template.stays", template=row.ref.id, reason=str(error))
                continue
            excess -= row.nbytes
            gone.append(row.ref.id)
            log.info("template.evicted", template=row.ref.id, bytes=row.nbytes, limit=limit)
        return gone

    def all(self) -> list[Listed]:
        """Every template, built-in ones first, also those not yet drawn."""
        names = [*BUILTIN]
        if self.root.is_dir():
            names += sorted(
                p.name
                for p in self.root.iterdir()
                if p.is_dir() and p.name not in BUILTIN and not p.name.startswith(".")
            )
        rows = []
        for name in names:
            found = self.find(name) or self._read(self.root / name)
            if found is None and name in BUILTIN:
                width, height = BUILTIN[name]
                found = Listed(TemplateRef(name, "", ""), "builtin", BUILTIN_FRAMES, width, height, [], 0)
            if found is not None:
                rows.append(found)
        return rows

    @staticmethod
    def _read(folder: Path) -> Listed | None:
        try:
            manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        except (OSError, msgspec.MsgspecError):
            return None
        ref = TemplateRef(manifest.id, str(folder), manifest.hash)
        m = manifest
        return Listed(ref, m.kind, m.frames, m.width, m.height, m.engines, size)


def _shown_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
