"""A data folder for espeak-ng whose every voice is deterministic.

espeak's voices waver on purpose ("flutter", "roughness"), and the phase of that wavering lives on from one
utterance to the next, so the same sentence never sounds the same twice. Both can only be switched off in a
voice variant's file. This folder therefore links to the installed data and has variants of its own: the
installed ones without the wavering, and ``muse``, the default. Its short path also avoids the library's limit
of 160 bytes.

It lies in the temporary folder of the process. In the daemon that is one below ``runtime_dir``, which the
supervisor removes after a process that could not do so itself.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

DEFAULT_VARIANT = "muse"
_MUSE = """language variant
name muse
gender female
pitch 138 212
formant 0 104 90 130
formant 1 112 85 130
formant 2 112 80 130
formant 3 112 80 130
formant 4 114 80 130
formant 5 114 80 130
consonants 105 110
"""
_STEADY = "\nflutter 0\nroughness 0\n"
_PREFIX = "espeak-"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A built folder: its path for ``espeak_Initialize``, and its variants."""

    path: str
    variants: frozenset[str]

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def make(installed: str) -> DataFolder:
    """Build the folder.

    Args:
        installed: path of the installed ``espeak-ng-data``.

    Raises:
        OSError: the temporary folder cannot be written.
    """
    source = Path(installed)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    data = root / "espeak-ng-data"
    variants = data / "voices" / "!v"
    variants.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name != "voices":
            (data / entry.name).symlink_to(entry.resolve())
    for entry in (source / "voices").iterdir():
        if entry.name != "!v":
            (data / "voices" / entry.name).symlink_to(entry.resolve())
    names = {DEFAULT_VARIANT}
    (variants / DEFAULT_VARIANT).write_text(_MUSE + _STEADY)
    for entry in sorted((source / "voices" / "!v").iterdir()):
        lines = entry.read_text("utf-8", "replace").splitlines()
        if any(line.split()[:2] == ["klatt", "6"] for line in lines):
            continue  # its breath is random, and nothing can seed it
        kept = [line for line in lines if not line.startswith(("flutter", "roughness"))]
        (variants / entry.name).write_text("\n".join(kept) + _STEADY)
        names.add(entry.name)
    return DataFolder(str(data), frozenset(names))

