"""A recording while it grows: ``init`` and the published segments, byte by byte; at any moment a playable file.

The file is its own state. Segments say in themselves which they are and when they play, so that whoever opens it
again goes on where it ends. What a cut makes void is taken off its end.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from clients.mp4 import place, rebased, shortened

RECENT = 512
"""Segments that a cut may still reach; more than any lead."""
SETTLED_S = 5.0
"""What was written before this is not cut any more at the default lead."""


class _Written(NamedTuple):
    offset: int
    seq: int
    pts: int
    dur: int
    at: float


class RecordingFile:
    """Opened for writing; made when it is not there. Written from one thread at a time; any may read its ``tail``.

    Args:
        path: of the file; its folder is there.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._closed = False
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = 0
        self.next_seq = 0
        self._end_us = 0
        self._recent: deque[_Written] = deque(maxlen=RECENT)
        self._find_end()

    @property
    def empty(self) -> bool:
        """Whether not even the ``init`` is in it."""
        return self.size == 0

    def begin(self, init: bytes | memoryview) -> None:
        """Write the ``init``."""
        self._write(init)

    def append(self, header: dict[str, Any], payload: bytes | memoryview) -> None:
        """Write the next segment; one that is in it already is passed over."""
        with self._lock:
            if self._closed or header["seq"] < self.next_seq:
                return
            if header["pts"] < self._end_us:
                self._cut(header["pts"])
            self._add(header["seq"], header["pts"], header["dur"], payload)
            self.next_seq = header["seq"] + 1

    def tail(self) -> tuple[int, bytes] | None:
        """Where what may still be cut begins, and that; None while no segment is in it, and once it is closed."""
        with self._lock:
            if self._closed or not self.next_seq:
                return None
            young = time.monotonic() - SETTLED_S
            offset = next((one.offset for one in self._recent if one.at > young), self.size)
            return offset, os.pread(self._descriptor, self.size - offset, offset)

    def _reopened(self) -> None:
        """A cut that came when nobody wrote takes off what of it is young by its place."""
        now, settled = time.monotonic(), self._end_us - int(SETTLED_S * 1_000_000)
        for number, one in enumerate(self._recent):
            if one.pts + one.dur > settled:
                self._recent[number] = one._replace(at=now)

    def close(self) -> None:
        """Nothing more will be written."""
        with self._lock:
            self._closed = True
            os.close(self._descriptor)

    def _add(self, seq: int, pts: int, dur: int, payload: bytes | memoryview) -> None:
        self._recent.append(_Written(self.size, seq, pts, dur, time.monotonic()))
        self._write(payload)
        self._end_us = pts + dur

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        at = self.size
        while view:
            written = os.pwrite(self._descriptor, view, at)
            view, at = view[written:], at + written
        self.size = at

    def _cut(self, flush_from: int) -> None:
        """Take off what is void: whole segments, and of the one that straddles the cut its end."""
        while self._recent and self._recent[-1].pts + self._recent[-1].dur > flush_from:
            last = self._recent.pop()
            payload = os.pread(self._descriptor, self.size - last.offset, last.offset)
            os.ftruncate(self._descriptor, last.offset)
            self.size, self._end_us = last.offset, last.pts
            if last.pts < flush_from:
                dur = flush_from - last.pts
                self._add(last.seq, last.pts, dur, rebased(shortened(payload, dur), last.seq, last.pts))

    def _find_end(self) -> None:
        """Read what is there; a segment that was not written to its end is taken off."""
        size, at, moof = os.fstat(self._descriptor).st_size, 0, 0
        while at + 8 <= size:
            box = int.from_bytes(os.pread(self._descriptor, 4, at))
            kind = os.pread(self._descriptor, 4, at + 4)
            if box < 8 or at + box > size:
                break
            if kind == b"moof":
                moof = at
            elif kind in (b"moov", b"mdat"):
                if kind == b"mdat":
                    seq, pts, dur = place(os.pread(self._descriptor, at - moof, moof))
                    self._recent.append(_Written(moof, seq, pts, dur, 0.0))
                    self.next_seq, self._end_us = seq + 1, pts + dur
                self.size = at + box
            at += box
        os.ftruncate(self._descriptor, self.size)
        self._reopened()
