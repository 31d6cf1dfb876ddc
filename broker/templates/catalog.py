"""Which templates exist: built-in ones and those on disk. Reads manifests, never pixels."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from broker.ipc.messages import TemplateReady, TemplateRef
from models.templates.origin import is_kept, read_origin
from models.templates.store import MANIFEST_VERSION

log = structlog.get_logger()

BUILTIN_FRAMES = 248
"""Length of the loop of every built-in template, known before it is drawn."""
BUILTIN = {"default": (512, 512), "default-portrait": (720, 1280)}
"""Template id to width and height."""
MANIFEST = "manifest.json"
GONE = ".gone-"
"""Marks a folder that is being deleted, as in ``models/templates/writer.py``, which knows pixels."""
NAMED = 8
"""Templates that a message names; the largest ones."""


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
    keep: bool = False
    """It is never evicted."""
    outdated: bool = False
    """Of an older format: it is made anew from its source before it is shown. ``engines`` is empty until then."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the size of the cache is made of."""

    id: str
    nbytes: int
    keep: bool


class Version(msgspec.Struct):
    """What a manifest of any version has."""

    v: int


class Manifest(msgspec.Struct):
    """What the catalog reads of a template's manifest."""

    id: str
    hash: str
    kind: str
    frames: int
    width: int
    height: int
    engines: list[str]


class OldManifest(msgspec.Struct):
    """The same of an older version, as far as it is there."""

    kind: str = "image"
    frames: int = 0
    width: int = 0
    height: int = 0


