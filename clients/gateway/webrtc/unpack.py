"""Segments as WebRTC wants them: access units in Annex B, samples instead of AAC."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from clients.gateway.webrtc.playout import SAMPLE_RATE, Frame, Sound, Unpacked
from configs.grid import FRAME_US

HIGH_444 = 244
"""``profile_idc`` of lossless video, which browsers do not decode over WebRTC."""


class Unpacker:
    """Of one viewer: the sound's decoder goes on from segment to segment.

    Args:
        init: of the session.
    """

    def __init__(self, init: bytes) -> None:
        self._init = init
        self._gen = 0
        with av.open(io.BytesIO(init), "r", format="mp4") as container:
            self.profile = bytes(container.streams.video[0].codec_context.extradata or b"\0\0")[1]
            self._decoder: Any = av.CodecContext.create("aac", "r")
            self._decoder.extradata = container.streams.audio[0].codec_context.extradata

    def __call__(self, header: dict[str, Any], payload: bytes | memoryview) -> Unpacked:
        """The segment of this header. Of one viewer only one thread at a time.

        Raises:
            av.FFmpegError: it is none.
        """
        units: list[bytes] = []
        sound: list[Sound] = []
        if header["gen"] != self._gen:
            self._gen = header["gen"]
            self._decoder.flush_buffers()
        with av.open(io.BytesIO(b"".join((self._init, payload))), "r", format="mp4") as container:
            annex_b = BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0])
            for packet in container.demux():
                if not packet.size:  # demux() ends with empty ones, which would end the decoder
                    continue
                if packet.stream.type == "audio":
                    sound += map(_samples, self._decoder.decode(packet))
                else:
                    units += map(bytes, annex_b.filter(packet))
        size = header["dur"] * SAMPLE_RATE // 1_000_000
        heard = np.concatenate([*sound, np.zeros(size, np.int16)])[:size]
        frames = [Frame(header["pts"] + at * FRAME_US, unit, header["turn"]) for at, unit in enumerate(units)]
        return Unpacked(header["gen"], header["pts"], header["dur"], frames, heard)


def _samples(frame: Any) -> Sound:
    """s16 of float samples, -1 to 1."""
    samples: Sound = (frame.to_ndarray()[0] * 32_767.0).clip(-32_768, 32_767).astype(np.int16)
    return samples
