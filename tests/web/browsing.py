"""Browsers as processes beside the tests: node runs what a viewer does and tells what came of it, as JSON."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import subprocess
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from tests.support.client import Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.hearing import room
from tests.support.limits import GONE_S, START_S, WORK_S
from tests.support.microphone import question
from tests.support.processes import descendants, free_ports, wait_until

HERE = Path(__file__).parent
SCENARIO_S = 2 * WORK_S
"""For one line of a browser: a scenario, or a request to this side. How long one is told to last comes on top."""
MICROPHONE_RATE = 48_000
AGAIN_S = 25.0
"""Of silence between two questions."""


class Web:
    """A daemon with its gateway, and what happens to it while a browser looks.

    Args:
        start: starts a daemon, given overrides; ended by whoever made it.
        directory: for files that a browser reads.
    """

    def __init__(self, start: Callable[..., Daemon], directory: Path) -> None:
        self._port, self.elsewhere = free_ports(2)
        self.base = f"http://127.0.0.1:{self._port}"
        self._make = start
        self._overrides = (
            f"endpoints.gateway={self.base}",
            f"gateway.allowed_origins=[http://127.0.0.1:{self.elsewhere}]",
            "engines.tts=[espeak]",  # speaks at once, so that the cores are the browsers'
        )
        self.daemon = self._start()
        self.microphone = directory / "question.wav"
        _record(self.microphone)

    def _start(self) -> Daemon:
        """A daemon whose gateway serves: its health does not wait for that."""
        made = self._make(*self._overrides)
        wait_until(self._serves, START_S, "the gateway to have found its daemon")
        return made

    def _serves(self) -> bool:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=GONE_S)) as one:
            try:
                one.request("GET", "/health")
                return one.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    def browse(self, browser: str, *scenarios: dict[str, Any], **options: Any) -> dict[str, dict[str, Any]]:
        """Results by the scenario's name (with its ``label``); one that failed has ``failed`` instead.

        Args:
            browser: "chromium" or "firefox".
            scenarios: ``name`` and arguments of functions of ``scenarios.js``, one after the other in one browser.
            options: of ``browsers.js``.
        """
        arguments = [browser, self.base, json.dumps(scenarios), json.dumps(options)]
        results: dict[str, dict[str, Any]] = {}
        with subprocess.Popen(
            ["node", str(HERE / "run.js"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stderr is not None
            limit_s = SCENARIO_S + max((s.get("seconds", 10 * s.get("times", 0)) for s in scenarios), default=0)
            said, complaints = _lines(process.stdout), _lines(process.stderr)
            try:
                while (line := said.get(timeout=limit_s)) is not None:
                    message = json.loads(line)
                    if "ask" in message:
                        getattr(self, message["ask"])()
                        process.stdin.write("null\n")
                        process.stdin.flush()
                    else:
                        results[message["scenario"]] = message.get("result") or message
            finally:
                if process.poll() is None:
                    # Firefox has a process group of its own, and would go on for ever.
                    for pid in (*descendants(process.pid), process.pid):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        missing = [s for s in scenarios if s.get("label", s["name"]) not in results]
        assert not missing, f"{browser} did not get to {missing}: {_rest(complaints)}"
        return results

    # --- what scenarios ask for ---

    def kill_gateway(self) -> None:
        """As if it had crashed; the supervisor starts another one."""
        stranger = Stranger(self.daemon.control, self.daemon.stream)
        try:
            os.kill(stage_row(stranger.control.ok("status"), "gateway")["pid"], signal.SIGKILL)
        finally:
            stranger.close()

    def restart_daemon(self) -> None:
        """Another daemon at the same address."""
        self.daemon.stop()
        self.daemon = self._start()


def _lines(stream: IO[str]) -> queue.Queue[str | None]:
    """Everything that is written there, line by line, then None."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _rest(lines: queue.Queue[str | None]) -> str:
    found: list[str] = []
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and (line := lines.get()) is not None:
        found.append(line)
    return "".join(found[-20:])


def _record(path: Path) -> None:
    """The question as a fake microphone wants it: at 48 kHz, after silence, because capture begins first.

    It is asked again when the answer to it is long over, for a machine that was too busy to hear it.
    """
    samples, rate = question()
    heard = np.repeat(room(1.0, samples, AGAIN_S), MICROPHONE_RATE // rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_RATE)
        file.writeframes(heard.tobytes())
