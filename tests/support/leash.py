"""``python -IS leash.py PARENT COMMAND...``: become COMMAND, which is killed when the thread that started it ends.

A run of the tests that is killed leaves no daemon behind: prctl(2) keeps PR_SET_PDEATHSIG across exec, and the
daemon's own processes have the same guard. ``preexec_fn`` would do it in a fork of a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PARENT_GONE = 3


def leashed(command: list[str]) -> list[str]:
    """What to run instead, from this process."""
    return [sys.executable, "-IS", str(Path(__file__)), str(os.getpid()), *command]


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(PARENT_GONE)
    os.execv(sys.argv[2], sys.argv[2:])
