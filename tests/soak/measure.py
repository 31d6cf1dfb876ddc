"""What a daemon holds, from outside, and pictures of it over time."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

from benchmarks._common import memory_mb
from tests.support.daemon import Daemon

matplotlib.use("Agg")
from matplotlib import pyplot


@dataclass(frozen=True, slots=True)
class Process:
    """What one process holds."""

    memory_mb: float
    """Shared pages divided among their users, so that the sum counts each once."""
    descriptors: int
    threads: int


@dataclass(slots=True)
class Sample:
    """Everything of the daemon at one moment."""

    at: float
    files: int
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def total_mb(self) -> float:
        """Of all processes."""
        return sum(one.memory_mb for one in self.processes.values())


def sample(daemon: Daemon, at: float) -> Sample:
    """Now. A process that ends meanwhile is left out."""
    folders = (daemon.runtime_dir, daemon.state_dir)
    made = Sample(at, sum(len(files) for root in folders for _, _, files in os.walk(root)))
    for pid in {daemon.process.pid} | daemon.descendants():
        with contextlib.suppress(OSError, IndexError, ValueError):
            folder = Path(f"/proc/{pid}")
            name = _name((folder / "cmdline").read_bytes().decode(errors="replace").split("\0"))
            threads = len([*(folder / "task").iterdir()])
            made.processes[name] = Process(memory_mb(pid)["pss"], len([*(folder / "fd").iterdir()]), threads)
    return made


def _name(command: list[str]) -> str:
    if "--instance" in command:
        return command[command.index("--instance") + 1]
    known = ("broker", "clients.gateway", "supervisor.py")
    return next((one for one in known if any(one in word for word in command)), "other")


def plots(out: Path, samples: list[Sample], deaths: list[tuple[float, str]]) -> None:
    """``memory.png``, ``descriptors.png`` and ``threads.png``, with a line where something died."""
    out.mkdir(parents=True, exist_ok=True)
    names = sorted({name for one in samples for name in one.processes})
    for what, unit in (("memory_mb", "MB"), ("descriptors", "open"), ("threads", "running")):
        figure, axes = pyplot.subplots(figsize=(11, 6), dpi=100)
        for name in names:
            seen = [(one.at, getattr(one.processes[name], what)) for one in samples if name in one.processes]
            axes.plot(*zip(*seen, strict=True), label=name, linewidth=1)
        for at, instance in deaths:
            axes.axvline(at, color="black" if instance == "broker" else "lightgrey", linewidth=0.5)
        axes.set_xlabel("s; grey: a process died, black: the broker")
        axes.set_ylabel(unit)
        axes.set_title(what.removesuffix("_mb"))
        axes.legend(fontsize="small", ncols=2)
        figure.savefig(out / f"{what.removesuffix('_mb')}.png")
        pyplot.close(figure)
