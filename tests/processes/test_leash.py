"""What starts a daemon for itself, a run of the tests or a command, and is killed, leaves none behind."""

from __future__ import annotations

import subprocess
import sys

from tests.support.harness import ROOT
from tests.support.leash import PARENT_GONE, leashed
from tests.support.processes import LIMIT_S, alive, wait_until

STARTER = """
import subprocess, sys
from tests.support.leash import leashed
command = leashed([sys.executable, "-c", "print('runs', flush=True); import time; time.sleep(600)"])
child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_who_is_killed_takes_along_what_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        assert alive(child)
        starter.kill()
    wait_until(lambda: not alive(child), LIMIT_S, "the end of the child")


FOLLOWER = """
import os, signal
from broker.ipc import guards
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # however soon it comes, it is waited for
guards.follow(os.getppid(), signal.SIGTERM)
print("follows", flush=True)
signal.sigwait([signal.SIGTERM])
os.write(1, b"told")
"""


def test_a_daemon_of_its_own_is_told_to_stop_when_a_command_is_killed() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FOLLOWER!r}])"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"follows\n"
        command.kill()
        assert command.stdout.read() == b"told", "the pipe ends with the last that holds it"


def test_what_is_started_by_somebody_else_does_not_begin() -> None:
    command = leashed([sys.executable, "-c", ""])
    command[3] = "1"
    assert subprocess.run(command, timeout=LIMIT_S, check=False).returncode == PARENT_GONE
