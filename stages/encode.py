"""The encode stage: crops and PCM in, one fMP4 media segment out. Stateless; any instance may do any item.

A segment is a pure function of its item and the settings, but for one thing: of live sessions' segments the preset
``auto`` takes the lighter way while this process has too little time.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np

from broker.ipc.messages import EncodedSegment, EncodeItem, InitItem, InitSegment
from configs.grid import MAX_ITEM_FRAMES, QUANTUM_FRAMES
from configs.schema import Config
from models.api import CROP, FPS, FRAME_SAMPLES, EngineError, Pcm, Progress
from models.media import aac, fmp4, h264
from models.media.ceiling import Allowance, Fitted, fit
from models.media.headroom import Headroom
from models.media.paste import U8
from models.templates.store import Template, open_template
from stages.pictures import Beginnings, Begun, Pictures, TooLargeError, compose, parameter_sets
from stages.stage import Result, Stage, Work

WARM_SIZES = ((512, 512), (720, 1280))
_CROP_BYTES = CROP * CROP * 3
CAPPED = ("high", "fast")
"""Qualities that ``video.max_kbps`` is for; the others are asked for by who wants them whatever they take."""
_FOR_THE_MOUTH = 0.85
"""The share of the ceiling for a template's own pixels: speech shall seldom have to be coarser than idle video."""


