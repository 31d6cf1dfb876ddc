"""What the benchmarks of a running daemon share: percentiles, process trees, output."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of all lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def machine_busy_s() -> float:
    """CPU time that all processors together have spent on anything, stolen time included."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * TICK_S


def memory_mb(pid: int) -> dict[str, float]:
    """``rss``, ``pss`` (shared pages divided among their users) and ``private`` in MB (10^6 bytes)."""
    sizes = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) * 1024
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"rss": sizes["Rss"] / 1e6, "pss": sizes["Pss"] / 1e6, "private": private / 1e6}


def report(found: dict[str, Any], rows: Sequence[tuple[str, str, str]], as_json: bool) -> None:
    """Print either one JSON line or a table of (what, value, bound), and the machine."""
    if as_json:
        print(json.dumps({"machine": describe(), **found}))
        return
    width = max(len(what) for what, _, _ in rows)
    for what, value, bound in rows:
        print(f"  {what:<{width}}  {value:>12}" + (f"   (bound {bound})" if bound else ""))
    print(describe())
