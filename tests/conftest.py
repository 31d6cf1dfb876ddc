"""Shared by all tests: a real daemon per test session, and one of their own for tests that break things."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.client import Stranger
from tests.support.daemon import Daemon
from tests.support.gateway_process import GatewayProcess
from tests.support.harness import EQUALS, UNHURRIED
from tests.support.limits import START_S

pytest_plugins = ("tests.support.needs", "tests.support.networks", "tests.support.order", "tests.support.skipped")

# How fast examples are drawn and tried says something about the machine, not about the code; and each test has the
# same ones until its text changes, so that a run that fails can be repeated.
EXAMPLES = settings(deadline=None, derandomize=True)
settings.register_profile("musecast", EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("musecast")

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    # As in the daemon's processes. More than the workers of a run have cores would spin waiting for one another.
    os.environ.setdefault(threads, "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background by a shell without job control: what the tests start would ignore Ctrl-C, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_daemons: list[Daemon] = []
PATIENT = (UNHURRIED, "supervisor.fence_s=20", *EQUALS)
"""Of all daemons of fixtures, before what tests set: who steps back beside the load of a run may stand still."""


def pytest_configure(config: pytest.Config) -> None:
    """What `make install` does in an environment that was made without it: get the face models."""
    if hasattr(config, "workerinput") or Path(sys.prefix, "share", "musecast", "landmarks").is_dir():
        return
    from models.errors import EngineError
    from models.landmarks.pull import pull

    with contextlib.suppress(EngineError):  # the tests that need them say so
        pull(sys.prefix)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows the end of the log of every daemon that it used."""
    report = yield
    if report.failed:
        for daemon in _daemons:
            report.sections.append((f"log of the daemon at {daemon.control}", daemon.tail()))
    return report


@pytest.fixture(scope="session")
def state_dir() -> Iterator[Path]:
    """Templates are prepared once for all daemons of the session."""
    directory = Path(tempfile.mkdtemp(prefix="mc-state-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def _run(state_dir: Path, *overrides: str, watched: bool = False) -> Iterator[Daemon]:
    daemon = Daemon(state_dir, *PATIENT, *overrides, watched=watched)
    _daemons.append(daemon)
    try:
        daemon.wait_healthy()
        yield daemon
    finally:
        daemon.stop()
        _daemons.remove(daemon)
        daemon.remove()


@pytest.fixture(scope="session")
def daemon(state_dir: Path) -> Iterator[Daemon]:
    """The daemon that well-behaved tests share; what its processes do with sockets is watched."""
    yield from _run(state_dir, watched=True)


@pytest.fixture(scope="session")
def gateway(daemon: Daemon) -> Iterator[GatewayProcess]:
    """A gateway of the shared daemon, without tokens."""
    process = GatewayProcess(daemon)
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def own_daemon(state_dir: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon that this module may break; ``OVERRIDES`` of the module configure it."""
    yield from _run(state_dir, *getattr(request.module, "OVERRIDES", ()))


@pytest.fixture(scope="module")
def start_daemon_for_module() -> Iterator[Callable[..., Daemon]]:
    """The same for a module, each with the state directory that it is given."""
    with _starter() as start:
        yield start


@pytest.fixture
def start_daemon(state_dir: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons for one test."""
    with _starter() as start:
        yield lambda *overrides: start(state_dir, *overrides)


@contextmanager
def _starter() -> Iterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def start(
        state_dir: Path,
        *overrides: str,
        fault: str = "",
        limit_s: float = START_S,
        meanwhile: Callable[[Daemon], None] = lambda _: None,
    ) -> Daemon:
        daemon = Daemon(state_dir, *PATIENT, *overrides, fault=fault)
        started.append(daemon)
        _daemons.append(daemon)
        meanwhile(daemon)
        daemon.wait_healthy(limit_s)
        return daemon

    try:
        yield start
    finally:
        for daemon in started:
            daemon.stop()
            _daemons.remove(daemon)
            daemon.remove()


@pytest.fixture
def stranger(daemon: Daemon) -> Iterator[Stranger]:
    """A client of the shared daemon; its sessions end with the test."""
    client = Stranger(daemon.control, daemon.stream)
    yield client
    client.close()


@pytest.fixture(scope="module")
def module_stranger(daemon: Daemon) -> Iterator[Stranger]:
    """The same for a whole module."""
    client = Stranger(daemon.control, daemon.stream)
    yield client
    client.close()


@pytest.fixture
def connect() -> Iterator[Callable[[Daemon], Stranger]]:
    """Clients of any daemon, also when the test fails; their sessions end where the daemon still runs."""
    made: list[tuple[Daemon, Stranger]] = []

    def client(daemon: Daemon) -> Stranger:
        made.append((daemon, Stranger(daemon.control, daemon.stream)))
        return made[-1][1]

    yield client
    for daemon, one in reversed(made):
        one.close(end=daemon.process.poll() is None)


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start commands that run beside the test, and not longer."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, env: dict[str, str], stdin: int | None = None) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
