"""Videos: decoded upright, with square pixels, within limits.

ffmpeg sees a Python file object and a short list of container formats, never a name: a playlist or a concat
script cannot make it open anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

from models.api import FPS, EngineError
from models.templates import moving
from models.templates.image import FORMATS_HINT, refuse_small

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg"
WHOLE = 0.95
"""A file that has less than this share of the pictures, and of the time, that its index lists was cut off."""
_BAD = "send one that plays elsewhere, or convert it to MP4"


class Video:
    """A ``moving.Film`` in a container that ffmpeg reads. Made by ``open_video``."""

    def __init__(self, container: Any, stream: Any, seconds: float, listed: float) -> None:
        self._container, self._stream = container, stream
        self._listed = listed
        """Seconds that the index of the picture's track lists; 0 where there is none."""
        self._rate = float(stream.average_rate or stream.guessed_rate or FPS)
        self._read = 0
        """Pictures of the track that were there."""
        self.expected = round(seconds * FPS)

    def shown(self, side_max: int) -> Iterator[moving.Shown]:
        """As ``moving.Film``."""
        first: float | None = None
        held: moving.Shown | None = None
        last = 0.0
        target: tuple[int, int] | None = None
        try:
            for at, stands, frame in self._timed():
                moving.refuse_size(frame.width, frame.height)
                target = target or moving.target_size(frame.width, frame.height, side_max, self._pixel)
                first = at if first is None else first
                at -= first
                last = max(last, at + stands)
                if held is not None:
                    yield held
                held = moving.Shown(at, at + stands, _picture(frame, target))
        except (av.error.FFmpegError, ValueError) as error:
            fact = f"the video is damaged at {last:.2f} s{_why(error)}"
            raise EngineError("INVALID_ARGUMENT", fact, _BAD) from error
        if held is None:
            raise EngineError("INVALID_ARGUMENT", "the video is damaged: not one picture of it decodes", _BAD)
        if held.until < WHOLE * self._listed:
            # Of a variable rate the last picture may stand for long: then the file has all that its index lists.
            if last < WHOLE * self._listed and not 0 < WHOLE * self._stream.frames <= self._read:
                fact = f"the video is damaged: {last:.2f} of {self._listed:.2f} s are there"
                raise EngineError("INVALID_ARGUMENT", fact, _BAD)
            held = held._replace(until=self._listed)
        yield held

    @property
    def _pixel(self) -> float:
        """Width of a pixel in its heights: what the container says goes before what the stream says."""
        return float(self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio or 1)

    def _timed(self) -> Iterator[tuple[float, float, Any]]:
        """Frames with their times and how long they stand, seconds; where a file gives none, its rate does."""
        base = self._stream.time_base
        n = 0
        for packet in self._container.demux(self._stream):
            self._read += packet.size > 0
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise EngineError("INVALID_ARGUMENT", f"the video is damaged at frame {n}", _BAD)
                unit = frame.time_base or base
                at = float(frame.pts * unit) if frame.pts is not None else n / self._rate
                yield at, float(frame.duration * unit) if frame.duration else 1 / self._rate, frame
                n += 1


@contextmanager
def open_video(file: BinaryIO, max_s: float, threads: int = 1) -> Iterator[Video]:
    """Open a video, checking what its header says.

    Raises:
        EngineError: INVALID_ARGUMENT when it is no video or damaged, TOO_LARGE beyond a limit.
    """
    # ``explode``: a damaged stream is an error, not a grey picture.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "err_detect": "explode"}
    try:
        container = av.open(file, "r", options=options)
    except (av.error.FFmpegError, ValueError) as error:
        fact = f"this is neither a photo nor a film that can be read{_why(error)}"
        raise EngineError("INVALID_ARGUMENT", fact, FORMATS_HINT) from error
    with container:
        if not container.streams.video:
            raise EngineError("INVALID_ARGUMENT", "the file has no picture, only sound", FORMATS_HINT)
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise EngineError("INVALID_ARGUMENT", "the coding of the video's pictures is not known", _BAD)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        moving.refuse_size(stream.codec_context.width, stream.codec_context.height)
        refuse_small(stream.codec_context.width, stream.codec_context.height)
        listed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        seconds = listed or (float(container.duration) / av.time_base if container.duration else 0.0)
        moving.refuse_length(seconds, max_s)
        yield Video(container, stream, seconds, listed)


def _picture(frame: Any, target: tuple[int, int]) -> moving.U8:
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


def _why(error: Exception) -> str:
    """What FFmpeg says, unless it is only that something is wrong with the data."""
    plain = isinstance(error, av.error.InvalidDataError | av.error.ArgumentError)
    return "" if plain else f": {getattr(error, 'strerror', '') or error}"
