"""Stand-ins for every stage in one process: they answer each item at once, so that only the broker is measured.

``python -m benchmarks._stand_ins RUNTIME_DIR``; ends when its standard input closes. It then prints a JSON list:
for each segment the ms from having sent its crops to receiving its encode item, with the time of the latter; that
is one relay by the broker, from a worker to a worker.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import zmq

from broker.messages import (
    AudioItem,
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
)
from broker.sockets import Endpoints, SocketFactory
from broker.wire import pack, unpack

INSTANCES = {
    "asr.0": ("asr", 8),
    "llm.0": ("llm", 4),
    "tts.0": ("tts", 64),
    "lipsync.0": ("lipsync", 1024),
    "encode.0": ("encode", 32),
    "encode.1": ("encode", 32),
    "prepare.0": ("prepare", 1),
}
EPOCH = 1
CROPS = bytes(4096)
"""Not whole crops: the cost of copying pixels is not the broker's relay."""
SEGMENT = bytes(24_000)
INIT = bytes(1_100)


def answer(item: Item) -> Iterator[tuple[Output, list[bytes]]]:
    """What a stage would send for this item."""
    common = {"src": "", "ep": EPOCH, "id": item.id, "attempt": item.attempt, "index": 0}
    if isinstance(item, AudioItem):
        samples = item.out_to - item.out_from
        yield TtsChunk(**common, at=item.out_from, peak=0.5), [bytes(2 * samples)]
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


def main() -> None:
    """Serve until standard input closes."""
    ends = Endpoints(sys.argv[1])
    factory = SocketFactory(zmq.Context())
    ingress = factory.push_connect(ends.ingress, hwm=1000)
    poller = zmq.Poller()
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    owners = {}
    for instance in INSTANCES:
        for endpoint in (ends.work(instance, EPOCH), ends.orders(instance, EPOCH)):
            socket = factory.pull_connect(endpoint)
            owners[socket] = instance
            poller.register(socket, zmq.POLLIN)
    broker = 0
    sent: dict[tuple[str, str], float] = {}
    relays: list[tuple[float, float]] = []
    while True:
        for socket, _ in poller.poll():
            if socket not in owners:
                print(json.dumps(relays))
                return
            instance = owners[socket]
            message, _buffers = unpack(socket.recv_multipart())
            if isinstance(message, Greeting):
                broker = message.broker
                stage, credit = INSTANCES[instance]
                who = {"src": instance, "ep": EPOCH, "broker": broker, "stage": stage}
                ingress.send_multipart(pack(Hello(**who, pid=0, ready=True)))
                ingress.send_multipart(
                    pack(Ready(**who, engine="stand-in", device="cpu", credit=credit, load_s=0.0))
                )
            elif isinstance(message, Item):
                segment = (message.sid, message.id.rsplit("/", 1)[1])
                if isinstance(message, EncodeItem):
                    now = time.perf_counter()
                    relays.append((now, (now - sent.pop(segment)) * 1000))
                for output, buffers in answer(message):
                    output.src, output.broker = instance, broker
                    ingress.send_multipart(pack(output, buffers))
                done = Done(src=instance, ep=EPOCH, broker=broker, id=message.id, attempt=message.attempt)
                ingress.send_multipart(pack(done))
                if isinstance(message, LipsyncItem):
                    sent[segment] = time.perf_counter()


if __name__ == "__main__":
    main()
