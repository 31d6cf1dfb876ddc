"""The broker alone: what relaying an item adds, and what a step of the ledger costs.

Relay: the real broker process, with stand-ins that answer every item at once (``_stand_ins.py``). Offline
sessions send pieces of audio at a fixed rate, each of which becomes one segment by way of three items (tts,
lipsync, encode). Relay latency is from a stand-in having sent a segment's crops to another having received its
encode item. The whole way, from sending a piece to receiving its segment on the stream, is seven messages, two of
them the client's.

Ledger: CPU time in this process for submit, dispatch, output and done of an item.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import zmq

from benchmarks._common import cpu_s, percentile, report
from benchmarks._stand_ins import EPOCH, INSTANCES
from broker.ledger.ledger import Ledger
from broker.messages import Item, Output, TtsChunk, TtsItem, Up
from broker.sockets import Endpoints, SocketFactory
from broker.wire import pack
from clients.cli.private import free_ports
from clients.client import Client, RequestError
from configs.load import load, resolve, write_resolved

ITEMS_PER_SEGMENT = 3
SESSIONS = 16
PIECE_MS = 320
RATE_HZ = 16_000
HEAD_MS = 100
"""Look-ahead and the resampler's reach: by this the first piece is longer, so that each completes one segment."""
WARM_UP_S = 2.0
RELAY_P99_MS = 2.0
STEP_US = 5.0
STEPS_PER_ITEM = 4
START_TIMEOUT_S = 20.0
LAST_TIMEOUT_S = 3.0


class _Job:
    """The least a job can be."""

    media_ms = 320

    def build(self, item_id: str, attempt: int) -> tuple[Item, Sequence[Any]]:
        return TtsItem(id=item_id, attempt=attempt, broker=1, sid="s", turn=1, text=""), []

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """Nothing to keep."""

    def done(self) -> None:
        """Nothing to do."""

    def failed(self, code: str, message: str) -> None:
        """Cannot happen here."""


def ledger_step_us(items: int = 50_000, waiting: int = 64) -> float:
    """CPU microseconds per step, with ``waiting`` items in the ledger at any time."""
    ledger, job = Ledger(), _Job()
    for instance in ("tts.0", "tts.1"):
        ledger.up(instance, 1, "tts")
        ledger.ready(instance, 1, waiting)
    began = time.process_time()
    for first in range(0, items, waiting):
        for n in range(first, first + waiting):
            ledger.submit(f"s/1/tts/{n}", "tts", job, priority=n)
        for worker, entry in list(ledger.dispatch(first)):
            chunk = TtsChunk(src=worker.instance, ep=1, id=entry.id, attempt=entry.attempt, index=0, at=0)
            ledger.output(chunk)
            ledger.done(worker.instance, 1, entry.id, entry.attempt)
    return (time.process_time() - began) * 1e6 / items / STEPS_PER_ITEM


@contextlib.contextmanager
def broker_alone() -> Iterator[tuple[Client, int, subprocess.Popen[bytes]]]:
    """A real broker; yields a client of it, the broker's pid, and the process of the stand-ins."""
    control, stream = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="mc-") as directory, contextlib.ExitStack() as stack:
        config = resolve(
            load(
                None,
                [
                    f"runtime_dir={directory}",
                    f"state_dir={directory}",
                    f"endpoints.control=tcp://127.0.0.1:{control}",
                    f"endpoints.stream=tcp://127.0.0.1:{stream}",
                    f"timeline.max_segment_ms={PIECE_MS}",
                    "log.level=warning",
                ],
            )
        )
        path = write_resolved(config)
        ends = Endpoints(directory)
        context = stack.enter_context(zmq.Context())
        factory = SocketFactory(context)
        stack.callback(context.destroy, linger=0)
        factory.pull_bind(ends.health, hwm=1000)
        members = factory.push_connect(ends.members)
        broker = subprocess.Popen(
            [sys.executable, "-m", "broker", "--config", path, "--boot", "bench", "--epoch", "1"]
        )
        stack.callback(broker.wait)
        stack.callback(broker.terminate)
        for instance, (stage, _) in INSTANCES.items():
            members.send_multipart(pack(Up(instance=instance, epoch=EPOCH, stage=stage)))
        stand_ins = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._stand_ins", directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.callback(stand_ins.wait)
        stack.callback(stand_ins.terminate)
        client = stack.enter_context(Client(f"tcp://127.0.0.1:{control}", f"tcp://127.0.0.1:{stream}"))
        client.request("initialize", timeout_s=START_TIMEOUT_S)
        yield client, broker.pid, stand_ins


