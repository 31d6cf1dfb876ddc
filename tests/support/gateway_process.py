"""A gateway in a process of its own beside a daemon: what the supervisor starts, with other settings."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from configs.load import load, resolve, write_resolved
from tests.support.daemon import ROOT, Daemon
from tests.support.leash import leashed
from tests.support.limits import REPLY_S, START_S, STOP_S
from tests.support.processes import free_ports, wait_until


class GatewayProcess:
    """Started in the constructor; ``stop`` at the end. ``url`` is where it listens."""

    def __init__(self, daemon: Daemon, *overrides: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mc-gw-", dir="/tmp"))
        sets = (
            f"endpoints.control={daemon.control}",
            f"endpoints.stream={daemon.stream}",
            f"runtime_dir={self.directory}",
            f"state_dir={daemon.state_dir}",
            f"endpoints.gateway=http://127.0.0.1:{free_ports(1)[0]}",
            *overrides,
        )
        config = resolve(load(None, sets, {}), {"HOME": str(self.directory)})
        self.command = [sys.executable, "-m", "clients.gateway", "--config", write_resolved(config), "--boot", "b"]
        self.log = self.directory / "log"
        self.url = ""
        self.start()

    def start(self) -> None:
        """The first, or one more on the same port."""
        place = self.directory / "gateway.address"
        before = place.stat().st_ino if place.exists() else 0
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                leashed(self.command), stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT
            )

        def listens() -> bool:
            there = place.exists() and place.stat().st_ino != before
            return there or self.process.poll() is not None

        wait_until(listens, START_S, "the gateway to listen")
        assert self.process.poll() is None, self.log.read_text()
        self.url = str(json.loads(place.read_text())["url"])
        self.port = int(self.url.rpartition(":")[2])
        wait_until(self._serves, START_S, "the gateway to have found its daemon")

    def _serves(self) -> bool:
        """It listens before it is connected to the daemon, and says 503 until then."""
        head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        return self.raw(head).startswith(b"HTTP/1.1 200 ")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_S)
        finally:
            self.process.kill()
            shutil.rmtree(self.directory, ignore_errors=True)

    def raw(self, data: bytes, timeout_s: float = REPLY_S) -> bytes:
        """What comes back for these bytes until the connection ends or says nothing for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as one:
            one.sendall(data)
            answer = b""
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                try:
                    part = one.recv(65_536)
                except (TimeoutError, ConnectionResetError):
                    break
                if not part:
                    break
                answer += part
            return answer


def error_of(body: dict[str, Any]) -> str:
    """The code of an answer that is not ok, which has the one shape of all errors."""
    assert set(body) >= {"error"}
    assert set(body["error"]) <= {"code", "message", "retry_after_ms"}
    assert body["error"]["message"]
    return str(body["error"]["code"])
