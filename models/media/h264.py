"""H.264 for segments that stand alone: one key frame at the start, no B-frames, nothing held back.

An encoder is opened for every segment and closed after it. Opening costs 1 to 3 ms, and in exchange a segment
is a pure function of its pictures: any worker may make it, and all openings of one setting agree on
SPS and PPS to the byte (checked here at every opening).

Where two segments meet, the picture is coded anew, and a difference in quality shows as a pulse. x264's rate
control makes one: it spends more on pictures that hardly move, so that quality rises within a segment and falls
back at its end. Here the quantiser stays where it is from the key frame on. Measured on the built-in face
against x264's own ``crf 23``: PSNR at the joints steps by at most 0.4 dB instead of 1.3 to 1.6, and is 0.8 dB
better on the whole, for 0.8 to 0.9 times the bytes.

The preset ``auto`` is x264's ``superfast`` at a constant quantiser, without what does not pay: it looks at small
blocks within a key frame, which ``ultrafast`` cannot be told to do (its key frames are a fifth larger), and not at
those of later ones. It knows a lighter way, without half-pixel movement, for a machine that has no time: a tenth
less work for a third more bytes. Both have the same parameter sets, so a stream may change between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from struct import pack
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError

from configs.schema import Video
from models.api import FPS, EngineError
from models.media.fmp4 import ParameterSets
from models.media.paste import U8, Planes

QUALITIES = ("high", "lossless", "fast", "max")
ENCODERS = ("libx264",)
"""Tried in this order at start. A name that is listed need not open: hardware encoders fail only then."""
MAX_SIDE = 4096

MAX_PRESET, MAX_CRF = "faster", 18
"""Measured on the built-in face at this crf: 50.4 dB at 1.0 Mbit/s for 11 ms per frame; ``ultrafast`` 50.3 dB
at 1.0 for 3 ms, ``slow`` 50.5 dB at 0.93 for 36 ms. With noise (sigma 3) 48.9 dB against 47.3 and 49.2, for 55 ms,
8 and 414."""
_FAST_CRF_STEP = 5
_STEADY_STEP = 5
"""Below ``crf``: about where x264's rate control takes a talking head after some frames."""
_STEADY = "qcomp=0.99:ipratio=0.9"
"""A constant quantiser (at exactly 1, ``ipratio`` is not looked at), for key frames one step coarser: coded at
the same one, they come out 1.4 dB better than what is predicted from them."""
_SUB_PIXEL = ":no-deblock=0:subme=1"
"""What ``ultrafast`` leaves out and slow movement needs: a quarter fewer bytes at the same quality."""
AUTO, LIGHT = "auto", "light"
_AUTO_PARAMS = "aq-mode=0:weightp=0:analyse=none:deadzone-inter=18"
"""The dead zone is 21 by default: what is predicted would come out 0.1 to 0.2 dB worse, and the step at a joint be
as much larger."""
_SUBME = {AUTO: 1, LIGHT: 0}
_KEY = {AUTO: 1.0, LIGHT: 0.9}
"""How fine key frames are: as the others; a step coarser, for what is predicted without half pixels is worse."""
_COARSE = 20
"""Above, key frames are two steps coarser than the others: they would come out 0.7 to 1.3 dB better."""
_STITCHABLE = ":stitchable=1"
"""The parameter sets do not depend on the quantiser."""
_BASE_PIXELS = 512 * 512
_STEPS_PER_DOUBLING = 2.75
"""Of pixels: a detail of a larger picture is seen smaller. 1266x712 is 5 steps coarser than 512x512."""
COARSEST_CRF = 51 + _STEADY_STEP
_ENDLESS_GOP = 1 << 20
_BT709, _LIMITED = 1, 1
"""Values of ``AVCOL_PRI_BT709``, ``AVCOL_TRC_BT709`` and ``AVCOL_SPC_BT709``; of ``AVCOL_RANGE_MPEG``."""
_NAL_SLICES = (1, 5)
_NAL_SPS, _NAL_PPS = 7, 8


