"""A daemon with nothing to do: CPU of the whole process tree, and the memory of each process."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks._common import cpu_s, descendants, memory_mb, report
from clients.cli.private import private_daemon

SETTLE_S = 5.0
"""After start: the last warm-up and the first memory trims are over."""
CPU_PERCENT = 2.0


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
        pids = descendants(status["supervisor_pid"])
        before = {pid: cpu_s(pid) for pid in pids}
        began = time.monotonic()
        time.sleep(options.seconds)
        elapsed = time.monotonic() - began
        percent = {pid: 100 * (cpu_s(pid) - before[pid]) / elapsed for pid in pids}
        memory = {pid: memory_mb(pid) for pid in pids}
    total = sum(percent.values())
    sums = {kind: sum(one[kind] for one in memory.values()) for kind in ("rss", "pss", "private")}
    found = {
        "cpu_percent": round(total, 2),
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
    report(found, [("idle CPU, of one core", f"{total:.2f} %", f"{CPU_PERCENT:.0f} %")], options.json)
    return 0 if total <= CPU_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
