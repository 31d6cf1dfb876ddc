"""The files of one session: a folder with its rings (mapped), and what it is made of.

``runtime_dir`` is memory on most machines; in any case what has to survive is the process, not the machine:
nothing is flushed. Room is taken before it is written to, so that a full disk is an error and not a SIGBUS.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from broker.journal.layout import PAGE, Layout, Region
from broker.journal.state import VERSION, Cold

RING, COLD = "ring", "session"
STEP_BYTES = 128 << 10
"""Room is taken in such pieces as the rings fill: more at once would hold up the loop."""
MADV_POPULATE_WRITE = 23
"""Python has no name for it."""
_encode = msgspec.msgpack.Encoder().encode


class Files:
    """Made with ``create`` or ``adopt``; both raise OSError, ``adopt`` also ValueError."""

    def __init__(self, folder: Path, layout: Layout, descriptor: int) -> None:
        self.folder = folder
        self.layout = layout
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, layout.total)
        self.buffer = memoryview(self._map)
        self._room: dict[Region, int] = {}

    @classmethod
    def create(cls, folder: Path, layout: Layout) -> Files:
        """New files; what is left of older ones goes."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            return cls._open(folder, layout, os.O_CREAT | os.O_EXCL)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def adopt(cls, folder: Path) -> Files:
        """What a predecessor has left. Raises ValueError when it was not finished or is of another version."""
        with (folder / RING).open("rb") as file:
            layout = Layout.read(file.read(PAGE))
            size = os.fstat(file.fileno()).st_size
        if layout is None or size != layout.total:
            raise ValueError("the rings were not finished, or another version wrote them")
        return cls._open(folder, layout, 0)

    @classmethod
    def _open(cls, folder: Path, layout: Layout, flags: int) -> Files:
        descriptor = os.open(folder / RING, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        try:
            if flags:
                os.ftruncate(descriptor, layout.total)
                os.posix_fallocate(descriptor, 0, layout.head)
                os.pwrite(descriptor, layout.pack(), 0)
            return cls(folder, layout, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def room(self, region: Region) -> Callable[[int], None]:
        """Makes sure that there is room for the region's bytes up to an offset; it raises OSError."""

        def take(end: int) -> None:
            taken = self._room.get(region, 0)
            while taken < end:
                step = min(STEP_BYTES, region.size - taken)
                os.posix_fallocate(self._descriptor, region.data_at + taken, step)
                self._touch(region.data_at + taken, step)
                self._room[region] = taken = taken + step

        return take

    def _touch(self, at: int, size: int) -> None:
        """Map the pages at once: one by one, as they are written, would cost three times as much."""
        begin = at - at % PAGE
        with contextlib.suppress(OSError):  # a kernel before 5.14
            self._map.madvise(MADV_POPULATE_WRITE, begin, at + size - begin)

    def copy(self) -> memoryview:
        """The same bytes in memory of this process alone, as far as they were ever written."""
        found = memoryview(mmap.mmap(-1, self.layout.total))
        found[: self.layout.head] = self.buffer[: self.layout.head]
        at = self.layout.head
        with contextlib.suppress(OSError):  # ENXIO: nothing more is there
            while at < self.layout.total:
                begin = os.lseek(self._descriptor, at, os.SEEK_DATA)
                at = os.lseek(self._descriptor, begin, os.SEEK_HOLE)
                found[begin:at] = self.buffer[begin:at]
        return found

    # --- what changes seldom ---

    def write_cold(self, cold: Cold) -> None:
        """What the session is made of, whole or not at all; raises OSError."""
        self._replace(COLD, cold)

    def _replace(self, name: str, content: msgspec.Struct) -> None:
        new = self.folder / f"{name}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            left = memoryview(_encode(content))
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)
        os.rename(new, self.folder / name)

    def read_cold(self) -> Cold:
        """Raises OSError or ValueError: it is not there, or of another version."""
        cold = msgspec.msgpack.decode((self.folder / COLD).read_bytes(), type=Cold)
        if cold.v != VERSION:
            raise ValueError(f"version {cold.v}; this broker reads {VERSION}")
        return cold

    def close(self, *, remove: bool) -> None:
        """Let go; with ``remove`` of the files, too. Whoever still holds a piece of the buffer keeps it."""
        with contextlib.suppress(BufferError):
            self.buffer.release()
            self._map.close()
        os.close(self._descriptor)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)


def in_memory(layout: Layout) -> Any:
    """The same without files: it ends with the process."""
    return memoryview(mmap.mmap(-1, layout.total))