@dataclass(frozen=True, slots=True)
class Settings:
    """What distinguishes one encoder's stream from another's."""

    encoder: str
    width: int
    height: int
    preset: str
    """One of x264's, or ``AUTO`` or ``LIGHT``."""
    crf: int | None
    """None: mathematically lossless."""

    def with_crf(self, crf: int) -> Settings:
        """The same in another quality, with the same parameter sets."""
        return replace(self, crf=crf)

    @property
    def lighter(self) -> Settings:
        """Less work for more bytes, with the same parameter sets, where there is such a way."""
        return replace(self, preset=LIGHT) if self.preset == AUTO else self


def settings_for(encoder: str, width: int, height: int, quality: str, video: Video) -> Settings:
    """Turn a session's ``quality`` into encoder settings.

    ``high``: the configured preset and crf, which is meant for 512x512: larger pictures get a coarser one.
    ``fast``: the fastest preset and a crf 5 steps coarser, about half the bits. ``lossless``: preset ultrafast,
    quantiser 0, so the pictures come back bit for bit; the profile is High 4:4:4 Predictive, which software
    decoders play and most hardware decoders refuse. ``max``: a crf of 18 or the configured one, whichever is
    finer, and a slower preset, whatever the size.

    Raises:
        EngineError: INVALID_ARGUMENT for an unknown quality or a size that H.264 4:2:0 cannot hold.
    """
    if width % 2 or height % 2 or not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise EngineError(
            "INVALID_ARGUMENT", f"a picture of {width}x{height} cannot be encoded",
            f"use even sides from 16 to {MAX_SIDE}",
        )  # fmt: skip
    crf = min(COARSEST_CRF, video.crf + _size_steps(width, height)) if video.crf else 0
    if quality == "high":
        return Settings(encoder, width, height, video.preset, crf)
    if quality == "fast":
        preset = AUTO if video.preset == AUTO else "ultrafast"
        return Settings(encoder, width, height, preset, min(COARSEST_CRF, crf + _FAST_CRF_STEP))
    if quality == "max":
        return Settings(encoder, width, height, MAX_PRESET, min(MAX_CRF, video.crf))
    if quality == "lossless":
        return Settings(encoder, width, height, "ultrafast", None)
    raise EngineError("INVALID_ARGUMENT", f"unknown quality {quality!r}", f"use one of {', '.join(QUALITIES)}")


def _size_steps(width: int, height: int) -> int:
    return max(0, round(_STEPS_PER_DOUBLING * math.log2(width * height / _BASE_PIXELS)))


def choose_encoder(candidates: tuple[str, ...] = ENCODERS) -> str:
    """The first encoder that opens on this machine.

    Raises:
        EngineError: FAILED, with what each candidate said.
    """
    said: list[str] = []
    for name in candidates:
        try:
            SegmentVideo(Settings(name, 64, 64, AUTO, 23)).close()
        except EngineError as error:
            said.append(error.message)
        else:
            return name
    raise EngineError(
        "FAILED", f"no H.264 encoder opens here ({'; '.join(said)})",
        "install PyAV's own wheels (pip install av), which carry libx264",
    )  # fmt: skip


class SegmentVideo:
    """The video of one segment: ``planes`` is filled by the caller, ``encode`` takes the picture away."""

    planes: Planes
    """Views of the frame buffer, rows may be padded; free to be overwritten after every ``encode``."""
    sets: ParameterSets

    def __init__(self, settings: Settings) -> None:
        """Open an encoder.

        Raises:
            EngineError: FAILED when it does not open with these settings.
        """
        self._context = _open(settings)
        self.sets = _parameter_sets(self._context.extradata or b"")
        self._frame = _frame(settings.width, settings.height)
        self.planes = Planes(*(_plane_view(plane) for plane in self._frame.planes))
        self._next = 0

    def encode(self) -> bytes:
        """Encode what ``planes`` holds: one length-prefixed access unit, slices only.

        Raises:
            EngineError: FAILED when the encoder holds the picture back or its stream has another shape.
        """
        self._frame.pts = self._next
        self._next += 1
        packets = list(self._context.encode(self._frame))
        if len(packets) != 1 or bool(packets[0].is_keyframe) != (self._next == 1):
            raise EngineError("FAILED", f"{self._context.name} is not the zero-latency encoder it was opened as")
        return _length_prefixed(bytes(packets[0]))

    def close(self) -> None:
        """Free the encoder now; garbage collection would do it later."""
        del self._context