class EncodeStage(Stage):
    """Pastes, encodes and boxes; see ``EncodeItem`` and ``InitItem`` for the contracts of the two items."""

    name: ClassVar[str] = "encode"

    def __init__(self, config: Config, instance: str) -> None:
        super().__init__(config, instance)
        self._audio = aac.AudioSettings(b"", 0)
        self._headroom = Headroom(time.monotonic())
        self._beginnings = Beginnings()

    @property
    def figures(self) -> dict[str, float]:
        """What the stage counts, and whether it takes the lighter way."""
        return {**self.meter.figures(), "light": float(self._headroom.short)}

    def setup(self, progress: Progress) -> None:
        """Choose the encoder by opening it, then encode one quantum of each built-in size."""
        cv2.setNumThreads(self.settings.threads)
        self.engine = h264.choose_encoder()
        self._audio = aac.audio_settings(self.config.video.audio_kbps * 1000)
        for index, (width, height) in enumerate(WARM_SIZES):
            progress("warming", index, len(WARM_SIZES))
            video = h264.SegmentVideo(self._settings(width, height, "high"))
            for plane in video.planes:
                plane[:] = 128
            pictures = [video.encode() for _ in range(QUANTUM_FRAMES)]
            silence = np.zeros(_pcm_samples(QUANTUM_FRAMES), np.int16)
            fmp4.media_segment(pictures, aac.encode_span(silence, self._audio.bits_per_second))
            self._init(width, height, "high")
        progress("warming", len(WARM_SIZES), len(WARM_SIZES))

    def handle(self, work: Work) -> Iterator[Result]:
        """One output per item; none when it is cancelled half-way.

        Raises:
            EngineError: INVALID_ARGUMENT for an item that does not fit its own description.
        """
        item = work.item
        if isinstance(item, EncodeItem):
            yield from self._segment(item, work)
        elif isinstance(item, InitItem):
            payload, mime = self._init(item.width, item.height, item.quality)
            yield InitSegment(src="", ep=0, id="", attempt=0, index=0, mime=mime), [payload]
        else:
            raise EngineError("INVALID_ARGUMENT", f"encode does not know {type(item).__name__}")

    def _settings(self, width: int, height: int, quality: str) -> h264.Settings:
        return h264.settings_for(self.engine, width, height, quality, self.config.video)

    def _init(self, width: int, height: int, quality: str) -> tuple[bytes, str]:
        sets = parameter_sets(self._settings(width, height, quality))
        payload = fmp4.init_segment(width, height, sets, self._audio.config, self._audio.bits_per_second)
        return payload, fmp4.mime(sets)

    def _segment(self, item: EncodeItem, work: Work) -> Iterator[Result]:
        began = time.monotonic()
        pcm, crops = read_buffers(item, work.buffers)
        template = open_template(item.template.path, item.template.hash)
        if item.ahead:
            self._begin(item, template, pcm, crops, work)
            return
        begun = self._beginnings.take(item)
        if begun is not None and not begun.is_of(pcm, crops, item.engine):
            begun = None
        self.meter.count("begun", begun is not None)
        sound = self._sound(item, pcm) if begun is None else begun.sound
        made = self._fitted(item, template, crops, sound, begun, work)
        if made is None:
            return
        self.meter.count("frames", item.frames)
        segment = fmp4.media_segment(made.pictures, sound)
        self._headroom.worked((now := time.monotonic()) - began, now)
        output = EncodedSegment(
            src="", ep=0, id="", attempt=0, index=0, frames=item.frames, mfhd_at=segment.mfhd_at,
            video_tfdt_at=segment.video_tfdt_at, audio_tfdt_at=segment.audio_tfdt_at,
        )  # fmt: skip
        yield output, [segment.payload]

    def _begin(self, item: EncodeItem, template: Template, pcm: Pcm, crops: Sequence[U8], work: Work) -> None:
        """Encode what is there of a segment, and keep it for the item that goes on."""
        began = time.monotonic()
        begun = self._beginnings.take(item)
        if begun is None:
            if item.start:
                return  # another process has what came before
            sound = self._sound(item, pcm)
            begun = Begun(pcm, sound, self._pictures(item, template, self._first(item, template), sound))
        if begun.frames != item.start:
            return
        try:
            if begun.add(crops, item.engine, work):
                self._beginnings.keep(item, begun)
        except TooLargeError:
            pass  # it will be encoded anew, coarser
        self._headroom.worked((now := time.monotonic()) - began, now)

    def _sound(self, item: EncodeItem, pcm: Pcm) -> list[bytes]:
        with self.meter.timed("aac", item.frames):
            return aac.encode_span(pcm, self._audio.bits_per_second)

    def _limit(self, item: EncodeItem, settings: h264.Settings) -> int:
        """The ceiling that holds for the item, kbit/s; 0: none."""
        return self.config.video.max_kbps if item.quality in CAPPED and settings.crf else 0

    def _first(self, item: EncodeItem, template: Template) -> h264.Settings:
        """The settings that the item's segment is tried with first."""
        settings = chosen = self._settings(template.width, template.height, item.quality)
        kbps = self._limit(item, settings)
        if not kbps:
            return settings
        if item.live and self._headroom.short:
            chosen = settings.lighter
        return chosen.with_crf(starting_crf(template, settings, kbps, self._audio.bits_per_second))

    def _pictures(
        self, item: EncodeItem, template: Template, settings: h264.Settings, sound: Sequence[bytes] | None
    ) -> Pictures:
        """An encoder for the item; with the sound it keeps to the ceiling."""
        kbps = self._limit(item, settings)
        allowance = Allowance(kbps, beside(item.frames, sound)) if kbps and sound is not None else None
        sets = parameter_sets(self._settings(template.width, template.height, item.quality))
        return Pictures(template, settings, sets, item.frame0, allowance, self.meter)

    def _fitted(
        self, item: EncodeItem, template: Template, crops: Sequence[U8], sound: Sequence[bytes],
        begun: Begun | None, work: Work,
    ) -> Fitted | None:  # fmt: skip
        """The pictures, in the best quality that the ceiling allows; None when the item was cancelled."""
        first = self._first(item, template) if begun is None else begun.pictures.settings
        faces: Sequence[U8 | None] = crops or [None] * item.frames
        started = None if begun is None else begun.pictures

        def make(settings: h264.Settings, *, limited: bool) -> list[bytes] | None:
            nonlocal started
            pictures = started or self._pictures(item, template, settings, sound if limited else None)
            started = None
            return pictures.made if pictures.add(faces[len(pictures.made) :], item.engine, work) else None

        def attempt(crf: int, anyway: bool) -> list[bytes] | float | None:
            try:
                return make(first.with_crf(crf), limited=not anyway)
            except TooLargeError as error:
                return error.ratio

        if not self._limit(item, first):
            whole = make(first, limited=False)
            return None if whole is None else Fitted(whole, first.crf or 0, 1, True)
        assert first.crf is not None, "lossless has no ceiling"
        made = fit(first.crf, h264.COARSEST_CRF, attempt)
        if made is not None:
            self.meter.count("frames.light", item.frames * (first.preset == h264.LIGHT))
            self.meter.average("crf", made.quantiser, 1)
            self.meter.count("recoded", made.tries - 1)
            self.meter.count("over_ceiling", not made.fits)
        return made


