"""Process of the delivery line: a SUB socket that notes when the frames of each stream came.

``python -m benchmarks.gpu_job.subscriber STREAM``; answers every line on its standard input with what it has noted
since the last one, and ends when that closes. Times are seconds of CLOCK_MONOTONIC, one clock for all processes.
"""

from __future__ import annotations

import json
import os
import sys
import time

import zmq

from benchmarks.gpu_job.child import adopt


def main() -> None:
    """Listen until standard input closes."""
    say = adopt()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stream = context.socket(zmq.SUB)
    stream.setsockopt(zmq.RCVHWM, 0)
    stream.setsockopt(zmq.SUBSCRIBE, b"")
    stream.bind(sys.argv[1])
    poller = zmq.Poller()
    poller.register(stream, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    say({"ready": "subscriber"})
    greeted: set[str] = set()
    arrivals: list[tuple[int, int, int, float]] = []
    payload_bytes = 0
    while True:
        ready = dict(poller.poll())
        if stream in ready:
            topic, head, *payload = stream.recv_multipart()
            now = time.monotonic()
            if topic == b"hello":
                greeted.add(head.decode())
                continue
            told = json.loads(head)
            if payload[0][4:8] != b"moof":
                raise ValueError("what came is no segment")
            payload_bytes += len(payload[0])
            arrivals.append((told["stream"], told["first"], told["frames"], now))
        elif sys.stdin.fileno() in ready:
            if not os.read(sys.stdin.fileno(), 1 << 12):
                break
            say({"greeted": sorted(greeted), "arrivals": arrivals, "bytes": payload_bytes})
            arrivals, payload_bytes = [], 0
    context.destroy(linger=0)


if __name__ == "__main__":
    main()