def _open(settings: Settings) -> Any:
    try:
        return _open_context(settings)
    except (FFmpegError, ValueError, OSError) as error:
        raise EngineError(
            "FAILED",
            f"{settings.encoder} does not open as {settings}: {error}",
            "check video.preset and video.crf",
        ) from error


def _open_context(settings: Settings) -> Any:
    context: Any = av.CodecContext.create(settings.encoder, "w")
    context.width, context.height = settings.width, settings.height
    context.pix_fmt = "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.thread_count = 1
    context.gop_size, context.max_b_frames = _ENDLESS_GOP, 0
    context.color_primaries = context.color_trc = context.colorspace = _BT709
    context.color_range = _LIMITED
    context.flags |= Flags.global_header
    preset = "superfast" if settings.preset in _SUBME else settings.preset
    options = {"preset": preset, "tune": "zerolatency", "sc_threshold": "0"}
    context.options = options | _rate_options(settings)
    context.open()
    return context


def _rate_options(settings: Settings) -> dict[str, str]:
    if not settings.crf:
        return {"qp": "0"}
    quantiser = max(1, settings.crf - _STEADY_STEP)
    if settings.preset in _SUBME:  # a constant quantiser outright, which spares x264 a look at each picture
        ratio = 0.8 if quantiser > _COARSE else _KEY[settings.preset]
        params = f"{_AUTO_PARAMS}:subme={_SUBME[settings.preset]}:ipratio={ratio}"
        return {"qp": str(quantiser), "x264-params": params + _STITCHABLE}
    finer = _SUB_PIXEL if settings.preset == "ultrafast" else ""
    return {"crf": str(quantiser), "x264-params": _STEADY + finer + _STITCHABLE}


def _frame(width: int, height: int) -> Any:
    """The frame buffer. x264 copies a picture as it takes it, so one serves a whole segment.

    FFmpeg makes one more copy before that unless it can hold the buffer; PyAV lays one out that it can, where all
    planes end with a row of it.
    """
    if height % 4:
        return av.VideoFrame(width, height, "yuv420p")
    return av.VideoFrame.from_numpy_buffer(np.empty((height * 3 // 2, width), np.uint8), format="yuv420p")


def _plane_view(plane: Any) -> U8:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def nal_units(stream: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B byte stream (H.264, annex B.1), without start codes."""
    at = stream.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = stream.find(b"\0\0\1", begin)
        unit = stream[begin : at if at >= 0 else len(stream)]
        yield unit.rstrip(b"\0")  # a unit never ends in 0: those belong to the next start code


def _parameter_sets(extradata: bytes) -> ParameterSets:
    units = {unit[0] & 31: unit for unit in nal_units(extradata)}
    if _NAL_SPS not in units or _NAL_PPS not in units:
        raise EngineError("FAILED", "the encoder gave no SPS and PPS at opening")
    return ParameterSets(units[_NAL_SPS], units[_NAL_PPS])


def _length_prefixed(access_unit: bytes) -> bytes:
    """Annex B to 4-byte lengths, slices only: x264's comment (SEI) would cost 700 bytes per segment."""
    slices = [unit for unit in nal_units(access_unit) if unit[0] & 31 in _NAL_SLICES]
    return b"".join(part for unit in slices for part in (pack(">I", len(unit)), unit))