def beside(frames: int, sound: Sequence[bytes]) -> list[int]:
    """Bytes of each frame's time that are not its picture: the boxes with the first, sound where it is heard."""
    shares = [0] * frames
    shares[0] = len(fmp4.media_segment([b""] * frames, [b""] * len(sound)).payload)
    for n, unit in enumerate(sound):
        shares[n * frames // len(sound)] += len(unit)
    return shares


@lru_cache(maxsize=64)
def starting_crf(template: Template, settings: h264.Settings, kbps: int, audio_bps: int) -> int:
    """The quality that all segments of a template begin their search with, so that they hardly differ: the one in
    which a segment of its own first pixels fits well. A function of the template and the settings alone.
    """
    assert settings.crf is not None, "lossless has no quality to choose"
    other = [audio_bps // 8 // FPS] * QUANTUM_FRAMES

    def fits(crf: int) -> bool:
        video, allowance = h264.SegmentVideo(settings.with_crf(crf)), Allowance(kbps * _FOR_THE_MOUTH, other)
        for pose in range(QUANTUM_FRAMES):
            compose(video, template, pose, None)
            if allowance.excess(len(video.encode())):
                return False
            if allowance.ample:
                return True
        return True

    coarser = range(settings.crf + 1, h264.COARSEST_CRF)
    return settings.crf if fits(settings.crf) else coarser.start + bisect_left(coarser, True, key=fits)


def read_buffers(item: EncodeItem, buffers: Sequence[Any]) -> tuple[Pcm, list[U8]]:
    """The item's PCM (with its rolls) and its crops, one per frame or none at all. No copies.

    Raises:
        EngineError: INVALID_ARGUMENT with the number that does not fit.
    """
    if not 0 < item.frames <= MAX_ITEM_FRAMES or item.frames % QUANTUM_FRAMES or item.frame0 < 0:
        raise EngineError(
            "INVALID_ARGUMENT", f"a segment of {item.frames} frames from frame {item.frame0}",
            f"frames is a multiple of {QUANTUM_FRAMES}, at most {MAX_ITEM_FRAMES}, and frame0 is not negative",
        )  # fmt: skip
    wanted = 2 * _pcm_samples(item.frames)
    got = memoryview(buffers[0]).nbytes if buffers else 0
    if got != wanted:
        raise EngineError(
            "INVALID_ARGUMENT", f"{got} bytes of PCM for {item.frames} frames",
            f"send {wanted}: {aac.PRE_ROLL} samples before, the segment, {aac.POST_ROLL} after, s16",
        )  # fmt: skip
    crops: list[U8] = []
    for buffer in buffers[1:]:
        size = memoryview(buffer).nbytes
        if not size or size % _CROP_BYTES:
            raise EngineError("INVALID_ARGUMENT", f"a crop buffer of {size} bytes is not [n, {CROP}, {CROP}, 3]")
        crops += list(np.frombuffer(buffer, np.uint8).reshape(-1, CROP, CROP, 3))
    if item.ahead and not 0 <= item.start <= item.start + len(crops) <= item.frames:
        raise EngineError("INVALID_ARGUMENT", f"{len(crops)} crops from frame {item.start} of {item.frames}")
    if not item.ahead and crops and len(crops) != item.frames:
        raise EngineError("INVALID_ARGUMENT", f"{len(crops)} crops for {item.frames} frames", "send all or none")
    return np.frombuffer(buffers[0], np.int16), crops


def _pcm_samples(frames: int) -> int:
    return aac.PRE_ROLL + frames * FRAME_SAMPLES + aac.POST_ROLL
