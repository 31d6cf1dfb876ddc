"""The unit that is shipped, held against systemd's own parser and against the limits that it repeats."""

from __future__ import annotations

import configparser
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clients.cli.exits import EXIT_USAGE
from configs.load import ConfigError
from configs.schema import Config
from supervision.daemon import EXIT_CONFIG, EXIT_FATAL, SWEEP_LIMIT_S
from supervision.place import InUseError
from tests.support import seccomp
from tests.support.limits import COMMAND_S

UNIT = Path(__file__).parents[2] / "systemd" / "musecast.service"
BIND = """
import sys, zmq
from tests.support.seccomp import restrict_families
restrict_families([int(family) for family in sys.argv[1:]])
with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
    router.bind("tcp://127.0.0.1:*")
"""


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    assert unit.read(UNIT)
    return unit["Service"]


def test_the_template_of_further_instances_is_the_same_text() -> None:
    assert UNIT.with_name("musecast@.service").read_bytes() == UNIT.read_bytes()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_every_line_of_the_unit(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/musecast/.venv/bin/musecast", shutil.which("true") or ""))
    command = ["systemd-analyze", "verify", "--man=no", here]
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_S)
    ours = [line for line in found.stderr.splitlines() if UNIT.name in line]  # not what else is wrong on a machine
    assert (found.returncode, ours) == (0, [])


def test_only_what_another_start_cannot_mend_is_not_started_again(service: configparser.SectionProxy) -> None:
    """A stage that kept dying may live after a while, when a driver is back; systemd limits how often."""
    codes = {EXIT_USAGE, InUseError.exit_code, EXIT_CONFIG, ConfigError.exit_code}
    assert EXIT_FATAL not in codes
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == codes


def test_systemd_waits_longer_than_the_daemon_does(service: configparser.SectionProxy) -> None:
    settings = Config().supervisor
    assert int(service["TimeoutStopSec"]) > settings.stop_s + settings.fence_s + SWEEP_LIMIT_S
    assert int(service["WatchdogSec"]) > 5 * settings.beat_s


@pytest.mark.skipif(not seccomp.available(), reason="this machine has no filter of system calls that we know")
def test_a_tcp_socket_is_bound_with_the_address_families_of_the_unit(service: configparser.SectionProxy) -> None:
    """libzmq lists the machine's interfaces at each bind, and aborts where it cannot."""
    names = service["RestrictAddressFamilies"].split()

    def bind(*families: str) -> int:
        numbers = [str(int(getattr(socket, family))) for family in families]
        command = [sys.executable, "-c", BIND, *numbers]
        done = subprocess.run(command, check=False, capture_output=True, cwd=seccomp.ROOT, timeout=COMMAND_S)
        return done.returncode

    assert bind(*names) == 0
    assert bind(*(name for name in names if name != "AF_NETLINK")) == -signal.SIGABRT
