"""Which templates exist: built-in ones and those on disk. Reads manifests, never pixels."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from broker.messages import TemplateReady, TemplateRef

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

    def delete(self, template_id: str) -> None:
        """Remove a template's folder. It is renamed first, so that nobody opens half of it."""
        self._ready.pop(template_id, None)
        folder = self.root / template_id
        gone = self.root / f".{template_id}.deleted"
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

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
                found = Listed(TemplateRef(name, "", ""), "builtin", 0, width, height, [], 0)
            if found is not None:
                rows.append(found)
        return rows

    @staticmethod
    def _read(folder: Path) -> Listed | None:
        try:
            manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
            ref = TemplateRef(manifest["id"], str(folder), manifest["hash"])
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            return Listed(
                ref,
                manifest["kind"],
                manifest["frames"],
                manifest["width"],
                manifest["height"],
                list(manifest["engines"]),
                size,
            )
        except (OSError, ValueError, KeyError):
            return None
