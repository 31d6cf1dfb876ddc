"""A daemon of one's own: a private folder with its sockets, gone when the block is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from clients.cli.common import CommandError, need_open_files, read_config
from clients.client import Client, DaemonGoneError, NoDaemonError

STOP_TIMEOUT_S = 20.0
"""The daemon's own ladder ends after ``supervisor.stop_s`` (10 s)."""
ASK_TIMEOUT_S = 1.0
"""For one ``health`` while the daemon is starting: it may not have bound its socket yet."""
LOG_TAIL_LINES = 15


@contextlib.contextmanager
def private_daemon(config: Path | None, overrides: list[str]) -> Iterator[Client]:
    """Start a daemon, wait until it is healthy, stop it at the end.

    ``state_dir`` is the configured one, so that prepared templates are found again next time.

    Raises:
        CommandError: it did not start, or ended too early; the end of its log is in the text.
        ConfigError: the configuration is refused.
    """
    stages = read_config(config, overrides).stages  # refuse here, with the right exit code, not in the child's log
    limit_s = max(getattr(stages, name).load_timeout_s for name in stages.__struct_fields__)
    need_open_files()
    # Short, because the path of a local socket is limited to about a hundred bytes.
    directory = Path(tempfile.mkdtemp(prefix="musecast-"))
    control, stream = (f"ipc://{directory / name}" for name in ("control", "stream"))
    # Should this command be killed, its daemon is told to stop.
    command = [sys.executable, "-m", "supervisor", "--parent", str(os.getpid())]
    if config is not None:
        command += ["--config", str(config)]
    for override in (
        "endpoints.gateway=off",  # unless it is asked for
        *overrides,
        f"endpoints.control={control}",
        f"endpoints.stream={stream}",
        "security.curve=false",  # nobody else can enter the folder
        f"runtime_dir={directory / 'run'}",
    ):
        command += ["--set", override]
    log = directory / "log"
    try:
        with log.open("wb") as file:
            # Its own process group: Ctrl-C goes to us, and we stop it in order.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        try:
            with Client(control, stream) as client:
                _wait_until_healthy(client, process, log, limit_s)
                try:
                    yield client
                except DaemonGoneError as error:
                    raise CommandError(f"its own daemon ended in the middle of the work\n{_tail(log)}") from error
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_until_healthy(client: Client, process: subprocess.Popen[bytes], log: Path, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(NoDaemonError):
            if client.request("health", timeout_s=ASK_TIMEOUT_S)["status"] == "ok":
                return
        if process.poll() is not None:
            raise CommandError(f"the daemon ended with code {process.returncode} at start\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise CommandError(f"the daemon was not healthy within {limit_s:g} s\n{_tail(log)}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
