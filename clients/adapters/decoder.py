"""Published segments as pictures and sound, 40 ms at a time."""

from __future__ import annotations

import io
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from clients.client import FPS, SAMPLE_RATE
from clients.follower import Header
from clients.mp4 import samples

Pixels = Literal["yuv420p", "rgb24"]
TICK_US = 1_000_000 // FPS
TICK_SAMPLES = SAMPLE_RATE // FPS
FULL_SCALE = 32767


class Tick(NamedTuple):
    """One picture and the sound of its 40 ms."""

    picture: bytes
    """In the decoder's ``pixels``: the planes Y, U, V without padding, or packed RGB."""
    sound: bytes
    """s16le mono, 48 kHz: 1920 samples."""
    width: int
    height: int
    gen: int
    turn: int
    """0: idle motion."""
    pts: int
    """On the session's media timeline, us."""


class Decoder:
    """Of one session. Segments in their order; slow: call ``decode`` from a thread, one at a time.

    Sound goes on from segment to segment: an AAC frame needs the one before it.

    Args:
        init: of the session.
        pixels: what pictures are made of. yuv420p is BT.601 limited, as WebRTC takes I420 to be; rgb24 full range.

    Raises:
        ValueError: it is no ``init`` of this project.
    """

    def __init__(self, init: bytes | memoryview, pixels: Pixels) -> None:
        self._pixels = pixels
        self._gen: int | None = None
        try:
            with av.open(io.BytesIO(init), format="mp4") as container:
                video, audio = container.streams.video[0].codec_context, container.streams.audio[0].codec_context
                self._video = _context("h264", video.extradata)
                self._audio = _context("aac", audio.extradata)
        except (av.FFmpegError, IndexError) as error:
            raise ValueError(f"this is no init of a session: {error}") from error

    def decode(self, header: Header, payload: bytes | memoryview) -> list[Tick]:
        """Every 40 ms of a segment.

        Raises:
            ValueError: it is damaged. The next one can be decoded all the same: it begins with a key frame.
        """
        if header["gen"] != self._gen:
            self._gen = header["gen"]
            self._audio.flush_buffers()  # nothing of the old voice sounds into the new one
        video, audio = samples(payload)
        try:
            pictures = [self._picture(frame) for one in video for frame in self._video.decode(av.Packet(one))]
            pieces = [frame.to_ndarray()[0] for one in audio for frame in self._audio.decode(av.Packet(one))]
        except av.FFmpegError as error:
            self._video.flush_buffers()
            self._audio.flush_buffers()
            raise ValueError(f"segment {header['seq']} cannot be decoded: {error}") from error
        sound = _s16(np.concatenate(pieces)) if pieces else np.zeros(0, "<i2")
        if len(pictures) != header["frames"] or len(sound) != len(pictures) * TICK_SAMPLES:
            raise ValueError(
                f"segment {header['seq']} has {len(pictures)} pictures and {len(sound)} samples, not "
                f"{header['frames']} and {header['frames'] * TICK_SAMPLES}"
            )
        return [
            Tick(
                picture, sound[number * TICK_SAMPLES : (number + 1) * TICK_SAMPLES].tobytes(), width, height,
                header["gen"], header["turn"], header["pts"] + number * TICK_US,
            )
            for number, (picture, width, height) in enumerate(pictures)
        ]  # fmt: skip

    def _picture(self, frame: Any) -> tuple[bytes, int, int]:
        space = "ITU601" if self._pixels == "yuv420p" else None
        made = frame.reformat(
            format=self._pixels,
            src_colorspace=frame.colorspace, src_color_range=frame.color_range,
            dst_colorspace=space, dst_color_range="MPEG" if space else "JPEG",
        )  # fmt: skip
        return made.to_ndarray().tobytes(), made.width, made.height


def _context(name: str, extradata: bytes | None) -> Any:
    context = av.CodecContext.create(name, "r")
    context.extradata = extradata
    context.thread_count = 1  # frames in flight in other threads would come out one segment late
    return context


def _s16(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    return (np.clip(sound, -1, 1) * FULL_SCALE).astype("<i2")