def relay(items_per_s: int, seconds: float) -> dict[str, float]:
    """Latencies in ms, and the broker's CPU."""
    segments_per_s = items_per_s / ITEMS_PER_SEGMENT
    with broker_alone() as (client, pid, stand_ins):
        subscription = client.subscribe("seg.")
        names = [f"bench-{n}" for n in range(SESSIONS)]
        for name in names:
            client.request("start_session", session_id=name, mode="offline")
        sent: dict[tuple[str, int], float] = {}
        trips: list[float] = []
        total = int((seconds + WARM_UP_S) * segments_per_s)
        begin = time.perf_counter()
        measured_from = begin + WARM_UP_S
        cpu_from = 0.0
        replies: list[int] = []
        for n in range(total):
            due = begin + n / segments_per_s
            while (left := due - time.perf_counter()) > 0:
                _take(subscription.receive(left), sent, trips, measured_from)
            if not cpu_from and due >= measured_from:
                cpu_from = cpu_s(pid)
            name, index = names[n % SESSIONS], n // SESSIONS
            length = PIECE_MS + (HEAD_MS if index == 0 else 0)
            sent[name, index] = time.perf_counter()
            replies.append(
                client.send(
                    "process_segment",
                    session_id=name,
                    audio=bytes(2 * RATE_HZ * length // 1000),
                    format="s16le",
                    sample_rate=RATE_HZ,
                )
            )
            while len(replies) > SESSIONS:
                client.receive(replies.pop(0))
        deadline = time.perf_counter() + LAST_TIMEOUT_S
        used = cpu_s(pid) - cpu_from
        while sent and time.perf_counter() < deadline:
            _take(subscription.receive(0.5), sent, trips, measured_from)
        for name in names:
            with contextlib.suppress(RequestError):
                client.request("end_session", session_id=name, drain=False)
        relays = [ms for at, ms in json.loads(stand_ins.communicate()[0]) if at >= measured_from]
    return {
        "items_per_s": items_per_s,
        "segments": len(trips),
        "dropped": len(sent),
        "chain_p50_ms": percentile(trips, 0.5),
        "chain_p99_ms": percentile(trips, 0.99),
        "relay_p50_ms": percentile(relays, 0.5),
        "relay_p99_ms": percentile(relays, 0.99),
        "broker_cpu_percent": 100 * used / seconds,
        "broker_us_per_item": 1e6 * used / (seconds * items_per_s),
    }


def _take(message: Any, sent: dict[tuple[str, int], float], trips: list[float], measured_from: float) -> None:
    if message is None or message.header["kind"] != "media":
        return
    # The turns are closed after the measurement, each with one more segment.
    began = sent.pop((message.header["sid"], message.header["seq"]), 0.0)
    if began >= measured_from:
        trips.append((time.perf_counter() - began) * 1000)


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2000, help="items per second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    step = ledger_step_us()
    found = relay(options.rate, options.seconds)
    rows = [
        (f"relay at {options.rate} items/s, p50", f"{found['relay_p50_ms']:.2f} ms", ""),
        ("... p99", f"{found['relay_p99_ms']:.2f} ms", f"{RELAY_P99_MS:.0f} ms on a quiet machine"),
        ("audio in to segment out, p50", f"{found['chain_p50_ms']:.2f} ms", ""),
        ("... p99", f"{found['chain_p99_ms']:.2f} ms", ""),
        ("dropped: this client's queue was full", f"{found['dropped']} of {found['segments']}", ""),
        ("CPU of the broker meanwhile", f"{found['broker_cpu_percent']:.0f} %", ""),
        ("... per item", f"{found['broker_us_per_item']:.0f} us", ""),
        ("one step of the ledger, CPU", f"{step:.2f} us", f"{STEP_US:.0f} us"),
    ]
    report({key: round(value, 3) for key, value in (found | {"ledger_step_us": step}).items()}, rows, options.json)
    return 0 if found["relay_p99_ms"] <= RELAY_P99_MS and step <= STEP_US else 1


if __name__ == "__main__":
    sys.exit(main())
