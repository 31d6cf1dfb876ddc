"""A run of the tests that is killed leaves no daemon behind."""

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


def test_what_is_started_by_somebody_else_does_not_begin() -> None:
    command = leashed([sys.executable, "-c", ""])
    command[3] = "1"
    assert subprocess.run(command, timeout=LIMIT_S, check=False).returncode == PARENT_GONE
