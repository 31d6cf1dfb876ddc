"""A segment's pictures in the making: each pasted and encoded when its crop is there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from broker.ipc.messages import EncodeItem
from models.api import Crops, EngineError, Pcm
from models.media import fmp4, h264
from models.media.ceiling import Allowance
from models.media.paste import U8, paster, planes
from models.meter import Meter
from models.registry import CROPS
from models.templates.store import Template
from stages.stage import Work

KEPT = 2
"""Segments begun ahead that a process keeps. One that nobody goes on with (its turn was cut) is pushed out."""


class TooLargeError(Exception):
    """The segment does not fit into its allowance."""

    def __init__(self, ratio: float) -> None:
        super().__init__(ratio)
        self.ratio = ratio


class Pictures:
    """One segment in one quality.

    Args:
        template: mapped.
        settings: of the encoder.
        sets: what all streams of these settings have.
        frame0: number of the first frame on the media timeline.
        allowance: what it may cost; None: anything.
        meter: of the stage.

    Raises:
        EngineError: FAILED when the encoder does not open, or has other parameter sets.
    """

    def __init__(
        self,
        template: Template,
        settings: h264.Settings,
        sets: fmp4.ParameterSets,
        frame0: int,
        allowance: Allowance | None,
        meter: Meter,
    ) -> None:
        self.settings = settings
        self.made: list[bytes] = []
        self._template = template
        self._frame0 = frame0
        self._allowance = allowance
        self._meter = meter
        self._video = h264.SegmentVideo(settings)
        if self._video.sets != sets:
            raise EngineError("FAILED", f"{settings.encoder} changed its parameter sets between openings")

    def add(self, crops: Sequence[U8 | None], engine: str, work: Work) -> bool:
        """The next frames, from ``engine``'s crops, None for the template's own pixels.

        Returns:
            False: the item was cancelled before the last of them.

        Raises:
            TooLargeError: the segment is over its allowance.
        """
        for crop in crops:
            if work.cancel.is_set():
                return False
            pose = (self._frame0 + len(self.made)) % self._template.frames
            with self._meter.timed("paste"):
                compose(self._video, self._template, pose, crop, engine)
            with self._meter.timed("x264"):
                self.made.append(self._video.encode())
            work.progress()
            if self._allowance is not None and (ratio := self._allowance.excess(len(self.made[-1]))):
                raise TooLargeError(ratio)
        return True


def compose(video: h264.SegmentVideo, template: Template, pose: int, crop: U8 | None, engine: str = "") -> None:
    """Fill the encoder's picture: the template's frame, with ``engine``'s ``crop`` pasted when there is one."""
    for target, source in zip(video.planes, planes(template.i420[pose]), strict=True):
        np.copyto(target, source)
    if crop is not None:
        tool = paster(template, engine, CROPS.get(engine, Crops.WHOLE))
        tool.paste(video.planes, template.roi[pose], template.boxes[pose], crop, pose)


@lru_cache(maxsize=64)
def parameter_sets(settings: h264.Settings) -> fmp4.ParameterSets:
    """The SPS and PPS of every stream with these settings."""
    return h264.SegmentVideo(settings).sets


class Begun:
    """What was made of a segment before all of its crops were there.

    Args:
        pcm: the sound that the item had.
        sound: its access units.
        pictures: the encoder, with no pictures yet.
    """

    def __init__(self, pcm: Pcm, sound: list[bytes], pictures: Pictures) -> None:
        self._pcm = pcm
        self.sound = sound
        self.pictures = pictures
        self._crops: list[U8] = []
        self._engine = ""

    @property
    def frames(self) -> int:
        """That are encoded."""
        return len(self._crops)

    def add(self, crops: Sequence[U8], engine: str, work: Work) -> bool:
        """Encode more; see ``Pictures.add``."""
        self._crops += crops
        self._engine = engine
        return self.pictures.add(crops, engine, work)

    def is_of(self, pcm: Pcm, crops: Sequence[U8], engine: str) -> bool:
        """Whether it was made of just this: then going on gives what beginning anew would."""
        return (
            np.array_equal(self._pcm, pcm)
            and (not self._crops or (engine == self._engine and len(crops) >= len(self._crops)))
            and all(np.array_equal(mine, crop) for mine, crop in zip(self._crops, crops, strict=False))
        )


class _Key(NamedTuple):
    sid: str
    turn: int
    template: str
    quality: str
    frame0: int
    frames: int


class Beginnings:
    """The segments begun ahead in this process. Handler threads share it; who goes on with one takes it out."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, Begun] = OrderedDict()

    def take(self, item: EncodeItem) -> Begun | None:
        """What there is of the item's segment; the caller's from now on."""
        return self._kept.pop(_key(item), None)

    def keep(self, item: EncodeItem, begun: Begun) -> None:
        """Until an item goes on with it."""
        self._kept[_key(item)] = begun
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)


def _key(item: EncodeItem) -> _Key:
    return _Key(item.sid, item.turn, item.template.hash, item.quality, item.frame0, item.frames)
