"""Process of the delivery line: crops (or whole pictures) in, H.264 in fMP4 segments out over PUB.

``python -m benchmarks.gpu_job.encoder CONFIG NAME WORK STREAM``; ends when its standard input closes. Crops go
through the daemon's own encode stage; whole pictures, as upstream's loop makes them, through the same x264 and
boxes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

from benchmarks.gpu_job.child import adopt
from broker.ipc.messages import EncodeItem, TemplateRef
from configs.grid import QUANTUM_FRAMES
from configs.schema import Config
from models.api import FRAME_SAMPLES
from models.media import aac, fmp4, h264
from models.media.paste import bgr_to_i420, planes
from stages.encode import EncodeStage
from tests.support.doubles import RecordedWork, quiet

HELLO_MS = 20
"""Between greetings until the first work: a subscription takes its time to get here."""
PCM = np.zeros(aac.PRE_ROLL + QUANTUM_FRAMES * FRAME_SAMPLES + aac.POST_ROLL, np.int16)


class Encoder:
    """One encode stage."""

    def __init__(self, config: Config, name: str) -> None:
        self._stage = EncodeStage(config, name)
        self._stage.setup(quiet)
        self._config = config
        self._pictures: list[np.ndarray] = []

    def segment(self, head: dict[str, Any], crops: memoryview) -> bytes:
        """One quantum from its crops."""
        item = EncodeItem(
            id="bench", attempt=0, broker=0, sid=str(head["stream"]), turn=1,
            template=TemplateRef(*head["template"]), frame0=head["frame0"], frames=head["frames"],
            engine="musetalk",
        )  # fmt: skip
        work = RecordedWork(item, PCM.tobytes(), crops.tobytes())
        ((_, (payload,)),) = self._stage.handle(work)
        return bytes(payload)

    def picture(self, number: int, height: int, width: int, bgr: memoryview) -> bytes | None:
        """One more picture of the pipe; the segment when it is complete. Number 0 begins another stream."""
        if number == 0:
            self._pictures.clear()
        self._pictures.append(np.frombuffer(bgr, np.uint8).reshape(height, width, 3))
        if len(self._pictures) < QUANTUM_FRAMES:
            return None
        video = h264.SegmentVideo(h264.settings_for(self._stage.engine, width, height, "high", self._config.video))
        units = [self._encode(video, picture) for picture in self._pictures]
        self._pictures.clear()
        sound = aac.encode_span(PCM, self._config.video.audio_kbps * 1000)
        return fmp4.media_segment(units, sound).payload

    @staticmethod
    def _encode(video: h264.SegmentVideo, picture: np.ndarray) -> bytes:
        for target, source in zip(video.planes, planes(bgr_to_i420(picture)), strict=True):
            np.copyto(target, source)
        return video.encode()


def parts(encoder: Encoder, frames: list[Any]) -> Iterator[list[bytes]]:
    """What is published for one message of work."""
    head = json.loads(frames[0].bytes)
    if "frame0" in head:
        payload: bytes | None = encoder.segment(head, frames[1].buffer)
    else:
        payload = encoder.picture(head["number"], head["height"], head["width"], frames[1].buffer)
        head["first"], head["frames"] = head["number"] + 1 - QUANTUM_FRAMES, QUANTUM_FRAMES
    if payload is not None:
        told = {key: head[key] for key in ("stream", "first", "frames")}
        yield [b"seg.", json.dumps(told).encode(), payload]


def main() -> None:
    """Serve until standard input closes."""
    config_path, name, work_end, stream_end = sys.argv[1:]
    say = adopt()
    encoder = Encoder(msgspec.json.decode(Path(config_path).read_bytes(), type=Config), name)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    work, stream = context.socket(zmq.PULL), context.socket(zmq.PUB)
    for socket in (work, stream):
        socket.setsockopt(zmq.LINGER, 0)
    work.setsockopt(zmq.RCVHWM, 2)
    stream.setsockopt(zmq.SNDHWM, 0)
    work.connect(work_end)
    stream.connect(stream_end)
    poller = zmq.Poller()
    poller.register(work, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    say({"ready": name})
    wait: int | None = HELLO_MS
    while True:
        ready = dict(poller.poll(wait))
        if sys.stdin.fileno() in ready:
            break
        if work in ready:
            wait = None
            for message in parts(encoder, work.recv_multipart(copy=False)):
                stream.send_multipart(message)
        elif wait is not None:
            stream.send_multipart([b"hello", name.encode()])
    context.destroy(linger=0)


if __name__ == "__main__":
    main()
