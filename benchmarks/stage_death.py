"""What a stage's death costs: how long no media comes, when a hang is found, and what other sessions see of it.

``python -m benchmarks.stage_death [--rounds N]``, with a daemon of its own and embedded engines. Three tables:

- SIGKILL of a stage while an offline session speaks, which has no lead to live on: the longest time without a
  segment from the kill to the end of the turn.
- SIGSTOP of a stage: until its successor is started.
- SIGKILL of one of two encode processes while two realtime sessions speak: by how much a segment comes later after
  the one before than that one lasts, at worst, beside the same before the kill.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from typing import Any

from benchmarks._common import percentile
from benchmarks.broker_death import rows
from benchmarks.machine import describe
from clients.cli.private import private_daemon
from clients.client import Client, new_session_id
from clients.follower import Subscription
from configs.load import load

TEXT = "Somebody speaks, and something breaks meanwhile. Nobody hears it. "
STAGES = ("tts.0", "lipsync.0", "encode.0")
BEFORE = 3
"""Segments before the kill."""
WATCHED_S = 4.0
LIMIT_S = 120.0
AGAIN_S, FOUND_S, EXTRA_S = 1.5, 1.0, 0.080
SETTINGS = ["supervisor.intensity=1000", "supervisor.backoff_s=[0]", "log.level=error"]


def row(client: Client, instance: str) -> dict[str, Any]:
    return next(one for one in rows(client) if one["instance"] == instance)


def warm(client: Client, instance: str, epoch: int = 0) -> dict[str, Any]:
    """Its row, once a process later than ``epoch`` is ready."""
    deadline = time.monotonic() + LIMIT_S
    while (found := row(client, instance))["epoch"] <= epoch or found["state"] not in ("idle", "busy"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{instance} is not ready: {found}")
        time.sleep(0.05)
    return found


class Speaking:
    """A session that speaks one long turn; it ends with the block."""

    def __init__(self, client: Client, mode: str, sentences: int) -> None:
        self._client, self.sid = client, new_session_id()
        self._stream: Subscription = client.subscribe(f"seg.{self.sid}.", f"evt.{self.sid}.")
        client.request("start_session", session_id=self.sid, mode=mode)
        client.request("say", session_id=self.sid, text=TEXT * sentences)
        self.came: list[tuple[float, float]] = []
        """When each segment came and how long it lasts, in seconds."""

    def __enter__(self) -> Speaking:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._client.request("end_session", session_id=self.sid, drain=False)

    def hear(self, timeout_s: float) -> bool:
        """One message; False when the turn has ended, or nothing came."""
        message = self._stream.receive(timeout_s)
        if message is None:
            return False
        if message.topic.startswith("seg.") and message.header["kind"] == "media":
            self.came.append((time.monotonic(), message.header["dur"] / 1e6))
        if message.header.get("event") == "turn.failed":
            raise RuntimeError(f"the turn failed: {message.header}")
        return message.header.get("event") != "turn.ended"

    def extra_s(self, since: float, until: float) -> float:
        """By how much a segment came later than its predecessor lasts, at worst."""
        pairs = itertools.pairwise(self.came)
        late = [b - a - dur for (a, dur), (b, _) in pairs if since <= b < until]
        return max(late, default=0.0)


def away_s(client: Client, instance: str) -> float:
    """Without a segment, after its process was killed in the middle of a turn."""
    pid = warm(client, instance)["pid"]
    with Speaking(client, "offline", 8) as session:
        while len(session.came) < BEFORE:
            session.hear(LIMIT_S)
        os.kill(pid, signal.SIGKILL)
        moments = [time.monotonic()]
        while session.hear(LIMIT_S):
            pass
        moments += [at for at, _ in session.came if at > moments[0]]
    return max(b - a for a, b in itertools.pairwise(moments))


def found_s(client: Client, instance: str) -> float:
    """From the moment that its process stood still to its successor's start."""
    before = warm(client, instance)
    os.kill(before["pid"], signal.SIGSTOP)
    frozen = time.monotonic()
    while row(client, instance)["epoch"] == before["epoch"]:
        if time.monotonic() - frozen > LIMIT_S:
            raise TimeoutError(f"{instance} is not replaced")
        time.sleep(0.05)
    return time.monotonic() - frozen


def extra_s(client: Client) -> tuple[float, float]:
    """Before one of two encode processes is killed, and afterwards."""
    pid = warm(client, "encode.0")["pid"]
    warm(client, "encode.1")
    with Speaking(client, "realtime", 8) as one, Speaking(client, "realtime", 8) as two:
        while min(len(one.came), len(two.came)) < BEFORE:
            for session in (one, two):
                session.hear(0.005)
        moments = [time.monotonic() + WATCHED_S * n for n in range(3)]
        killed = False
        while (now := time.monotonic()) < moments[2]:
            if now >= moments[1] and not killed:
                os.kill(pid, signal.SIGKILL)
                killed = True
            for session in (one, two):
                session.hear(0.005)
        quiet, after = (max(s.extra_s(a, b) for s in (one, two)) for a, b in itertools.pairwise(moments))
    return quiet, after


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(describe())
    supervisor = load(None, SETTINGS).supervisor
    limit_s = supervisor.beat_s * supervisor.beats_missed
    missed = False
    with private_daemon(None, SETTINGS) as client:
        for instance in STAGES:
            away = [away_s(client, instance) for _ in range(rounds)]
            missed |= percentile(away, 0.95) > AGAIN_S
            told = f"p50 {percentile(away, 0.5):.2f} s, p95 {percentile(away, 0.95):.2f} s (bound {AGAIN_S:g})"
            print(f"{instance:10} killed: no segment for {told}")
        for instance in STAGES:
            found = found_s(client, instance)
            missed |= found > limit_s + FOUND_S
            print(f"{instance:10} frozen: replaced after {found:.2f} s (limit {limit_s:g} s, bound 1 s more)")
        extras = [extra_s(client) for _ in range(rounds)]
        worst = max(max(0.0, after) - max(0.0, quiet) for quiet, after in extras)
        missed |= worst > EXTRA_S
        quiet, later = (1000 * max(pair[n] for pair in extras) for n in range(2))
        print("one of two encode processes killed, two sessions: a segment is waited for after the one before")
        print(f"for {later:.0f} ms at worst, {quiet:.0f} before; in one round {1000 * worst:.0f} more (bound 80)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
