"""What it costs that sessions outlive the broker: the journal against rings in memory.

One keeps references; the other is the journal's own without files, which a session beyond ``journal.max_bytes``
has. The first time round every page that is written to is a new one, and the kernel's work for it is what costs.

``python -m benchmarks.journal [--folder DIR]``. CPU time of the thread; the p99 of a write is what the loop waits.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgpack

from benchmarks.machine import describe
from broker.journal.journal import Journal, Store
from broker.journal.state import State
from configs.schema import Ring as RingConfig

PAYLOAD_BYTES = 100_000
FIRST = 330
"""Once round the ring."""
ROUNDS = 1200
"""Three and a half times round the ring."""
CPU_LIMIT_US = 20
"""Beyond the ring in memory, per 100 kB."""
WRITE_LIMIT_US = 200
"""p99 of one write."""


class References:
    """The ring without a journal: it keeps what it is given."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: deque[tuple[int, bytes, bytes]] = deque()
        self._bytes, self._max_bytes = 0, max_bytes

    def add(self, number: int, header: bytes, payload: bytes) -> None:
        self._kept.append((number, header, payload))
        self._bytes += len(header) + len(payload)
        while self._bytes > self._max_bytes:
            _, old, dropped = self._kept.popleft()
            self._bytes -= len(old) + len(dropped)


def measure(step: Callable[[int, bytes, bytes], None], size: int, rounds: int) -> tuple[list[float], list[float]]:
    """CPU and wall microseconds: of each message from the making of its payload on, and of keeping it.

    A ring of references makes the allocator take cold memory for each payload; that is part of what it costs.
    """
    source = bytes(range(256)) * (size // 256 + 2)
    cpu, wall = [], []
    for number in range(rounds):
        begun = time.thread_time_ns()
        content = source[number & 255 : size + (number & 255)]
        header = msgpack.packb({"seq": number, "crc32": zlib.crc32(content), "sid": "s" * 22, "mime": "v" * 60})
        at = time.perf_counter_ns()
        step(number, header, content)
        wall.append((time.perf_counter_ns() - at) / 1000)
        cpu.append((time.thread_time_ns() - begun) / 1000)
    return cpu, wall


def say(what: str, cpu: list[float], wall: list[float]) -> None:
    p99 = statistics.quantiles(wall, n=100)[98]
    cpu99 = statistics.quantiles(cpu, n=100)[98]
    print(
        f"{what:48} CPU {statistics.mean(cpu):7.1f} us (p99 {cpu99:7.1f})   "
        f"wall p50 {statistics.median(wall):7.1f} us, p99 {p99:7.1f} us"
    )


def state(number: int) -> State:
    return State(number, 2, number * 640_000, 3, (number * 640_000, 10**12), number, number * 16, open=(7, 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=None, help="where the runtime_dir would be; a temporary one")
    where = parser.parse_args().folder
    print(describe())
    ring = RingConfig()
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(dir=where) as folder:
        journal = Journal(Path(folder), "boot", ring)
        store = journal.open("s", b"init", "video/mp4", b"settings")
        memory = Journal(None, "boot", ring).open("m", b"init", "video/mp4", b"settings")
        cost: dict[str, list[float]] = {}
        for what, keep in (
            ("references", References(ring.bytes_per_session).add),
            ("a ring in memory", keeper(memory)),
            ("the journal", keeper(store)),
        ):
            for name, rounds in (("first round", FIRST), ("afterwards", ROUNDS)):
                cpu, wall = measure(keep, PAYLOAD_BYTES, rounds)
                say(f"100 kB, {what}, {name}", cpu, wall)
                cost.setdefault(name, []).append(statistics.mean(cpu))
        for name, (references, in_memory, in_files) in cost.items():
            for other, us in (("references", references), ("a ring in memory", in_memory)):
                told = "within" if in_files - us <= CPU_LIMIT_US else "BEYOND"
                print(
                    f"{name}: the journal costs {in_files - us:.1f} CPU-us per 100 kB beyond {other}; "
                    f"{told} {CPU_LIMIT_US}"
                )
        worst = statistics.quantiles(wall, n=100)[98]
        told = "within" if worst <= WRITE_LIMIT_US else "BEYOND"
        print(f"p99 of a write {worst:.0f} us; {told} {WRITE_LIMIT_US}")
        others(journal, store)


def keeper(store: Store) -> Callable[[int, bytes, bytes], None]:
    count = itertools.count()

    def keep(_: int, header: bytes, payload: bytes) -> None:
        number = next(count)
        store.keep(store.media, number, header, payload)
        store.save(state(number))

    return keep


def others(journal: Journal, store: Store) -> None:
    """What is written more seldom."""

    def event(number: int, header: bytes, payload: bytes) -> None:
        store.keep(store.events, number, header + payload, b"")
        store.save(state(number))

    say("an event of 300 bytes, and the state", *measure(event, 300, ROUNDS))
    lines = [("user", "What is musecast?"), ("assistant", "A face and a voice. " * 10)] * 20
    say("history of 40 lines", *measure(lambda n, h, p: store.lines(lines), 1, 300))
    stores: list[Store] = []

    def start(number: int, header: bytes, payload: bytes) -> None:
        stores.append(journal.open(f"s{number}", b"i" * 1300, "video/mp4", b"settings"))

    say("the start of a session", *measure(start, 1, 40))
    say("the end of one", *measure(lambda n, h, p: journal.close(stores.pop()), 1, 40))
    say("the end of one whose ring is full", *measure(lambda n, h, p: journal.close(store), 1, 2))


if __name__ == "__main__":
    main()
