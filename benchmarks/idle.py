"""A daemon with nothing to do: CPU of the whole process tree, and the memory of each process; then the same with
sessions that show idle video (``idle: loop``), after each has shown its whole loop once.

``--seconds 600`` is ten minutes of either.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks._common import cpu_s, memory_mb, report
from clients.cli.private import private_daemon
from clients.client import Client
from clients.follower import Subscription
from tests.support.processes import descendants

SETTLE_S = 5.0
"""After start: the last warm-up and the first memory trims are over."""
CPU_PERCENT = 2.0
SESSIONS = 4
"""Showing idle video at once: one alone is close to what can be told apart."""
LOOP_PERCENT = 1.0
LOOP_SEGMENTS = 31
"""Of the built-in template: 248 frames."""
FIRST_LOOP_S = 60.0
KEEP_S = 120.0


def tree_s(root: int) -> dict[int, float]:
    """CPU time so far of the daemon's processes, by pid."""
    return {pid: cpu_s(pid) for pid in {root} | descendants(root)}


def watch(stream: Subscription, seconds: float, segments: int | None = None) -> int:
    """Receive for so long, or until so many media segments have come; returns how many did."""
    seen, until = 0, time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and (segments is None or seen < segments):
        message = stream.receive(left)
        seen += message is not None and message.header["kind"] == "media"
    return seen


def loop_percent(client: Client, seconds: float) -> tuple[float, int]:
    """CPU of the whole daemon with ``SESSIONS`` sessions of idle video, and the segments they got meanwhile."""
    stream = client.subscribe("seg.idle-")
    for n in range(SESSIONS):
        client.request("start_session", session_id=f"idle-{n}", idle="loop")
    wanted = SESSIONS * LOOP_SEGMENTS
    if watch(stream, FIRST_LOOP_S, wanted) < wanted:
        raise SystemExit(f"idle video did not go once around within {FIRST_LOOP_S:g} s")
    root = client.request("status")["supervisor_pid"]
    before, began = tree_s(root), time.monotonic()
    seen = 0
    while (left := began + seconds - time.monotonic()) > 0:
        seen += watch(stream, min(left, KEEP_S))
        for n in range(SESSIONS):  # a session that nobody asks for ends after ten minutes
            client.request("events", session_id=f"idle-{n}", from_n=0, max=1)
    # A process on demand may have ended meanwhile; what it used is gone with it.
    used = sum(now - before.get(pid, 0.0) for pid, now in tree_s(root).items())
    return 100 * used / (time.monotonic() - began), seen


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with private_daemon(None, []) as client:
        client.request("initialize")
        time.sleep(SETTLE_S)
        status = client.request("status")
        names = {row["pid"]: row["instance"] for row in status["stages"] if row["pid"]}
        before = tree_s(status["supervisor_pid"])
        began = time.monotonic()
        time.sleep(options.seconds)
        after, elapsed = tree_s(status["supervisor_pid"]), time.monotonic() - began
        pids = [pid for pid in before if pid in after]  # prepare ends when nobody has asked for it in a while
        percent = {pid: 100 * (after[pid] - before[pid]) / elapsed for pid in pids}
        memory = {pid: memory_mb(pid) for pid in pids}
        looping, segments = loop_percent(client, options.seconds)
    total = sum(percent.values())
    per_session = (looping - total) / SESSIONS
    sums = {kind: sum(one[kind] for one in memory.values()) for kind in ("rss", "pss", "private")}
    found = {
        "cpu_percent": round(total, 2),
        "loop_cpu_percent_per_session": round(per_session, 2),
        "loop_segments": segments,
        "processes": {
            names.get(pid, "supervisor"): {
                "cpu_percent": round(percent[pid], 2),
                **{kind: round(value, 1) for kind, value in memory[pid].items()},
            }
            for pid in pids
        },
        "memory_mb": {kind: round(value, 1) for kind, value in sums.items()},
    }
    if not options.json:
        print(f"  {'process':<12} {'CPU %':>6} {'RSS MB':>8} {'PSS MB':>8} {'private MB':>11}")
        for name, one in sorted(found["processes"].items()):  # type: ignore[attr-defined]
            print(
                f"  {name:<12} {one['cpu_percent']:>6.2f} {one['rss']:>8.1f} {one['pss']:>8.1f} "
                f"{one['private']:>11.1f}"
            )
        print(f"  {'all':<12} {total:>6.2f} {sums['rss']:>8.1f} {sums['pss']:>8.1f} {sums['private']:>11.1f}")
    rows = [
        ("idle CPU, of one core", f"{total:.2f} %", f"{CPU_PERCENT:.0f} %"),
        (f"a session of idle video beside that (of {SESSIONS})", f"{per_session:.2f} %", f"{LOOP_PERCENT:.0f} %"),
        (f"... segments in {options.seconds:g} s", str(segments), ""),
    ]
    report(found, rows, options.json)
    return 0 if total <= CPU_PERCENT and per_session <= LOOP_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
