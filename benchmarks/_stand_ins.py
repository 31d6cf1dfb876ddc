"""Stand-ins for every stage in one process. They answer each item at once, so only the broker is measured.

``python -m benchmarks._stand_ins RUNTIME_DIR SEGMENTS_PER_S``; ends when its standard input closes. Speech alone
is answered at a fixed rate, whoever asked for it: that is the load. It then prints one JSON map, times in seconds
of CLOCK_MONOTONIC:

- ``relays``: for each segment, when its encode item was received, the ms since its crops left (one relay by the
  broker, from a worker to a worker), and the ms that a message took which left at the same moment and came back
  through a socket of the stand-ins' own: what the way costs without a broker;
- ``speech``: session to the times at which its pieces of speech were sent;
- ``starved``: how often the next piece was due and no session had asked for one.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import zmq

from broker.ipc.messages import (
    Done,
    EncodedSegment,
    EncodeItem,
    Greeting,
    Hello,
    InitItem,
    InitSegment,
    Item,
    LipsyncCrops,
    LipsyncItem,
    Output,
    PrepareItem,
    Ready,
    TemplateReady,
    TemplateRef,
    TtsChunk,
    TtsItem,
)
from broker.ipc.sockets import Endpoints, SocketFactory, receive_now
from broker.ipc.wire import pack, unpack
from configs.grid import QUANTUM_SAMPLES, SAMPLE_BYTES

INSTANCES = {
    "asr.0": ("asr", 8),
    "llm.0": ("llm", 4),
    "tts.0": ("tts", 64),
    "lipsync.0": ("lipsync", 1024),
    "encode.0": ("encode", 32),
    "encode.1": ("encode", 32),
    "prepare.0": ("prepare", 1),
}
IDLE = ("asr", "llm")
"""Only there because the daemon is not ready without them."""
EPOCH = 1
"""Each sentence is one quantum of silence."""
CROPS = bytes(4096)
"""Not whole crops: the cost of copying pixels is not the broker's relay."""
SEGMENT = bytes(24_000)
INIT = bytes(1_100)


def answer(item: Item) -> Iterator[tuple[Output, list[bytes]]]:
    """What a stage would send for this item."""
    common: dict[str, Any] = {"src": "", "ep": EPOCH, "id": item.id, "attempt": item.attempt, "index": 0}
    if isinstance(item, TtsItem):
        yield TtsChunk(**common, at=0), [bytes(QUANTUM_SAMPLES * SAMPLE_BYTES)]
    elif isinstance(item, LipsyncItem):
        yield LipsyncCrops(**common, start=item.start, frames=item.frames - item.start), [CROPS]
    elif isinstance(item, EncodeItem):
        yield (
            EncodedSegment(**common, frames=item.frames, mfhd_at=20, video_tfdt_at=60, audio_tfdt_at=120),
            [SEGMENT],
        )
    elif isinstance(item, InitItem):
        yield InitSegment(**common, mime='video/mp4; codecs="avc1.42c01f,mp4a.40.2"'), [INIT]
    elif isinstance(item, PrepareItem):
        template = TemplateRef(item.template_id, "/nowhere", "0")
        ready = TemplateReady(
            **common, template=template, kind="builtin", frames=248, width=512, height=512, nbytes=0,
            engines=["warp"], cached=True, seconds=0.0,
        )  # fmt: skip
        yield ready, []


