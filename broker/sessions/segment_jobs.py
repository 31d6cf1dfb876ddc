"""The two items that make a segment: lip-sync, then encode. One ``Segment`` carries its state through both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from broker.errors import ErrorCode
from broker.ipc.messages import EncodedSegment, EncodeItem, Item, LipsyncCrops, LipsyncItem, Output, Word
from broker.media.passages import bounds, touched
from broker.media.segment_plan import QUANTUM_FRAMES, QUANTUM_SAMPLES
from broker.media.speech_track import to_samples, to_us
from broker.media.timeline import QUANTUM_US
from models.api import FUTURE_US, PAST_US

if TYPE_CHECKING:
    from broker.sessions.turn import Turn

PAST = to_samples(PAST_US)
FUTURE = to_samples(FUTURE_US)
PRE_ROLL = 4 * 1024
POST_ROLL = 2 * 1024
"""AAC frames around a segment that make its joints silent (design 2)."""


class Stage(Enum):
    """How far a segment is."""

    LIPSYNC = "lipsync"
    CROPS = "crops"
    ENCODE = "encode"
    READY = "ready"


@dataclass(slots=True, eq=False)
class Segment:
    """A stretch of whole quanta of one turn, at a fixed place of the media timeline."""

    index: int
    first: int
    """48 kHz sample of the turn."""
    quanta: int
    pts: int
    last: bool = False
    stage: Stage = Stage.LIPSYNC
    crops: list[Any] = field(default_factory=list)
    crop_frames: int = 0
    via: str = "lipsync"
    """Which stage makes the crops: "lipsync", or "fallback" (the next engine of the chain)."""
    skip: int = 1
    """Of so many frames one is drawn, the rest interpolated."""
    item: str = ""
    """Id of the item that makes the crops."""
    asked_at: int = 0
    """When its crops were asked for (monotonic microseconds)."""
    opens: bool = False
    """It begins the turn, or a sentence: a pause before it is a pause between sentences."""
    engine: str = ""
    """Who rendered the crops."""
    degraded: str | None = None
    reason: str = ""
    payload: Any = None
    marks: tuple[int, int, int] = (0, 0, 0)
    """Offsets of mfhd, video tfdt and audio tfdt in the payload."""

    @property
    def frames(self) -> int:
        """Video frames."""
        return self.quanta * QUANTUM_FRAMES

    @property
    def samples(self) -> int:
        """48 kHz samples."""
        return self.quanta * QUANTUM_SAMPLES

    @property
    def dur(self) -> int:
        """Microseconds."""
        return self.quanta * QUANTUM_US

    @property
    def frame0(self) -> int:
        """Number of the first frame on the media timeline."""
        return self.pts // QUANTUM_US * QUANTUM_FRAMES


def frames_owed(segment: Segment) -> tuple[int, int]:
    """How many of a segment's frames lip-sync and encode still have to make."""
    lipsync = segment.frames - segment.crop_frames if segment.stage is Stage.LIPSYNC else 0
    return lipsync, 0 if segment.stage is Stage.READY else segment.frames


def _shifted(spans: list[Word], by: int) -> list[Word]:
    return [Word(s.text, s.t0_us - by, s.t1_us - by) for s in spans]


class LipsyncJob:
    """Crops for one segment; a retry goes on with the next frame."""

    def __init__(self, turn: Turn, segment: Segment) -> None:
        self._turn = turn
        self._segment = segment
        self.media_ms = segment.dur // 1000

    def build(self) -> tuple[Item, Sequence[Any]]:
        """The segment's speech window."""
        turn, seg, track = self._turn, self._segment, self._turn.track
        start_us = to_us(seg.first)
        words, phonemes = track.spans(start_us - PAST_US, start_us + seg.dur + FUTURE_US)
        end_known = track.ended and track.end <= seg.first + seg.samples + FUTURE
        passages = touched(seg.first, seg.samples, track.end) if turn.session.exact else range(0)
        item = LipsyncItem(
            sid=turn.session.id,
            turn=turn.number,
            template=turn.session.template,
            frame0=seg.frame0,
            frames=seg.frames,
            start=seg.crop_frames,
            phonemes=_shifted(phonemes, start_us),
            words=_shifted(words, start_us),
            peak=track.peak_before(seg.first),
            speech_from_us=-start_us,
            speech_to_us=to_us(track.end) - start_us if end_known else None,
            skip=seg.skip,
            quality=turn.session.quality,
            passage=passages.start,
            deadline_ns=turn.deadline(seg.pts) * 1000 if turn.session.timeline.paced else 0,
        )
        near = track.window(seg.first - PAST, seg.first + seg.samples + FUTURE)
        return item, [near, *(track.window(*bounds(p, track.end)) for p in passages)]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """Crops for the next frames."""
        assert isinstance(message, LipsyncCrops)
        if message.start != self._segment.crop_frames:
            raise ValueError(f"crops start at frame {message.start}, expected {self._segment.crop_frames}")
        self._turn.mark("lipsync_first")
        self._segment.crops.append(buffers[0])
        self._segment.engine = message.engine
        self._segment.crop_frames += message.frames
        self._turn.made(self._segment.via, message.frames)

    def done(self) -> None:
        """All crops are there."""
        if self._segment.crop_frames != self._segment.frames:
            self.failed(ErrorCode.FAILED, f"{self._segment.crop_frames} of {self._segment.frames} crops arrived")
            return
        self._segment.stage = Stage.CROPS
        self._turn.animated(self._segment)

    def failed(self, code: ErrorCode, message: str) -> None:
        """Accepted audio is always published: the template's own pixels stand in, but for quality "max"."""
        self._turn.without_lipsync(self._segment, code, message)


class EncodeJob:
    """One media segment."""

    def __init__(self, turn: Turn, segment: Segment) -> None:
        self._turn = turn
        self._segment = segment
        self.media_ms = segment.dur // 1000

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Crops and the segment's audio with the encoder's run-in and run-out."""
        turn, seg = self._turn, self._segment
        item = EncodeItem(
            sid=turn.session.id,
            turn=turn.number,
            template=turn.session.template,
            frame0=seg.frame0,
            frames=seg.frames,
            quality=turn.session.quality,
            engine=seg.engine if seg.crops else "",
        )
        return item, [turn.encoder_pcm(seg), *seg.crops]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """The boxed segment, without its place."""
        assert isinstance(message, EncodedSegment)
        self._turn.mark("encode_first")
        self._segment.payload = buffers[0]
        self._segment.marks = (message.mfhd_at, message.video_tfdt_at, message.audio_tfdt_at)

    def done(self) -> None:
        """Ready to be published; the crops are not needed any more."""
        if self._segment.payload is None:
            self.failed(ErrorCode.FAILED, "encode finished without a segment")
            return
        self._segment.stage = Stage.READY
        self._segment.crops = []
        self._turn.made("encode", self._segment.frames)

    def failed(self, code: ErrorCode, message: str) -> None:
        """Without media there is no turn."""
        self._turn.fail(code, f"encoding failed: {message}")
