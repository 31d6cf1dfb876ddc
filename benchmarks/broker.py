"""The broker alone: what relaying an item adds, and what a step of the ledger costs.

Relay: the real broker process, with stand-ins that answer every item at once (``_stand_ins.py``). Offline
sessions say long texts, whose sentences the stand-in for tts answers at a fixed rate; each is one segment by way
of three items (tts, lipsync, encode). Relay latency is from a stand-in beginning to send a segment's crops to
another having received its encode item. Both are in one process, whose own queue is in it; so is the time until
that process gets a processor. What the broker adds is the difference to a message that leaves at the same moment
and comes back to that process without a broker. The whole way, from speech sent to segment received, is six
messages.

The load and the broker share the machine: with two cores and CPU of everything else near 0, this is as quiet as it
gets; where that figure is higher, run it again.

Ledger: CPU time in this process for submit, dispatch, output and done of an item.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import zmq

from benchmarks._common import cpu_s, machine_busy_s, percentile, report
from benchmarks._stand_ins import EPOCH, INSTANCES
from broker.ipc.messages import Item, Output, TtsChunk, TtsItem, Up
from broker.ipc.sockets import Endpoints, SocketFactory
from broker.ipc.wire import pack
from broker.workers.ledger.ledger import Ledger
from clients.client import Client, RequestError
from clients.follower import Subscription
from configs.load import load, resolve, write_resolved
from tests.support.processes import descendants, free_ports

ITEMS_PER_SEGMENT = 3
SESSIONS = 16
SEGMENT_MS = 320
SENTENCE = "This is one short sentence. "
WARM_UP_S = 2.0
ADDED_P99_MS = 2.0
STEP_US = 5.0
STEPS_PER_ITEM = 4
NICE = 10
"""Of all but the broker, as the stages that make segments have in the daemon (design 2)."""
START_TIMEOUT_S = 20.0
LAST_S = 0.5
"""For the last segments to arrive."""


class _Job:
    """The least a job can be."""

    media_ms = 320

    def build(self) -> tuple[Item, Sequence[Any]]:
        return TtsItem(sid="s", turn=1, text=""), []

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
def broker_alone(segments_per_s: float) -> Iterator[tuple[Client, int, subprocess.Popen[bytes]]]:
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
                    f"timeline.max_segment_ms={SEGMENT_MS}",
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
        os.nice(NICE)  # inherited by the stand-ins
        for instance, (stage, _) in INSTANCES.items():
            members.send_multipart(pack(Up(instance=instance, epoch=EPOCH, stage=stage)))
        stand_ins = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._stand_ins", directory, str(segments_per_s)],
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
    text = SENTENCE * int((seconds + 2 * WARM_UP_S) * segments_per_s / SESSIONS)
    arrived: dict[tuple[str, int], float] = {}
    with broker_alone(segments_per_s) as (client, pid, stand_ins):
        subscription = client.subscribe("seg.")
        names = [f"bench-{n}" for n in range(SESSIONS)]
        for name in names:
            client.request("start_session", session_id=name, mode="offline")
        for name in names:
            client.request("say", session_id=name, text=text)
        begin = time.monotonic() + WARM_UP_S
        _listen(subscription, begin, arrived)
        before = cpu_s(pid), machine_busy_s(), _own_s()
        _listen(subscription, begin + seconds, arrived)
        used, busy, own = cpu_s(pid) - before[0], machine_busy_s() - before[1], _own_s() - before[2]
        _listen(subscription, begin + seconds + LAST_S, arrived)
        for name in names:
            with contextlib.suppress(RequestError):
                client.request("end_session", session_id=name, drain=False)
        noted = json.loads(stand_ins.communicate()[0])
    taken = [(relay, hop) for at, relay, hop in noted["relays"] if begin <= at < begin + seconds]
    relays, hops = [relay for relay, _ in taken], [hop for _, hop in taken]
    added = [relay - hop for relay, hop in taken]
    # The look-ahead: a segment is complete with the piece after it.
    spoken = {(sid, n - 1): at for sid, times in noted["speech"].items() for n, at in enumerate(times)}
    asked = [key for key, at in spoken.items() if begin <= at < begin + seconds]
    trips = [(arrived[key] - spoken[key]) * 1000 for key in asked if key in arrived]
    return {
        "items_per_s": ITEMS_PER_SEGMENT * len(relays) / seconds,
        "segments": len(asked),
        "dropped": len(asked) - len(trips),
        "starved": noted["starved"],
        "chain_p50_ms": percentile(trips, 0.5),
        "chain_p99_ms": percentile(trips, 0.99),
        "relay_p50_ms": percentile(relays, 0.5),
        "relay_p99_ms": percentile(relays, 0.99),
        "hop_p50_ms": percentile(hops, 0.5),
        "hop_p99_ms": percentile(hops, 0.99),
        "added_p50_ms": percentile(added, 0.5),
        "added_p99_ms": percentile(added, 0.99),
        "broker_cpu_percent": 100 * used / seconds,
        "broker_us_per_item": 1e6 * used / (seconds * items_per_s),
        "own_cpu_percent": 100 * own / seconds,
        "others_cpu_percent": max(0.0, 100 * (busy - own) / seconds),
    }


def _listen(subscription: Subscription, until: float, arrived: dict[tuple[str, int], float]) -> None:
    while (left := until - time.monotonic()) > 0:
        message = subscription.receive(left)
        if message is not None and message.header["kind"] == "media":
            arrived[message.header["sid"], message.header["seq"]] = time.monotonic()


def _own_s() -> float:
    return sum(cpu_s(pid) for pid in {os.getpid()} | descendants(os.getpid()))


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
        (f"relay at {found['items_per_s']:.0f} items/s, p50", f"{found['relay_p50_ms']:.2f} ms", ""),
        ("... p99", f"{found['relay_p99_ms']:.2f} ms", ""),
        ("the same way without a broker, p50", f"{found['hop_p50_ms']:.2f} ms", ""),
        ("... p99", f"{found['hop_p99_ms']:.2f} ms", ""),
        ("what the broker adds, p50", f"{found['added_p50_ms']:.2f} ms", ""),
        ("... p99", f"{found['added_p99_ms']:.2f} ms", f"{ADDED_P99_MS:.0f} ms on a quiet machine"),
        ("speech in to segment out, p50", f"{found['chain_p50_ms']:.2f} ms", ""),
        ("... p99", f"{found['chain_p99_ms']:.2f} ms", ""),
        ("dropped: this client's queue was full", f"{found['dropped']} of {found['segments']}", ""),
        ("CPU of the broker meanwhile", f"{found['broker_cpu_percent']:.0f} %", ""),
        ("... per item", f"{found['broker_us_per_item']:.0f} us", ""),
        ("CPU of broker, stand-ins and client", f"{found['own_cpu_percent']:.0f} %", ""),
        ("CPU of everything else on the machine", f"{found['others_cpu_percent']:.0f} %", "0: quiet"),
        ("one step of the ledger, CPU", f"{step:.2f} us", f"{STEP_US:.0f} us"),
    ]
    report({key: round(value, 3) for key, value in (found | {"ledger_step_us": step}).items()}, rows, options.json)
    return 0 if found["added_p99_ms"] <= ADDED_P99_MS and step <= STEP_US else 1


if __name__ == "__main__":
    sys.exit(main())
