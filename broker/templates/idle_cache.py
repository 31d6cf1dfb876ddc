"""Idle segments: encoded once per template and quality, kept with the template, stamped at publish.

A template's loop has L frames, so exactly L/8 idle segments exist. Those in use stay in memory (bounded, least
recently used first out); the files below ``idle/`` survive restarts. They are made with the template, while encode
has nothing else to do, so that its first session finds them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from broker.context import Context
from broker.errors import ErrorCode
from broker.ipc.messages import EncodedSegment, EncodeItem, Item, Output, TemplateRef
from broker.media.segment_plan import POST_ROLL, PRE_ROLL
from configs.grid import QUANTUM_FRAMES, QUANTUM_SAMPLES, QUANTUM_US, SAMPLE_BYTES

log = structlog.get_logger()

Key = tuple[str, int]
"""Folder of the segments, and which one."""
MEMORY_BYTES = 64 << 20
LOOP_QUALITY = "high"
"""Of the sessions that a template's loop is prepared for."""
REST_US = 1_000_000
HEADER = struct.Struct("<III")
SILENCE = bytes((PRE_ROLL + QUANTUM_SAMPLES + POST_ROLL) * SAMPLE_BYTES)


class IdleSegment(NamedTuple):
    """One quantum of the template's own pixels and silence, without its place."""

    marks: tuple[int, int, int]
    """Offsets of mfhd, video tfdt and audio tfdt."""
    payload: bytes


class IdleLoop:
    """The idle video of a session.

    Args:
        init: the session's init segment: idle segments belong to it.
        frames: length of the template's loop.
    """

    __slots__ = ("count", "init", "quality", "template")

    def __init__(self, template: TemplateRef, quality: str, init: bytes, frames: int) -> None:
        self.template = template
        self.quality = quality
        self.init = init
        self.count = frames // QUANTUM_FRAMES