class Catalog:
    """Templates by id."""

    def __init__(self, state_dir: str) -> None:
        self.root = Path(state_dir) / "templates"
        self._ready: dict[str, Listed] = {}
        self._strange: dict[str, int] = {}
        """Id to format version of those that cannot be shown; each is told to the log once."""

    def find(self, template_id: str) -> Listed | None:
        """A template that can be used now, or once it was made anew (``outdated``).

        A built-in one only after this run has checked its version.
        """
        found = self._ready.get(template_id)
        if found is None and template_id not in BUILTIN:
            found = self._read(self.root / template_id)
            if found is not None and not found.outdated:
                self._ready[template_id] = found
        return found

    def known(self, template_id: str) -> bool:
        """Whether the template is there or can be made."""
        return template_id in BUILTIN or self.find(template_id) is not None

    def there(self, template_id: str) -> bool:
        """Whether there is a folder of this name, readable or not."""
        return (self.root / template_id / MANIFEST).is_file()

    def missing(self, template_id: str) -> str:
        """Why ``find`` has nothing under this id, for a person."""
        version = self._strange.get(template_id)
        if version is None or not self.there(template_id):
            return f"no template {template_id!r}: see list_templates, or make it with preprocess_template"
        return (
            f"template {template_id!r} is of format version {version} and this musecast shows version "
            f"{MANIFEST_VERSION}: make it again with preprocess_template from its photo or film"
        )

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
            is_kept(Path(message.template.path)),
        )
        self._ready[message.template.id] = listed
        self._strange.pop(message.template.id, None)
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
        self._strange.pop(template_id, None)
        gone = self.root / f".{template_id}{GONE}{secrets.token_hex(4)}"
        (self.root / template_id).rename(gone)
        threading.Thread(target=shutil.rmtree, args=(gone,), kwargs={"ignore_errors": True}).start()

    def room(self, template_id: str, limit: int, shown: Callable[[str], bool]) -> tuple[int | None, str]:
        """What the cache has for a template of this id when everything that may go has gone.

        Returns:
            The bytes, None without a limit; and what a person can do when they do not suffice.
        """
        if not limit:
            return None, ""
        held = [row for row in self._rows() if row.id != template_id and (row.keep or shown(row.id))]
        held.sort(key=lambda row: -row.nbytes)
        names = [f"{row.id} ({row.nbytes / 1e6:.1f} MB{', in use' if shown(row.id) else ''})" for row in held]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        delete = f"Delete some of {', '.join(names[:NAMED])}{more}, or raise" if names else "Raise"
        advice = f"{delete} templates.cache_bytes ({limit / 1e6:.1f} MB)"
        return limit - sum(row.nbytes for row in held), advice

    def evict(self, limit: int, held: Callable[[str], bool]) -> list[str]:
        """Delete what was not shown for longest until the cache fits ``limit`` bytes (0: no limit).

        Kept templates and those for which ``held`` is true stay. Built-in ones stay and are not counted. Returns
        the ids that went.
        """
        if not limit:
            return []
        rows = self._rows()
        excess = sum(row.nbytes for row in rows) - limit
        gone: list[str] = []
        for row in sorted(rows, key=lambda row: _shown_at(self.root / row.id)):
            if excess <= 0:
                break
            if row.keep or held(row.id):
                continue
            try:
                self.delete(row.id)
            except OSError as error:
                log.warning("template.stays", template=row.id, reason=str(error))
                continue
            excess -= row.nbytes
            gone.append(row.id)
            log.info("template.evicted", template=row.id, bytes=row.nbytes, limit=limit)
        return gone

    def all(self) -> list[Listed]:
        """Every template that can be shown, built-in ones first, also those not yet drawn."""
        rows = []
        for name in [*BUILTIN, *(folder.name for folder in self._folders())]:
            found = self.find(name) or self._read(self.root / name)
            if found is None and name in BUILTIN:
                width, height = BUILTIN[name]
                found = Listed(TemplateRef(name, "", ""), "builtin", BUILTIN_FRAMES, width, height, [], 0)
            if found is not None:
                rows.append(found)
        return rows

    def _folders(self) -> Iterator[Path]:
        """Folders of templates that are not built in."""
        if self.root.is_dir():
            for path in sorted(self.root.iterdir()):
                if path.is_dir() and path.name not in BUILTIN and not path.name.startswith("."):
                    yield path

    def _rows(self) -> list[Row]:
        """What counts in the cache: everything that is not built in, whether this version can show it or not."""
        rows = []
        for folder in self._folders():
            if not (folder / MANIFEST).is_file():  # whoever put it here, it is no template
                continue
            ready = self._ready.get(folder.name)
            try:
                nbytes = ready.nbytes if ready else _size(folder)
            except OSError:  # it is just being deleted
                continue
            rows.append(Row(folder.name, nbytes, is_kept(folder)))
        return rows

    def _read(self, folder: Path) -> Listed | None:
        """The template in ``folder``; one of an older format when it can be made anew."""
        try:
            raw = (folder / MANIFEST).read_bytes()
            version = msgspec.json.decode(raw, type=Version).v
            if version != MANIFEST_VERSION:
                return self._outdated(folder, raw, version)
            m = msgspec.json.decode(raw, type=Manifest)
            size = _size(folder)
        except (OSError, msgspec.MsgspecError):
            return None
        ref = TemplateRef(m.id, str(folder), m.hash)
        return Listed(ref, m.kind, m.frames, m.width, m.height, m.engines, size, is_kept(folder))

    def _outdated(self, folder: Path, raw: bytes, version: int) -> Listed | None:
        if folder.name in BUILTIN:
            return None
        rebuilt = version < MANIFEST_VERSION and read_origin(folder) is not None
        if self._strange.get(folder.name) != version:
            self._strange[folder.name] = version
            log.warning(
                "template.version",
                template=folder.name,
                version=version,
                shown=MANIFEST_VERSION,
                hint="it is made anew from its source at its next use" if rebuilt else "prepare it again",
            )
        if not rebuilt:
            return None
        try:
            old = msgspec.json.decode(raw, type=OldManifest)
        except msgspec.MsgspecError:
            old = OldManifest()
        ref = TemplateRef(folder.name, str(folder), "")
        size = _size(folder)
        return Listed(ref, old.kind, old.frames, old.width, old.height, [], size, is_kept(folder), outdated=True)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _shown_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
