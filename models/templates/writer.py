"""Writing a template folder: streamed to a hidden sibling, then renamed into place.

Nothing half-made is ever visible under a template's own name: a process killed at any moment leaves at most
a hidden folder, which ``sweep`` removes. The format is the one that ``models/templates/store.py`` reads.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from models.api import Cancel, EngineError, Preparer, Progress
from models.media.paste import bgr_to_i420
from models.templates.origin import Entry, is_kept, keep_source, mark_kept, refuse_beyond_room
from models.templates.store import MANIFEST_VERSION, map_template, read_manifest

log = structlog.get_logger(__name__)

LOOP_MULTIPLE = 8
"""A template's length is a multiple of the quantum."""
HASH_CHUNK = 1 << 20
PART = ".part-"
"""Marks a folder in the making; followed by random hex digits."""
_OLD = ".old-"
"""Marks a folder whose successor takes its place; it comes back when the successor never did."""
GONE = ".gone-"
"""Marks a folder that is being deleted."""
_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""
_LEFTOVER = re.compile(r"\.([A-Za-z0-9_-]{1,64})\.(?:part|old|gone)-[0-9a-f]+")


def content_hash(source: str, parameters: dict[str, Any], preparers: Sequence[Preparer]) -> str:
    """Name of a template's content: its source, the parameters, and every preparer's version.

    Args:
        source: identity of the source (hex digest of its bytes, or name and version of built-in artwork).
        parameters: JSON-able; whatever changes the outcome.
        preparers: the engines' preparers, in any order.
    """
    versions = {preparer.engine: preparer.version for preparer in preparers}
    text = json.dumps([MANIFEST_VERSION, source, parameters, versions], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def damaged_files(path: Path) -> list[str]:
    """Names of the files of the template in ``path`` that are missing or differ from its manifest.

    Raises:
        EngineError: as ``read_manifest``.
    """
    files: dict[str, str] = read_manifest(path)["files"]
    return [
        name for name, digest in files.items() if not (path / name).is_file() or file_sha256(path / name) != digest
    ]


@contextmanager
def template_lock(root: Path, template_id: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of one template id, across processes; released by the kernel when its holder dies.

    Yields whether it is held: always, unless ``wait`` is false and another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    handle = _locked(root / f".{template_id}.lock", fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)


def _locked(path: Path, how: int) -> int | None:
    """A descriptor of the locked file; None when another process holds it and ``how`` does not wait."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, how)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # ``sweep_all`` removed this file while we waited for it


@contextmanager
def scratch_folder(root: Path, template_id: str) -> Iterator[Path]:
    """A hidden folder for what is needed only meanwhile. Call with the lock held: ``sweep`` removes it too."""
    folder = root / f".{template_id}{PART}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_all(root: Path) -> int:
    """Remove what killed processes left of any template, unless one is at work on it; returns how many.

    Locks of templates that are gone are removed as well.
    """
    names = {match[1] for path in root.glob(".*") if path.is_dir() and (match := _LEFTOVER.fullmatch(path.name))}
    swept = 0
    for name in sorted(names):
        with template_lock(root, name, wait=False) as held:
            if held:
                swept += sweep(root, name)
    for path in root.glob(".*.lock"):
        name = path.name[1 : -len(".lock")]
        if not (root / name).exists():
            with template_lock(root, name, wait=False) as held:
                if held:
                    path.unlink(missing_ok=True)
    return swept


def sweep(root: Path, template_id: str) -> int:
    """Remove what a killed writer of ``template_id`` left; returns how many. Call with its lock held.

    Where the writer was killed between the two renames of ``publish`` the old template gets its name back.
    """
    target = root / template_id
    for old in root.glob(f".{template_id}{_OLD}*"):
        if not target.exists():
            os.rename(old, target)
    leftovers = [path for mark in (PART, _OLD, GONE) for path in root.glob(f".{template_id}{mark}*")]
    for leftover in leftovers:
        shutil.rmtree(leftover, ignore_errors=True)
    return len(leftovers)


class TemplateWriter:
    """Writes one template; a context manager that leaves nothing behind unless ``finish`` succeeded.

    Args:
        root: the folder of all templates; made when missing.
        template_id: the template's name.
        kind: "builtin", "image" or "video".
        size: width and height of the frames in pixels, both even.
        box: width and height of the face box in pixels, both even.
        alpha: u8 ``[box height, box width]``, 0 on its border.
        entry: its content hash, its source, and what the cache grants it.
    """

    def __init__(
        self,
        root: Path,
        template_id: str,
        kind: str,
        size: tuple[int, int],
        box: tuple[int, int],
        alpha: NDArray[np.uint8],
        entry: Entry,
    ) -> None:
        if any(side % 2 for side in (*size, *box)):
            raise EngineError(
                "INVALID_ARGUMENT", f"frame {size} and box {box} must have even sides", "pad by a pixel"
            )
        if alpha.shape != (box[1], box[0]):
            raise EngineError("INVALID_ARGUMENT", f"alpha is {alpha.shape}, the box {box[::-1]}")
        self.root, self.id, self.kind, self.size, self.box = root, template_id, kind, size, box
        self.hash = entry.digest
        self._entry = entry
        self._written = 0
        self._alpha = alpha
        self._boxes: list[tuple[int, int, int, int]] = []
        self._valid: list[bool] = []
        self._digests: dict[str, Any] = {}
        self._files: dict[str, BinaryIO] = {}
        self._part = root / f".{template_id}{PART}{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        self._part.mkdir(mode=0o700)
        for name in ("frames.i420", "roi.bgr"):
            self._files[name] = (self._part / name).open("wb")
            self._digests[name] = hashlib.sha256()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._part, ignore_errors=True)

    def add(self, frame: NDArray[np.uint8], origin: tuple[int, int], *, valid: bool = True) -> None:
        """Append a frame.

        Args:
            frame: u8 BGR ``[height, width, 3]``.
            origin: x and y of the box's upper left corner, even, the box wholly inside.
            valid: whether a face was found.
        """
        width, height = self.size
        if frame.shape != (height, width, 3):
            raise EngineError("INVALID_ARGUMENT", f"frame is {frame.shape}, the template {(height, width, 3)}")
        x0, y0 = origin
        x1, y1 = x0 + self.box[0], y0 + self.box[1]
        self.add_i420(bgr_to_i420(frame), np.ascontiguousarray(frame[y0:y1, x0:x1]), origin, valid=valid)

    def add_i420(
        self, frame: NDArray[np.uint8], roi: NDArray[np.uint8], origin: tuple[int, int], *, valid: bool = True
    ) -> None:
        """Append a frame that is I420 already.

        Args:
            frame: u8 ``[height * 3 / 2, width]``, contiguous, BT.709 limited.
            roi: the same picture in the box: u8 BGR ``[box height, box width, 3]``, contiguous.
            origin: as for ``add``.
            valid: as for ``add``.
        """
        width, height = self.size
        box_w, box_h = self.box
        x0, y0 = origin
        if x0 % 2 or y0 % 2 or min(x0, y0) < 0 or x0 + box_w > width or y0 + box_h > height:
            raise EngineError(
                "INVALID_ARGUMENT", f"box {box_w}x{box_h} at {origin} is odd or leaves the {width}x{height} frame"
            )
        if frame.shape != (height * 3 // 2, width) or roi.shape != (box_h, box_w, 3):
            raise EngineError("INVALID_ARGUMENT", f"frame {frame.shape} or box {roi.shape} of another size")
        self._append("frames.i420", frame)
        self._append("roi.bgr", roi)
        self._boxes.append((x0, y0, x0 + box_w, y0 + box_h))
        self._valid.append(valid)

    def save(self, name: str, array: NDArray[Any]) -> None:
        """Add an array that belongs to the template itself, such as ``landmarks.npy``; engines read it."""
        np.save(self._part / name, array)

    def _append(self, name: str, data: NDArray[np.uint8]) -> None:
        self._written += data.nbytes
        refuse_beyond_room(self.id, self._written, self._entry)
        self._files[name].write(data.data)
        self._digests[name].update(data.data)

    def finish(self, preparers: Sequence[Preparer], progress: Progress, cancel: Cancel) -> Path:
        """Run the engines' preparers, write the manifest, rename into place; returns the folder.

        An older template of the same name is replaced; processes that have it mapped keep their pages.

        Raises:
            EngineError: a preparer failed, the loop has the wrong length, the cache has no room for it, or
                ``cancel`` was set.
        """
        if not self._boxes or len(self._boxes) % LOOP_MULTIPLE:
            raise EngineError(
                "FAILED", f"a template of {len(self._boxes)} frames; it must be a multiple of {LOOP_MULTIPLE}"
            )
        for file in self._files.values():
            file.close()
        np.save(self._part / "boxes.npy", np.asarray(self._boxes, np.int32))
        np.save(self._part / "valid.npy", np.asarray(self._valid, np.bool_))
        np.save(self._part / "alpha.npy", self._alpha)
        manifest = self._manifest([preparer.engine for preparer in preparers])
        template = map_template(self._part, manifest)
        failures: dict[str, EngineError] = {}
        for preparer in preparers:
            out = self._part / "engine" / preparer.engine
            out.mkdir(parents=True)
            try:
                preparer.prepare(template, str(out), progress, cancel)
            except EngineError as error:  # the other engines of the chain can still show this template
                failures[preparer.engine] = error
                log.warning("template.unprepared", template=self.id, engine=preparer.engine, reason=str(error))
                shutil.rmtree(out)
            _refuse_cancelled(cancel, self.id)
        if failures and len(failures) == len(preparers):
            raise next(iter(failures.values()))
        manifest["engines"] = [p.engine for p in preparers if p.engine not in failures]
        (self._part / "idle").mkdir()
        manifest["files"] = self._hash_files()
        self._keep()
        _write_synced(self._part / "manifest.json", json.dumps(manifest, indent=1).encode())
        refuse_beyond_room(self.id, folder_size(self._part), self._entry)
        _refuse_cancelled(cancel, self.id)
        return publish(self.root, self.id, self._part)

    def _keep(self) -> None:
        """Add the source and the mark."""
        entry = self._entry
        if entry.file is not None and entry.origin is not None:
            keep_source(self._part, entry.file, entry.origin)
        if entry.keep or is_kept(self.root / self.id):
            mark_kept(self._part)

    def _manifest(self, engines: list[str]) -> dict[str, Any]:
        return {
            "v": MANIFEST_VERSION,
            "id": self.id,
            "kind": self.kind,
            "width": self.size[0],
            "height": self.size[1],
            "frames": len(self._boxes),
            "box": list(self.box),
            "hash": self.hash,
            "engines": engines,
            "files": {},
        }

    def _hash_files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in sorted(self._part.rglob("*")):
            if path.is_file():
                name = path.relative_to(self._part).as_posix()
                streamed = self._digests.get(name)
                found[name] = streamed.hexdigest() if streamed is not None else file_sha256(path)
        return found


def publish(root: Path, template_id: str, part: Path) -> Path:
    """Give the finished folder ``part`` the template's name; an older one goes. Call with the lock held.

    The two change places in one step, so that whoever is killed here leaves the old one or the new one.
    """
    target = root / template_id
    if not _exchange(part, target):
        if target.exists():  # a file system that cannot exchange
            os.rename(target, root / f".{template_id}{_OLD}{secrets.token_hex(4)}")
        os.rename(part, target)
    _sync_folder(root)
    sweep(root, template_id)
    return target


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places; False when ``other`` is not there or the system cannot do it."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = os.fsencode(one), os.fsencode(other)
    return renameat2 is not None and renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0


def _refuse_cancelled(cancel: Cancel, template_id: str) -> None:
    if cancel.is_set():
        raise EngineError("FAILED", f"preparing {template_id} was cancelled", "ask for it again", retryable=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
