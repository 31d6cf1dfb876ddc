"""Idle segments: encoded once per template and quality, kept with the template, stamped at publish.

A template's loop has L frames, so exactly L/8 idle segments exist. Those in use stay in memory (bounded, least
recently used first out); the files below ``idle/`` survive restarts.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from broker.messages import EncodedSegment, EncodeItem, Item, Output, TemplateRef
from broker.render import POST_ROLL, PRE_ROLL
from broker.segments import QUANTUM_FRAMES, QUANTUM_SAMPLES
from broker.speech import SAMPLE_BYTES

if TYPE_CHECKING:
    from broker.hub import Hub
    from broker.sessions import Session

log = structlog.get_logger()

MEMORY_BYTES = 64 << 20
HEADER = struct.Struct("<III")
SILENCE = bytes((PRE_ROLL + QUANTUM_SAMPLES + POST_ROLL) * SAMPLE_BYTES)


class IdleSegment(NamedTuple):
    """One quantum of the template's own pixels and silence, without its place."""

    marks: tuple[int, int, int]
    """Offsets of mfhd, video tfdt and audio tfdt."""
    payload: bytes


class Shelf:
    """Idle segments of all templates in use."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        video = msgspec.json.encode(hub.config.video)
        self._settings = hashlib.blake2b(video, digest_size=6).hexdigest()
        self._kept: OrderedDict[tuple[str, str, int], IdleSegment] = OrderedDict()
        self._bytes = 0
        self._jobs: dict[tuple[str, str, int], IdleJob] = {}
        self._count = 0

    def take(self, session: Session, frames: int, index: int) -> IdleSegment | None:
        """Idle segment ``index`` of the session's template (a loop of ``frames``), or None when it has yet to
        be encoded: the session is touched as soon as it is there. The next one is asked for as well.
        """
        count = frames // QUANTUM_FRAMES
        found = self._find(session, index % count)
        self._find(session, (index + 1) % count)
        return found

    def _find(self, session: Session, index: int) -> IdleSegment | None:
        key = (session.template.hash, session.quality, index)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        job = self._jobs.get(key)
        if job is None:
            found = self._read(self.path(session.template, session.quality, index))
            if found is not None:
                self._keep(key, found)
                return found
            job = self._jobs[key] = IdleJob(self, self._hub, session.template, session.quality, index)
            self._count += 1
            self._hub.ledger.submit(f"_/idle/encode/{self._count}", "encode", job, priority=self._hub.now())
        job.waiting[session.id] = session
        return None

    def path(self, template: TemplateRef, quality: str, index: int) -> Path:
        """Where the segment is kept."""
        return Path(template.path) / "idle" / f"{quality}-{self._settings}" / f"{index}.m4s"

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
        key = (job.template.hash, job.quality, job.index)
        del self._jobs[key]
        if segment is not None:
            self._keep(key, segment)
            self._write(self.path(job.template, job.quality, job.index), segment)
        for session in job.waiting.values():
            self._hub.touch(session)

    def _keep(self, key: tuple[str, str, int], segment: IdleSegment) -> None:
        self._kept[key] = segment
        self._bytes += len(segment.payload)
        while self._bytes > MEMORY_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old.payload)

    @staticmethod
    def _write(path: Path, segment: IdleSegment) -> None:
        new = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(HEADER.pack(*segment.marks) + segment.payload)
            new.rename(path)
        except OSError as error:  # a full disk costs the cache, not the session
            log.warning("idle.unkept", path=str(path), reason=str(error))
            new.unlink(missing_ok=True)


class IdleJob:
    """One idle segment in encode."""

    media_ms = 320

    def __init__(self, shelf: Shelf, hub: Hub, template: TemplateRef, quality: str, index: int) -> None:
        self._shelf = shelf
        self._hub = hub
        self.template = template
        self.quality = quality
        self.index = index
        self.waiting: dict[str, Session] = {}
        self._made: IdleSegment | None = None

    def build(self, item_id: str, attempt: int) -> tuple[Item, Sequence[Any]]:
        """The template's own pixels and silence."""
        item = EncodeItem(
            id=item_id,
            attempt=attempt,
            broker=self._hub.epoch,
            sid="",
            turn=0,
            template=self.template,
            frame0=self.index * QUANTUM_FRAMES,
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
        self._shelf.made(self, self._made)

    def failed(self, code: str, message: str) -> None:
        """The session goes on without; the next look asks again."""
        log.warning("idle.failed", template=self.template.id, index=self.index, code=code, reason=message)
        self._shelf.made(self, None)
