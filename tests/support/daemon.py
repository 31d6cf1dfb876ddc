"""A real daemon in its own processes, started as a user would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgpack
import zmq

from tests.support import seccomp
from tests.support.client import Keys, context_with
from tests.support.leash import leashed
from tests.support.limits import START_S, STOP_S
from tests.support.processes import descendants, free_ports

ROOT = Path(__file__).resolve().parents[2]
LOG_LINES = 60
OPERATOR = {"EXAMPLE_API_TOKEN": "a secret of the operator's shell", "CI": "true", "GITHUB_ACTIONS": "true"}
"""Of the environment in which the daemon is started; none of it concerns its processes."""
PORT = "{port}"
"""In an override: a port of this daemon's own. One that the kernel gave to a process that has died may be somebody
else's before its successor asks for it.
"""
LIGHT = ("engines.tts=[espeak]", "stages.encode.instances=1")
"""Overrides for tests that are not about speaking or encoding: a start takes two thirds of the CPU time."""


def supervisor_command(*overrides: str) -> list[str]:
    command = [sys.executable, str(ROOT / "supervisor.py")]
    for override in overrides:
        command += ["--set", override]
    return command


class Daemon:
    """Started in the constructor; ``wait_healthy`` before use, ``stop`` at the end.

    ``watch``, where there is one, sees every socket of every process of it.
    """

    def __init__(
        self, state_dir: Path, *overrides: str, fault: str = "", watched: bool = False, keys: Keys | None = None
    ) -> None:
        self.keys = keys
        # Short, because the path of a local socket is limited to about a hundred bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="mc-", dir="/tmp"))
        self.runtime_dir = self.directory / "run"
        self.state_dir = state_dir
        control, stream, another = free_ports(3)
        overrides = tuple(override.replace(PORT, str(another)) for override in overrides)
        self.control = f"tcp://127.0.0.1:{control}"
        self.stream = f"tcp://127.0.0.1:{stream}"
        for override in overrides:
            name, _, value = override.partition("=")
            if name in ("endpoints.control", "endpoints.stream"):
                setattr(self, name.removeprefix("endpoints."), value)
        self.overrides = (
            f"endpoints.control={self.control}",
            f"endpoints.stream={self.stream}",
            f"runtime_dir={self.runtime_dir}",
            f"state_dir={state_dir}",
            "endpoints.gateway=off",
            *overrides,
        )
        self.log = self.directory / "log"
        self.watch = seccomp.Watch() if watched and seccomp.available() else None
        command = leashed(supervisor_command(*self.overrides))
        self.started_at = time.monotonic()
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                self.watch.command(command) if self.watch else command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **OPERATOR, "MUSECAST_FAULT": fault},
                pass_fds=self.watch.pass_fds if self.watch else (),
            )
        if self.watch:
            self.watch.started()

    def wait_healthy(self, timeout_s: float = START_S) -> None:
        deadline = time.monotonic() + timeout_s
        with context_with(self.keys) as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(self.control)
            # Answered when everything is warm: asking for the health meanwhile would keep a core busy.
            dealer.send(msgpack.packb({"v": 1, "id": 0, "op": "initialize"}))
            while True:
                assert self.process.poll() is None, f"exit {self.process.returncode}\n{self.tail()}"
                assert time.monotonic() < deadline, f"not healthy within {timeout_s} s\n{self.tail()}"
                if not dealer.poll(100):
                    continue
                if msgpack.unpackb(dealer.recv()).get("status") == "ok":
                    return
                dealer.send(msgpack.packb({"v": 1, "id": 1, "op": "health"}))

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of the log about this event, as the daemon wrote them."""
        *lines, _ = self.log.read_text(errors="replace").split("\n")  # the last one may be half written
        found = [json.loads(line) for line in lines if line.startswith("{") and f'"{event}"' in line]
        return [entry for entry in found if entry.get("event") == event]

    def descendants(self) -> set[int]:
        """Process ids below the supervisor, now."""
        return descendants(self.process.pid)


def stage_row(status: dict[str, Any], instance: str) -> dict[str, Any]:
    """The line of ``status`` about one process."""
    return next(row for row in status["stages"] if row["instance"] == instance)
