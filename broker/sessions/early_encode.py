"""A turn's first segment is encoded while lip-sync still draws it: what the viewer waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.errors import ErrorCode
from broker.ipc.messages import Item, Output
from broker.sessions.segment import Segment, SegmentState
from broker.sessions.segment_jobs import Progress, encode_item
from broker.sessions.settings import SessionSettings
from broker.sessions.task import Task


class EarlyEncode:
    """Gives encode the first segment's sound at once and its crops as they come, one item after the other.

    Nothing depends on these items: the one that makes the segment has all crops again.
    """

    def __init__(self, task: Task, settings: SessionSettings, progress: Progress) -> None:
        self._task = task
        self._settings = settings
        self._progress = progress
        self._given = -1
        """Buffers of crops that encode has; -1: not even the sound."""
        self._frames = 0
        self._items = 0
        self._waiting = False
        """For the end of an item: then more may have come."""

    def go_on(self, segment: Segment) -> None:
        """Let encode begin or go on, when there is anything that it has not got."""
        wanted = not segment.index and segment.via == "lipsync" and self._settings.paced
        if not wanted or self._waiting or segment.state is not SegmentState.ANIMATING:
            return
        if len(segment.crops) <= self._given or segment.crop_frames == segment.frames:
            return
        first, given = max(self._given, 0), len(segment.crops)
        job = AheadJob(self, self._task, self._settings, segment, self._frames, segment.crops[first:given])
        self._given, self._frames, self._waiting = given, segment.crop_frames, True
        index = f"{segment.index}.{self._items}"
        self._items += 1
        segment.ahead = self._task.submit("encode", index, job, at=segment.first, near=segment.ahead)

    def ended(self, segment: Segment) -> None:
        """Encode has done what it was given."""
        self._waiting = False
        self.go_on(segment)

    def pcm(self, segment: Segment) -> bytes:
        """The segment's sound with its rolls."""
        return self._progress.pcm(segment)


class AheadJob:
    """A part of the segment's crops, to be encoded before the rest is there."""

    media_ms = 0

    def __init__(
        self,
        owner: EarlyEncode,
        task: Task,
        settings: SessionSettings,
        segment: Segment,
        start: int,
        crops: Sequence[Any],
    ) -> None:
        self._owner = owner
        self._task = task
        self._settings = settings
        self._segment = segment
        self._start = start
        self._crops = crops
        self._sent = False

    def build(self) -> tuple[Item, Sequence[Any]]:
        """The crops since the last item of this kind, and the sound; a second time nothing, for then the process
        that had the rest is gone, by these crops perhaps.
        """
        seg = self._segment
        if self._sent:
            self._start, self._crops = seg.frames, ()
        self._sent = True
        item = encode_item(
            self._task, self._settings, seg, drawn=bool(self._crops), live=True, ahead=True, start=self._start
        )
        return item, [self._owner.pcm(seg), *self._crops]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """There is none."""

    def done(self) -> None:
        """Room for more."""
        if self._start < self._segment.frames:
            self._owner.ended(self._segment)

    def failed(self, code: ErrorCode, message: str) -> None:
        """It was only to be early: the item that makes the segment says what is wrong."""
