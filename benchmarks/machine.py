"""The line that goes with every number: which machine, how busy, when."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path


def cpu_model() -> str:
    """The CPU's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> str:
    """One line: CPU model, usable cores, load average over 1 and 5 minutes, Python, date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    one, five, _ = os.getloadavg()
    date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
    return (
        f"{cpu_model()}, {cores} cores, load {one:.2f} (1 min) {five:.2f} (5 min), "
        f"Python {platform.python_version()}, {date}"
    )


if __name__ == "__main__":
    print(describe())
