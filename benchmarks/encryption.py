"""What CURVE costs who sends: CPU time of all threads of a process per message to one subscriber.

``python -m benchmarks.encryption [--messages N]``. The subscriber is a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import zmq

from benchmarks.machine import describe

SIZES = (100_000, 300)
BATCH = 50
"""Between two acknowledgements: what is queued is neither dropped nor large."""
Pair = tuple[bytes, bytes]


def receive(stream: str, acks: str, server: bytes | None, keys: Pair) -> None:
    """A subscriber that tells of each batch that is whole."""
    with zmq.Context() as context, context.socket(zmq.SUB) as sub, context.socket(zmq.PUSH) as push:
        if server is not None:
            sub.curve_serverkey, (sub.curve_publickey, sub.curve_secretkey) = server, keys
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        sub.connect(stream)
        push.connect(acks)
        count = 0
        while sub.recv_multipart()[0] != b"end":
            count += 1
            if count % BATCH == 0:
                push.send(b"")


def measure(size: int, messages: int, *, curve: bool) -> float:
    """CPU microseconds of this process per message."""
    server, client = zmq.curve_keypair(), zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.XPUB) as pub, context.socket(zmq.PULL) as pull:
        if curve:
            pub.curve_server, pub.curve_secretkey = True, server[1]
        stream, acks = (f"tcp://127.0.0.1:{s.bind_to_random_port('tcp://127.0.0.1')}" for s in (pub, pull))
        peer = multiprocessing.get_context("spawn").Process(
            target=receive, args=(stream, acks, server[0] if curve else None, client), daemon=True
        )
        peer.start()
        pub.recv()  # it has subscribed
        payload, begun = bytes(size), time.process_time()
        for _ in range(messages // BATCH):
            for _ in range(BATCH):
                pub.send_multipart([b"seg.s.", b"h" * 200, payload], copy=False)
            pull.recv()
        spent = time.process_time() - begun
        pub.send(b"end")
        peer.join()
    return spent * 1e6 / (messages // BATCH * BATCH)


def main() -> None:
    """Print a line for each size; three runs in turn, the middle one counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=3000)
    messages = parser.parse_args().messages
    print(describe())
    for size in SIZES:
        runs = [(measure(size, messages, curve=False), measure(size, messages, curve=True)) for _ in range(3)]
        plain, keys = (sorted(column)[1] for column in zip(*runs, strict=True))
        print(f"{size:7} bytes: {plain:6.1f} CPU-us without keys, {keys:6.1f} with, {keys - plain:6.1f} more")


if __name__ == "__main__":
    main()
