"""Videos: decoded upright, scaled and retimed to 25 frames/s, within limits.

ffmpeg sees a Python file object and a short list of container formats, never a name: a playlist or a concat
script cannot make it open anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from models.api import FPS, EngineError

U8 = NDArray[np.uint8]

MAX_PIXELS = 4096 * 2304
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,gif"
WHOLE = 0.95
"""A file that shows less than this share of the time that its index lists was cut off."""
_BAD = "send an MP4, MOV, WebM, MKV or AVI file that plays elsewhere"


class Film(NamedTuple):
    """An open video."""

    container: Any
    stream: Any
    seconds: float
    """As the container says; 0 when it does not."""
    listed: float
    """Seconds that the index of the picture's track lists; 0 where there is none."""
    expected: int
    """Frames at 25 frames/s, an estimate for progress; 0: unknown."""


@contextmanager
def open_film(file: BinaryIO, max_s: float, threads: int = 1) -> Iterator[Film]:
    """Open a video, checking what its header says.

    Raises:
        EngineError: INVALID_ARGUMENT when it is no video or damaged, TOO_LARGE beyond a limit.
    """
    # ``explode``: a damaged stream is an error, not a grey picture.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "err_detect": "explode"}
    try:
        container = av.open(file, "r", options=options)
    except (av.error.FFmpegError, ValueError) as error:
        fact = f"this is neither a photo nor a video: {_said(error)}"
        raise EngineError("INVALID_ARGUMENT", fact, _BAD) from error
    with container:
        if not container.streams.video:
            raise EngineError("INVALID_ARGUMENT", "the file has no picture, only sound", _BAD)
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        _refuse_size(stream.codec_context.width, stream.codec_context.height)
        listed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        seconds = listed or (float(container.duration) / av.time_base if container.duration else 0.0)
        _refuse_length(seconds, max_s)
        yield Film(container, stream, seconds, listed, round(seconds * FPS))


def frames(film: Film, side_max: int, max_s: float) -> Iterator[U8]:
    """The frames at 25 frames/s: u8 BGR ``[H, W, 3]``, upright, even sides, all of one size.

    Each is the source frame nearest in time. The longer side is at most ``side_max``.

    Raises:
        EngineError: INVALID_ARGUMENT when the stream is damaged, TOO_LARGE beyond a limit.
    """
    before: tuple[float, U8] | None = None
    first = 0.0
    emitted = 0
    target: tuple[int, int] | None = None
    try:
        for at, frame in _timed(film):
            _refuse_size(frame.width, frame.height)
            if before is None:
                first = at
            elif at - first <= before[0]:
                continue
            target = target or _target(frame.width, frame.height, side_max)
            picture = _picture(frame, target)
            now = at - first
            if before is not None:
                _refuse_length(now, max_s)
                while emitted / FPS < (before[0] + now) / 2:
                    yield before[1]
                    emitted += 1
            before = (now, picture)
    except (av.error.FFmpegError, ValueError) as error:
        fact = f"the video is damaged at {emitted / FPS:.2f} s: {_said(error)}"
        raise EngineError("INVALID_ARGUMENT", fact, _BAD) from error
    rate = film.stream.average_rate or film.stream.guessed_rate or Fraction(FPS)
    shown = before[0] + 1 / float(rate) if before is not None else 0.0
    if before is None or shown < WHOLE * film.listed:
        raise EngineError(
            "INVALID_ARGUMENT", f"the video is damaged: {shown:.2f} of {film.listed:.2f} s are there", _BAD
        )
    while emitted / FPS < before[0] + 0.5 / float(rate):
        yield before[1]
        emitted += 1


def _timed(film: Film) -> Iterator[tuple[float, Any]]:
    """Frames with their times in seconds; where a file gives none, its frame rate does."""
    rate = float(film.stream.average_rate or film.stream.guessed_rate or FPS)
    base = film.stream.time_base
    for n, frame in enumerate(film.container.decode(film.stream)):
        if frame.is_corrupt:
            raise EngineError("INVALID_ARGUMENT", f"the video is damaged at frame {n}", _BAD)
        yield (float(frame.pts * (frame.time_base or base)) if frame.pts is not None else n / rate), frame


def _target(width: int, height: int, side_max: int) -> tuple[int, int]:
    """Even width and height, not turned yet. Odd sizes lose their last row or column, unresampled."""
    scale = min(1.0, side_max / max(width, height))
    if scale == 1:
        return width & ~1, height & ~1
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _picture(frame: Any, target: tuple[int, int]) -> U8:
    """One frame: scaled to ``target``, turned as its metadata says."""
    width, height = target
    same = (frame.width & ~1, frame.height & ~1) == target
    made = frame.reformat(
        width=None if same else width, height=None if same else height, format="bgr24",
        src_colorspace=_matrix(frame), dst_color_range=ColorRange.JPEG, threads=1,
        interpolation=Interpolation.AREA if width < frame.width else Interpolation.BICUBIC,
    )  # fmt: skip
    upright = np.rot90(made.to_ndarray()[:height, :width], round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(upright)


def _matrix(frame: Any) -> int:
    """The colour matrix; where the file does not say, that of its size, as players assume."""
    known = {1: 1, 5: 5, 6: 5, 7: 7, 9: 9, 4: 4}
    return known.get(int(frame.colorspace), 1 if frame.height >= 720 else 5)


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise EngineError(
            "TOO_LARGE", f"the video is {width}x{height}; the limit is 4096x2304", "send a smaller version"
        )


def _refuse_length(seconds: float, max_s: float) -> None:
    if seconds > max_s:
        raise EngineError(
            "TOO_LARGE", f"the video is {seconds:.1f} s long; the limit is {max_s:g} s (templates.max_video_s)",
            "cut out its best part",
        )  # fmt: skip


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error)