class StandIns:
    """The sockets of all of them, what they answer, and what they noted."""

    def __init__(self, runtime_dir: str, rate: float) -> None:
        ends = Endpoints(runtime_dir)
        factory = SocketFactory(zmq.Context())
        self._ingress = factory.push_connect(ends.ingress, hwm=1000)
        self._poller = zmq.Poller()
        self._poller.register(sys.stdin.fileno(), zmq.POLLIN)
        own = f"ipc://{runtime_dir}/hop"
        self._hop_in = factory.pull_bind(own, hwm=1000)
        self._hop_out = factory.push_connect(own, hwm=1000)
        self._poller.register(self._hop_in, zmq.POLLIN)  # looked at first: in doubt against the broker
        self._owners = {}
        for instance, (stage, _) in INSTANCES.items():
            ends_of = [ends.orders(instance, EPOCH)]
            if stage not in IDLE:
                ends_of.append(ends.work(instance, EPOCH))
            for endpoint in ends_of:
                socket = factory.pull_connect(endpoint)
                self._owners[socket] = instance
                self._poller.register(socket, zmq.POLLIN)
        self._broker = 0
        self._period = 1 / rate
        self._due = 0.0
        self._asked: deque[tuple[str, TtsItem]] = deque()
        self._crops_sent: dict[tuple[str, str], float] = {}
        self._hops: dict[tuple[str, str], float] = {}
        self._relays: dict[tuple[str, str], tuple[float, float]] = {}
        self.speech: dict[str, list[float]] = defaultdict(list)
        self.starved = 0

    def serve(self) -> None:
        """Answer until standard input closes."""
        while True:
            wait = int(max(0.0, self._due - time.monotonic()) * 1000) if self._asked else None
            for socket, _ in self._poller.poll(wait):
                if socket is self._hop_in:
                    self._hopped()
                    continue
                if socket not in self._owners:
                    return
                self._take(socket, receive_now(socket) or [])
            self._speak()

    def _speak(self) -> None:
        now = time.monotonic()
        while self._asked and self._due <= now:
            instance, item = self._asked.popleft()
            self.speech[item.sid].append(time.monotonic())
            self._answer(instance, item)
            # A piece that nobody asked for in time is not made up for: that would be another load.
            self.starved += self._due < now - 10 * self._period and not self._asked
            self._due = max(self._due, now - 10 * self._period) + self._period

    def _hopped(self) -> None:
        sid, index = self._hop_in.recv().decode().split("/")
        self._hops[sid, index] = (time.monotonic() - self._crops_sent[sid, index]) * 1000

    def _take(self, socket: zmq.Socket[bytes], frames: list[zmq.Frame]) -> None:
        if not frames:
            return
        instance = self._owners[socket]
        message, _buffers = unpack([frames[0].bytes, *(frame.buffer for frame in frames[1:])])
        if isinstance(message, Greeting):
            self._poller.unregister(socket)  # each one polled costs the load generator more than a message does
            self._greet(instance, message.broker)
        elif isinstance(message, TtsItem):
            self._asked.append((instance, message))
        elif isinstance(message, Item):
            segment = (message.sid, message.id.rsplit("/", 1)[1])
            if isinstance(message, EncodeItem) and segment in self._crops_sent:  # idle video has no crops
                now = time.monotonic()
                self._relays[segment] = (now, (now - self._crops_sent[segment]) * 1000)
            elif isinstance(message, LipsyncItem):
                self._crops_sent[segment] = time.monotonic()
                self._hop_out.send("/".join(segment).encode())
            self._answer(instance, message)

    @property
    def relays(self) -> list[tuple[float, float, float]]:
        """When, ms through the broker, ms without it."""
        return [(*self._relays[segment], hop) for segment, hop in self._hops.items() if segment in self._relays]

    def _greet(self, instance: str, broker: int) -> None:
        self._broker = broker
        stage, credit = INSTANCES[instance]
        who: dict[str, Any] = {"src": instance, "ep": EPOCH, "broker": broker, "stage": stage}
        self._ingress.send_multipart(pack(Hello(**who, pid=0, ready=True)))
        ready = Ready(**who, engine="stand-in", device="cpu", credit=credit, load_s=0.0)
        self._ingress.send_multipart(pack(ready))

    def _answer(self, instance: str, item: Item) -> None:
        for output, buffers in answer(item):
            output.src, output.broker = instance, self._broker
            self._ingress.send_multipart(pack(output, buffers))
        done = Done(src=instance, ep=EPOCH, broker=self._broker, id=item.id, attempt=item.attempt)
        self._ingress.send_multipart(pack(done))


def main() -> None:
    """Serve, then print what was noted."""
    stand_ins = StandIns(sys.argv[1], float(sys.argv[2]))
    stand_ins.serve()
    print(json.dumps({"relays": stand_ins.relays, "speech": stand_ins.speech, "starved": stand_ins.starved}))


if __name__ == "__main__":
    main()