class IdleCache:
    """Idle segments of all templates in use."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._video = msgspec.json.encode(context.config.video)
        self._kept: OrderedDict[Key, IdleSegment] = OrderedDict()
        self._bytes = 0
        self._jobs: dict[Key, IdleJob] = {}
        self._resting: set[str] = set()
        """Sessions whose last idle segment could not be made; they ask again after ``REST_US``."""
        self._loops: OrderedDict[Path, tuple[TemplateRef, int]] = OrderedDict()
        """Folders to be filled, with the number of segments."""
        self._filling: IdleJob | None = None
        self._open = False
        self._count = 0

    def open(self) -> None:
        """The daemon is ready: loops may be prepared from now on."""
        self._open = True
        self._fill()

    def prepare(self, template: TemplateRef, frames: int, init: bytes) -> None:
        """Make what is missing of a template's loop in quality "high", one segment at a time, after all else."""
        folder = self._folder(template, LOOP_QUALITY, init)
        self._loops[folder] = template, frames // QUANTUM_FRAMES
        self._fill()

    def _fill(self) -> None:
        while self._open and self._filling is None and self._loops:
            folder, (template, count) = next(iter(self._loops.items()))
            keys = ((str(folder), index) for index in range(count))
            key = next((k for k in keys if k not in self._jobs and not self._path(k).exists()), None)
            if key is None:
                del self._loops[folder]
            else:
                self._filling = self._submit(key, template, LOOP_QUALITY, self._context.now(), background=True)

    def _submit(self, key: Key, template: TemplateRef, quality: str, due: int, *, background: bool) -> IdleJob:
        job = self._jobs[key] = IdleJob(self, template, quality, key)
        self._count += 1
        self._context.ledger.submit(
            f"_/idle/encode/{self._count}", "encode", job, priority=due, background=background
        )
        return job

    @staticmethod
    def _path(key: Key) -> Path:
        return Path(key[0]) / f"{key[1]}.m4s"

    def take(self, loop: IdleLoop, sid: str, index: int, due: int) -> IdleSegment | None:
        """Idle segment ``index`` of a session's endless loop, or None when it has yet to be encoded: the session
        is touched as soon as it is there. The next one is asked for as well.

        Args:
            sid: of the session.
            due: monotonic microseconds when the segment is needed.
        """
        found = self._find(loop, sid, index % loop.count, due)
        self._find(loop, sid, (index + 1) % loop.count, due + QUANTUM_US)
        return found

    def _find(self, loop: IdleLoop, sid: str, index: int, due: int) -> IdleSegment | None:
        if sid in self._resting:
            return None
        key = (str(self._folder(loop.template, loop.quality, loop.init)), index)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        job = self._jobs.get(key)
        if job is None:
            found = self._read(self._path(key))
            if found is not None:
                self._keep(key, found)
                return found
            job = self._submit(key, loop.template, loop.quality, due, background=False)
        job.waiting.add(sid)
        return None

    def _folder(self, template: TemplateRef, quality: str, init: bytes) -> Path:
        name = hashlib.blake2b(self._video + init + template.hash.encode(), digest_size=8).hexdigest()
        return Path(template.path) / "idle" / f"{quality}-{name}"

    @staticmethod
    def _read(path: Path) -> IdleSegment | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if len(data) <= HEADER.size:
            return None
        mfhd, video, audio = HEADER.unpack_from(data)
        if not 0 < mfhd < video < audio <= len(data) - HEADER.size - 8:
            return None
        return IdleSegment((mfhd, video, audio), data[HEADER.size :])

    def made(self, job: IdleJob, segment: IdleSegment | None) -> None:
        """An encode has ended; ``segment`` is None when it failed."""
        del self._jobs[job.key]
        kept = segment is not None and self._write(self._path(job.key), segment)
        if segment is not None and job.waiting:
            self._keep(job.key, segment)
        for sid in job.waiting:
            if segment is not None:
                self._context.touch(sid)
            else:
                self._resting.add(sid)
                self._context.timers.at(self._context.now() + REST_US, self._wake(sid))
        if self._filling is job:
            self._filling = None
            if not kept:  # asked for again with the template's next session
                self._loops.pop(Path(job.key[0]), None)
            self._fill()

    def _wake(self, sid: str) -> Callable[[], None]:
        def wake() -> None:
            self._resting.discard(sid)
            self._context.touch(sid)

        return wake

    def _keep(self, key: Key, segment: IdleSegment) -> None:
        self._kept[key] = segment
        self._bytes += len(segment.payload)
        while self._bytes > MEMORY_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old.payload)

    @staticmethod
    def _write(path: Path, segment: IdleSegment) -> bool:
        new = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.parent.mkdir(exist_ok=True)  # the template's own folder may be gone: then nothing is kept
            path.parent.mkdir(exist_ok=True)
            new.write_bytes(HEADER.pack(*segment.marks) + segment.payload)
            new.rename(path)
        except OSError as error:  # a full disk costs the cache, not the session
            log.warning("idle.unkept", path=str(path), reason=str(error))
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            return False
        return True


class IdleJob:
    """One idle segment in encode."""

    media_ms = 320

    def __init__(self, cache: IdleCache, template: TemplateRef, quality: str, key: Key) -> None:
        self._cache = cache
        self.template = template
        self.quality = quality
        self.key = key
        self.waiting: set[str] = set()
        """Ids of the sessions that are to show it."""
        self._made: IdleSegment | None = None

    def build(self) -> tuple[Item, Sequence[Any]]:
        """The template's own pixels and silence."""
        item = EncodeItem(
            template=self.template,
            frame0=self.key[1] * QUANTUM_FRAMES,
            frames=QUANTUM_FRAMES,
            quality=self.quality,
        )
        return item, [SILENCE]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """The segment."""
        assert isinstance(message, EncodedSegment)
        marks = (message.mfhd_at, message.video_tfdt_at, message.audio_tfdt_at)
        self._made = IdleSegment(marks, bytes(buffers[0]))

    def done(self) -> None:
        """Finished."""
        self._cache.made(self, self._made)

    def failed(self, code: ErrorCode, message: str) -> None:
        """The sessions go on without, and ask again a little later."""
        log.warning("idle.failed", template=self.template.id, index=self.key[1], code=code, reason=message)
        self._cache.made(self, None)
