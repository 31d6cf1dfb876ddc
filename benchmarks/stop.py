"""How long a daemon takes to be gone: its supervisor killed, asked in order, and asked while all are deaf to it.

``python -m benchmarks.stop [--rounds N]``, with daemons of its own and embedded engines, each in the middle of a
turn. Told is when the last process of the daemon has ended, which the kernel says by itself (``pidfd``).
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks._common import percentile
from benchmarks.broker_death import rows
from benchmarks.machine import describe
from benchmarks.stage_death import BEFORE, LIMIT_S, SETTINGS, Speaking
from clients.cli.private import private_daemon
from clients.client import Client
from configs.load import load
from tests.support.processes import is_deaf, wait_until

KILLED_S, DEAF_S = 3.0, 3.0
"""After the supervisor's death, and beyond ``supervisor.stop_s`` where nobody hears the first signal."""
DEAF = signal.SIGUSR2
STAGES = ("asr", "llm", "tts", "lipsync", "encode", "prepare")
ARMED = ",".join(["broker:published:1:deaf", *(f"{stage}:{DEAF.name}:1:deaf" for stage in STAGES)])


def pids(client: Client) -> dict[str, int]:
    """Every process, the supervisor among them."""
    found = {one["instance"]: one["pid"] for one in rows(client) if one["pid"]}
    return {**found, "supervisor": client.request("status")["supervisor_pid"]}


def gone_s(family: dict[str, int], act: Callable[[], None]) -> float:
    """From ``act`` to the end of the last process."""
    waiting = {os.pidfd_open(pid): instance for instance, pid in family.items()}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    act()
    began = time.monotonic()
    try:
        while waiting:
            ended = poll.poll(1000 * max(0.0, LIMIT_S - (time.monotonic() - began)))
            if not ended:
                raise TimeoutError(f"still there after {LIMIT_S:g} s: {', '.join(waiting.values())}")
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                del waiting[descriptor]
                os.close(descriptor)
        return time.monotonic() - began
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def deafen(family: dict[str, int]) -> None:
    """Have every stage ignore SIGTERM, as the broker does once it has published; the kernel says when they do."""
    for instance, pid in family.items():
        if instance == "supervisor":
            continue
        if instance != "broker":
            os.kill(pid, DEAF)
        wait_until(partial(is_deaf, pid), LIMIT_S, f"{instance} to be deaf")


def once(signal_: signal.Signals, *, deaf: bool) -> float:
    """One daemon from its start to its end."""
    with private_daemon(None, SETTINGS) as client:
        family = pids(client)
        session = Speaking(client, "realtime", 8)
        while len(session.came) < BEFORE:
            session.hear(LIMIT_S)
        if deaf:
            deafen(family)
        return gone_s(family, lambda: os.kill(family["supervisor"], signal_))


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(describe())
    stop_s = load(None, SETTINGS).supervisor.stop_s
    missed = False
    for told, signal_, deaf, bound_s in (
        ("supervisor killed", signal.SIGKILL, False, KILLED_S),
        ("asked to stop", signal.SIGTERM, False, stop_s),
        ("asked, all deaf", signal.SIGTERM, True, stop_s + DEAF_S),
    ):
        if deaf:
            os.environ["MUSECAST_FAULT"] = ARMED
        took = [once(signal_, deaf=deaf) for _ in range(rounds)]
        missed |= max(took) > bound_s
        middle = percentile(took, 0.5)
        print(f"{told:18} all gone after {middle:.2f} s, at most {max(took):.2f} (bound {bound_s:g})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
