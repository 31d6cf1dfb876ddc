"""The two items that make a segment: lip-sync, then encode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from broker.errors import ErrorCode
from broker.ipc.messages import EncodedSegment, EncodeItem, Item, LipsyncCrops, LipsyncItem, Output, Word
from broker.media.passages import bounds, touched
from broker.media.speech_track import SpeechTrack, to_samples, to_us
from broker.sessions.segment import Segment
from broker.sessions.settings import SessionSettings
from broker.sessions.task import Task
from configs.grid import FUTURE_US, PAST_US
from models.api import Span

PAST = to_samples(PAST_US)
FUTURE = to_samples(FUTURE_US)
"""How far lip-sync hears beyond a segment, to either side."""


class Progress(Protocol):
    """Who is told how far a segment is: its renderer."""

    def crops(self, segment: Segment, message: LipsyncCrops, pixels: memoryview) -> None:
        """Crops of the next frames."""
        ...

    def animated(self, segment: Segment) -> None:
        """All crops are there."""
        ...

    def not_animated(self, segment: Segment, code: ErrorCode, message: str) -> None:
        """Its crops cannot be had."""
        ...

    def pcm(self, segment: Segment) -> bytes:
        """What the audio encoder needs."""
        ...

    def encoded(self, segment: Segment, message: EncodedSegment, payload: memoryview) -> None:
        """The media segment, without its place."""
        ...

    def ready(self, segment: Segment) -> None:
        """It can be published."""
        ...


def _shifted(spans: list[Span], by: int) -> list[Word]:
    return [Word(s.text, s.t0_us - by, s.t1_us - by) for s in spans]


class LipsyncJob:
    """Crops for one segment; a retry goes on with the next frame."""

    def __init__(
        self, task: Task, settings: SessionSettings, track: SpeechTrack, segment: Segment, progress: Progress
    ) -> None:
        self._task = task
        self._settings = settings
        self._track = track
        self._segment = segment
        self._progress = progress
        self.media_ms = segment.dur // 1000

    def build(self) -> tuple[Item, Sequence[Any]]:
        """The segment's speech window."""
        settings, seg, track = self._settings, self._segment, self._track
        start_us = to_us(seg.first)
        words, phonemes = track.spans(start_us - PAST_US, start_us + seg.dur + FUTURE_US)
        end_known = track.ended and track.end <= seg.first + seg.samples + FUTURE
        passages = touched(seg.first, seg.samples, track.end) if settings.exact else range(0)
        item = LipsyncItem(
            sid=self._task.sid,
            turn=self._task.number,
            template=settings.template,
            frame0=seg.frame0,
            frames=seg.frames,
            start=seg.crop_frames,
            phonemes=_shifted(phonemes, start_us),
            words=_shifted(words, start_us),
            peak=track.peak_before(seg.first),
            speech_from_us=-start_us,
            speech_to_us=to_us(track.end) - start_us if end_known else None,
            skip=seg.skip,
            quality=settings.quality,
            passage=passages.start,
            deadline_ns=self._task.urgency(seg.pts) * 1000 if settings.paced else 0,
        )
        near = track.window(seg.first - PAST, seg.first + seg.samples + FUTURE)
        return item, [near, *(track.window(*bounds(p, track.end)) for p in passages)]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """Crops for the next frames."""
        assert isinstance(message, LipsyncCrops)
        if message.start != self._segment.crop_frames:
            raise ValueError(f"crops start at frame {message.start}, expected {self._segment.crop_frames}")
        self._task.mark("lipsync_first")
        self._progress.crops(self._segment, message, buffers[0])
        if self._segment.crop_frames == self._segment.frames:
            self._progress.animated(self._segment)

    def done(self) -> None:
        """All crops are there, and were used already."""
        if self._segment.crop_frames != self._segment.frames:
            self.failed(ErrorCode.FAILED, f"{self._segment.crop_frames} of {self._segment.frames} crops arrived")

    def failed(self, code: ErrorCode, message: str) -> None:
        """Accepted audio is always published: the template's own pixels stand in, but for quality "max"."""
        self._progress.not_animated(self._segment, code, message)


def encode_item(
    task: Task, settings: SessionSettings, segment: Segment, *, drawn: bool, live: bool,
    ahead: bool = False, start: int = 0,
) -> EncodeItem:  # fmt: skip
    """What encode is asked for; ``drawn``: there are crops with it, else the template's own pixels are shown."""
    return EncodeItem(
        sid=task.sid,
        turn=task.number,
        template=settings.template,
        frame0=segment.frame0,
        frames=segment.frames,
        quality=settings.quality,
        engine=segment.engine if drawn else "",
        live=live,
        ahead=ahead,
        start=start,
    )


class EncodeJob:
    """One media segment."""

    def __init__(self, task: Task, settings: SessionSettings, segment: Segment, progress: Progress) -> None:
        self._task = task
        self._settings = settings
        self._segment = segment
        self._progress = progress
        self.media_ms = segment.dur // 1000

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Crops and the segment's audio with the encoder's run-in and run-out."""
        seg = self._segment
        item = encode_item(self._task, self._settings, seg, drawn=bool(seg.crops), live=self._settings.paced)
        return item, [self._progress.pcm(seg), *seg.crops]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """The boxed segment, without its place."""
        assert isinstance(message, EncodedSegment)
        self._task.mark("encode_first")
        self._progress.encoded(self._segment, message, buffers[0])

    def done(self) -> None:
        """Ready to be published; the crops are not needed any more."""
        if self._segment.payload is None:
            self.failed(ErrorCode.FAILED, "encode finished without a segment")
            return
        self._progress.ready(self._segment)

    def failed(self, code: ErrorCode, message: str) -> None:
        """Without media there is no turn."""
        self._task.fail(code, f"encoding failed: {message}")
