"""Processes as the kernel sees them, free ports, and waiting for what has no event."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "LIMIT_S",
    "MUSECAST",
    "alive",
    "anonymous_bytes",
    "cpu_s",
    "descendants",
    "free_ports",
    "is_deaf",
    "peak_bytes",
    "resident",
    "wait_until",
]

MUSECAST = str(Path(sys.executable).with_name("musecast"))
"""The command line as it is installed."""
LIMIT_S = 60.0
"""For anything that should happen at once; generous because the machine is shared. No promise is tested by it."""


PORTS = range(12_000, 28_000)
"""Below those that the kernel gives by itself: what is free now is not taken by a client before it is bound."""
WORKERS = 16
_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % WORKERS
_share = PORTS[_worker :: WORKERS]
_next = itertools.count(random.SystemRandom().randrange(len(_share)))
"""Each worker of a run has its own ones, and begins anywhere: another run is somewhere else."""


def free_ports(count: int) -> list[int]:
    """TCP ports that are free on the loopback now, and that nobody else of this run is given."""
    found: list[int] = []
    while len(found) < count:
        port = _share[next(_next) % len(_share)]
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def descendants(root: int) -> set[int]:
    """Every process below ``root``, now."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            parents[int(entry.name)] = int(stat[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def peak_bytes(pid: int, *, reset: bool = False) -> int:
    """The most memory (RSS) that a process has had since the last reset, with ``reset`` what it has now."""
    folder = Path("/proc", str(pid))
    if reset:
        (folder / "clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def cpu_s(pid: int) -> float:
    """Seconds of processor time that it has used; 0 when it is gone."""
    stat = _stat(pid)
    return 0.0 if stat is None else (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that is no file's; 0 when it is gone."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S, what: str = "") -> None:
    """Poll for a state of the operating system that has no event to wait for."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.01)


def is_deaf(pid: int) -> bool:
    """Whether the kernel keeps SIGTERM from a process."""
    found = re.search(r"^SigIgn:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def _stat(pid: int) -> list[str] | None:
    """State, parent and so on; None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
