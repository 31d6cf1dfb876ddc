"""``ipc://`` addresses: local sockets in a folder that is closed to others."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from clients.reach import reach
from tests.contract.test_cli import _run
from tests.support.client import Stranger
from tests.support.daemon import LIGHT, Daemon, supervisor_command
from tests.support.gateway import OVERRIDE, url_of
from tests.support.harness import EQUALS, UNHURRIED
from tests.support.limits import GONE_S, REPLY_S, START_S
from tests.support.survival import again


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("ipc") / "public"
    overrides = [f"endpoints.{name}=ipc://{folder}/{name}" for name in ("control", "stream")]
    daemon = Daemon(state_dir, *overrides, OVERRIDE, "supervisor.backoff_s=[0]", UNHURRIED, *EQUALS, *LIGHT)
    try:
        daemon.wait_healthy()
        yield daemon
    finally:
        daemon.stop()
        daemon.remove()


def path_of(endpoint: str) -> Path:
    return Path(endpoint.removeprefix("ipc://"))


def test_it_speaks_and_only_its_user_may_come(local: Daemon, connect: Callable[[Daemon], Stranger]) -> None:
    session = connect(local).session()
    turn = session.speak("Hello.")
    assert session.of_turn(turn)
    assert len(session.inits) == 1
    for endpoint in (local.control, local.stream):
        found = path_of(endpoint)
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(found.stat().st_mode) == 0o600


def test_gateway_and_command_line_reach_it(local: Daemon) -> None:
    assert httpx.get(f"{url_of(local)}/health", timeout=REPLY_S).json()["status"] == "ok"
    assert json.loads(_run(local, "probe", "status", "--json"))["endpoints"]["control"] == local.control
    assert json.loads(_run(local, "say", "Hello.", "--json").splitlines()[-1])
    checked = json.loads(_run(local, "config", "check", "--json"))
    assert (checked["ok"], checked["running"]) == (True, True)


def test_what_a_killed_broker_leaves_is_replaced(local: Daemon, connect: Callable[[Daemon], Stranger]) -> None:
    client = connect(local)
    session = client.session()
    broker = next(row for row in client.control.ok("status")["stages"] if row["stage"] == "broker")
    os.kill(broker["pid"], signal.SIGKILL)
    again(session, "say", text="It goes on.")


def test_a_second_daemon_does_not_take_its_sockets(local: Daemon, tmp_path: Path) -> None:
    sets = [f"endpoints.control={local.control}", f"runtime_dir={tmp_path}/run", f"state_dir={tmp_path}/state"]
    second = subprocess.run(
        supervisor_command(*sets), capture_output=True, text=True, timeout=START_S, check=False
    )
    assert second.returncode == 70
    assert f"{local.control} is taken by another program" in second.stdout + second.stderr
    assert reach(local.control, GONE_S) == "listens"


def test_nothing_of_it_stays(local: Daemon) -> None:
    """Last here: it ends the daemon."""
    assert local.stop() == 0
    assert list(path_of(local.control).parent.iterdir()) == []
