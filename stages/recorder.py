"""What a process had in hand when it died: a small mapped file that survives SIGKILL.

A message cannot do this: one that was given to ZeroMQ just before a crash dies with the process. The items
noted here go into the supervisor's ``Down``, so that a death counts against exactly the items in progress.
"""

from __future__ import annotations

import mmap
import os
import threading

SLOTS = 128
SLOT_BYTES = 256
"""One byte of length, then the item's id."""


def path_of(runtime_dir: str, instance: str, epoch: int) -> str:
    """Where one incarnation keeps its notes."""
    return os.path.join(runtime_dir, f"hand.{instance}.{epoch}")


class Recorder:
    """The writing side; a note costs about a microsecond."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * SLOT_BYTES)
            self._map = mmap.mmap(descriptor, SLOTS * SLOT_BYTES)
        finally:
            os.close(descriptor)
        self._free = list(range(SLOTS))
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self, item_id: str) -> None:
        """The item is in progress from now on. More than ``SLOTS`` at a time are not noted."""
        name = item_id.encode()[: SLOT_BYTES - 1]
        with self._lock:
            if not self._free or item_id in self._taken:
                return
            slot = self._taken[item_id] = self._free.pop()
            at = slot * SLOT_BYTES
            self._map[at + 1 : at + 1 + len(name)] = name
            self._map[at] = len(name)  # last: a half-written note is no note

    def end(self, item_id: str) -> None:
        """The item is no longer in progress."""
        with self._lock:
            slot = self._taken.pop(item_id, None)
            if slot is not None:
                self._map[slot * SLOT_BYTES] = 0
                self._free.append(slot)


def read(path: str) -> list[str]:
    """The ids that were in progress; none when there is no such file."""
    try:
        with open(path, "rb") as file:
            data = file.read(SLOTS * SLOT_BYTES)
    except FileNotFoundError:
        return []
    notes = []
    for at in range(0, len(data), SLOT_BYTES):
        length = data[at]
        if length:
            notes.append(data[at + 1 : at + 1 + length].decode(errors="replace"))
    return sorted(notes)
