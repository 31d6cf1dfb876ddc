"""What was converted below ``weights_dir``, by its own record. No torch: preparation asks it as well."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import EngineError
from models.musetalk.layout import BY_NAME, CONVERTED, MANIFEST

MANIFEST_VERSION = 1
_AGAIN = "delete it and run `musecast weights convert`"
_FIELDS: dict[str, type] = {
    "sha256": str, "source": str, "source_sha256": str, "config": dict, "tensors": int, "parameters": int,
    "dtype": str,
}  # fmt: skip
"""Of the record of a component."""


def converted_path(root: Path, name: str) -> Path:
    """Where a converted component lies."""
    return root / CONVERTED / f"{name}.safetensors"


def converted_entry(root: Path, name: str) -> dict[str, Any]:
    """The record of a converted component whose file is there.

    Raises:
        EngineError: FAILED when it is not converted.
    """
    entry: dict[str, Any] | None = read_manifest(root).get(name)
    if entry is None or not converted_path(root, name).is_file():
        there = BY_NAME[name].find(root)
        hint = "run `musecast weights convert`" if there else "run `musecast weights pull`, then `... convert`"
        raise EngineError("FAILED", f"the weights of {name} are not converted below {root}", hint)
    return entry


def source_digest(root: Path, name: str) -> str:
    """SHA-256 of the official file that a converted component came from; "" when it is not converted."""
    entry = read_manifest(root).get(name)
    return "" if entry is None else str(entry["source_sha256"])


def read_manifest(root: Path) -> dict[str, Any]:
    """Name to record of everything converted; empty when nothing is.

    Raises:
        EngineError: FAILED when it cannot be read.
    """
    path = root / CONVERTED / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError("FAILED", f"{path} cannot be read: {error}", _AGAIN) from error
    if isinstance(manifest, dict) and manifest.get("v", MANIFEST_VERSION) != MANIFEST_VERSION:
        return {}
    if wrong := _misshapen(manifest):
        raise EngineError("FAILED", f"{path} is damaged: {wrong}", _AGAIN)
    components: dict[str, Any] = manifest["components"]
    return components


def _misshapen(manifest: Any) -> str:
    """What a manifest of this version lacks; "" when it has all."""
    components = manifest.get("components") if isinstance(manifest, dict) else None
    if not isinstance(components, dict):
        return "it has no components"
    for name, entry in components.items():
        for key, kind in _FIELDS.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                return f"{name} has no {key}"
    return ""


def write_manifest(root: Path, components: Mapping[str, Any]) -> None:
    """Replace the record."""
    path = root / CONVERTED / MANIFEST
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"v": MANIFEST_VERSION, "components": components}, indent=1), "utf-8")
    os.replace(part, path)
