"""What of all sessions outlives the broker: their rings, numbers, settings and what has been said.

Everything is written before it is published. Where it cannot be (the limit, a full or read-only folder), the
session is served all the same, from memory, and ``report`` says that it would be lost with the broker.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from broker.journal.files import Files, in_memory
from broker.journal.layout import Layout, Region
from broker.journal.ring import Ring
from broker.journal.state import (
    Cold,
    Room,
    Slots,
    State,
    pack_lines,
    pack_state,
    unpack_lines,
    unpack_state,
)
from configs.schema import Ring as RingConfig

log = structlog.get_logger()

FOLDER = "journal"
"""Below ``runtime_dir``."""
HINT = "a broker that dies takes such sessions with it"
SHARE = 4
"""Of what is free there, one part in so many is used where nothing else is configured."""

EVENT_BYTES = 512
"""Of one event, on average, are kept."""


class Found(NamedTuple):
    """A session that a predecessor has left."""

    cold: Cold
    state: State
    lines: list[tuple[str, str]]
    store: Store


class Store:
    """Where one session's output is kept, in its files or in memory.

    Args:
        files: None: in memory.
        lost: called when the files are given up, with the reason.
    """

    def __init__(self, layout: Layout, files: Files | None, lost: Callable[[Store, str], None]) -> None:
        self._layout = layout
        self._files = files
        self._lost = lost
        self._cold: Cold | None = None
        buffer = in_memory(layout) if files is None else files.buffer
        self._state = Slots(buffer, layout.state)
        self._lines = Slots(buffer, layout.lines, (self._room(layout.lines[0]), self._room(layout.lines[1])))
        self.events = Ring(buffer, layout.events, self._room(layout.events))
        self.media = Ring(buffer, layout.media, self._room(layout.media))

    def _room(self, region: Region) -> Room:
        return _enough if self._files is None else self._files.room(region)

    @property
    def survives(self) -> bool:
        """Whether what is kept here outlives the broker."""
        return self._files is not None

    @property
    def size(self) -> int:
        """Of its files, at most."""
        return self._layout.total if self._files is not None else 0

    def adopt(self) -> tuple[Cold, State, list[tuple[str, str]]]:
        """Go on with what a predecessor has left.

        Raises:
            OSError, ValueError: it is not whole.
        """
        assert self._files is not None
        self._cold = self._files.read_cold()
        state, lines = unpack_state(self._state.read()), unpack_lines(self._lines.read())
        self.events.adopt()
        self.media.adopt()
        event, media = self.events.last, self.media.last
        now = time.monotonic_ns() // 1000
        state.catch_up(event.header if event else None, media.header if media else None, now)
        return self._cold, state, lines

    def found(self, cold: Cold, state: State) -> None:
        """The session begins."""
        self._cold = cold
        self.save(state)
        self._try(lambda files: files.write_cold(cold))

    def save(self, state: State) -> None:
        """This is how the session is."""
        self._state.write(pack_state(state, self._state.size))

    def settings(self, packed: bytes) -> None:
        """These are the settings from now on."""
        if self._cold is not None:
            self._cold = cold = msgspec.structs.replace(self._cold, settings=packed)
            self._try(lambda files: files.write_cold(cold))

    def lines(self, lines: list[tuple[str, str]]) -> None:
        """This is what has been said."""
        body = pack_lines(lines, self._lines.size)
        try:
            self._lines.write(body)
        except OSError as error:
            self.lose(str(error))
            self._lines.write(body)

    def keep(self, ring: Ring, number: int, header: bytes, payload: bytes) -> None:
        """Add to one of the rings; where the disk has no room, from memory on."""
        try:
            ring.add(number, header, payload)
        except OSError as error:
            self.lose(str(error))
            ring.add(number, header, payload)

    def _try(self, write: Callable[[Files], None]) -> None:
        if self._files is None:
            return
        try:
            write(self._files)
        except OSError as error:
            self.lose(str(error))

    def lose(self, reason: str) -> None:
        """Go on in memory; the files go."""
        files, self._files = self._files, None
        if files is None:
            return
        buffer = files.copy()
        for slots in (self._state, self._lines):
            slots.move(buffer)
        for ring in (self.events, self.media):
            ring.move(buffer, _enough)
        files.close(remove=True)
        self._lost(self, reason)

    def close(self, *, remove: bool = True) -> None:
        """Forget it all."""
        files, self._files = self._files, None
        self.events.close()
        self.media.close()
        for slots in (self._state, self._lines):
            slots.move(memoryview(b""))
        if files is not None:
            files.close(remove=remove)


def _enough(end: int) -> None:
    """Memory has room."""


class Journal:
    """The stores of all sessions.

    Args:
        folder: None: everything is kept in memory.
        boot: id of the supervisor's run: what another one has left is void.
        ring: sizes.
        max_bytes: of all files together; 0: a part of what is free.
    """

    def __init__(self, folder: Path | None, boot: str, ring: RingConfig, max_bytes: int = 0) -> None:
        self._folder = folder
        self._boot = boot
        events = max(1 << 20, min(ring.bytes_per_session, ring.events_per_session * EVENT_BYTES))
        self._layout = Layout.of(events, ring.events_per_session, ring.bytes_per_session)
        self._stores: dict[Store, str] = {}
        """With the session's id."""
        self._reason = ""
        """Why the last one of those that would be lost is not in files."""
        self._max_bytes = max_bytes
        self._found: list[Found] = []
        if folder is not None:
            self._open(folder)

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            names = sorted(os.listdir(folder))
            used = sum(os.stat(path).st_blocks * 512 for path in folder.glob("*/*"))
            free = os.statvfs(folder)
        except OSError as error:
            self._folder, self._reason = None, str(error)
            log.warning("journal.unusable", reason=self._reason, hint=HINT)
            return
        self._max_bytes = self._max_bytes or (free.f_bavail * free.f_frsize + used) // SHARE
        for name in names:
            self._find(folder / name)

    def _find(self, folder: Path) -> None:
        files: Files | None = None
        try:
            files = Files.adopt(folder)
            store = Store(files.layout, files, self._lost)
            cold, state, lines = store.adopt()
            if cold.boot != self._boot or cold.sid != folder.name:
                raise ValueError("another daemon has left it")
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("journal.torn", sid=folder.name, reason=str(error))
            if files is not None:
                files.close(remove=False)
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._stores[store] = cold.sid
        self._found.append(Found(cold, state, lines, store))

    def take(self) -> list[Found]:
        """The sessions that a predecessor has left; once."""
        found, self._found = self._found, []
        return found

    @property
    def size(self) -> int:
        """Of all files, at most."""
        return sum(store.size for store in self._stores)

    def open(self, sid: str, init: bytes, mime: str, settings: bytes) -> Store:
        """Where a new session is kept."""
        store = Store(self._layout, self._files(sid), self._lost)
        self._stores[store] = sid
        store.found(Cold(self._boot, sid, init, mime, settings), State())
        return store

    def _files(self, sid: str) -> Files | None:
        if self._folder is None:
            return None
        size = self._layout.total
        if self.size + size > self._max_bytes:
            limit = f"journal.max_bytes is {self._max_bytes} and {self.size} are used; a session needs {size}"
            self._note(sid, limit)
            return None
        try:
            return Files.create(self._folder / sid, self._layout)
        except OSError as error:
            self._note(sid, str(error))
            return None

    def _lost(self, store: Store, reason: str) -> None:
        self._note(self._stores[store], reason)

    def _note(self, sid: str, reason: str) -> None:
        self._reason = reason
        log.warning("journal.lost", sid=sid, reason=reason, hint=HINT)

    def close(self, store: Store) -> None:
        """The session is over and forgotten."""
        if self._stores.pop(store, None) is not None:
            store.close()

    def report(self) -> dict[str, Any]:
        """``status.journal``."""
        lost = sorted(sid for store, sid in self._stores.items() if not store.survives)
        report: dict[str, Any] = {"bytes": self.size, "max_bytes": self._max_bytes, "would_be_lost": lost}
        if self._reason and (lost or self._folder is None):
            report["reason"] = self._reason
        return report
