"""How long sessions are away when the broker is killed: from SIGKILL to the first answer about one of them.

``python -m benchmarks.broker_death [--rounds N]``, with a daemon of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from typing import Any

import msgpack
import zmq

from benchmarks.machine import describe
from clients.cli.private import private_daemon
from clients.client import Client, new_session_id

ASK_MS = 50
"""Between two looks whether somebody answers."""
LIMIT_S = 60.0
PROMISE_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    print(describe())
    away: list[float] = []
    settings = ["supervisor.intensity=1000", "supervisor.backoff_s=[0]", "log.level=error"]
    with private_daemon(None, settings) as client:
        sid = new_session_id()
        client.request("start_session", session_id=sid, mode="offline")
        for _ in range(rounds):
            pid = next(r["pid"] for r in rows(client) if r["stage"] == "broker")
            os.kill(pid, signal.SIGKILL)
            away.append(answered(client.control, sid, time.monotonic()))
    told = f"{'within' if max(away) <= PROMISE_S else 'BEYOND'} {PROMISE_S:g} s"
    print(f"sessions are away for {statistics.median(away):.2f} s (median of {rounds})")
    print(f"at most {max(away):.2f} s: {told}")


def rows(client: Client) -> list[dict[str, Any]]:
    """``stages`` of ``status``, once the broker has heard of the supervisor."""
    while not (found := client.request("status")["stages"]):
        pass
    return list(found)


def answered(control: str, sid: str, died: float) -> float:
    """Seconds until somebody answers for the session."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    request = msgpack.packb({"v": 1, "id": 1, "op": "segments", "session_id": sid, "from_seq": 0})
    while time.monotonic() - died < LIMIT_S:
        with context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(control)
            dealer.send(request)
            if dealer.poll(ASK_MS):
                assert msgpack.unpackb(dealer.recv())["ok"]
                return time.monotonic() - died
    raise TimeoutError(f"nobody answers for {LIMIT_S:g} s")


if __name__ == "__main__":
    main()
