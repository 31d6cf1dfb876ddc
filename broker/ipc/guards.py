"""What every child process does before anything else: answer for its stack, and never outlive its parent.

Kept free of imports beyond the standard library's smallest, because it must run first: the default action of
SIGUSR1 is death, and a parent that dies before the guard is armed would leave an orphan.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
STACKS_BYTES = 65_536
"""Of a dump of stacks, as much is logged."""
PARENT_GONE = 3
"""Exit code of a child whose parent was already gone when it armed its guard."""
DEVICE_GONE = 69
"""Exit code of a stage whose GPU is gone (EX_UNAVAILABLE of sysexits): another start would find none either."""


def stacks_path(runtime_dir: str, instance: str, epoch: int) -> str:
    """Where one incarnation dumps its stacks when lines of the log are JSON."""
    return os.path.join(runtime_dir, f"stacks.{instance}.{epoch}")


def take_stacks(runtime_dir: str, instance: str, epoch: int) -> str:
    """What a dead incarnation has dumped, "" where it has not; the file is gone afterwards."""
    path = stacks_path(runtime_dir, instance, epoch)
    try:
        with open(path, "rb") as file:
            text = file.read(STACKS_BYTES).decode(errors="replace")
        os.unlink(path)
    except FileNotFoundError:
        return ""
    return text


def stacks_into(path: str) -> None:
    """Dump stacks into ``stacks_path`` from now on instead of stderr, for the supervisor to log as one line."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_APPEND, 0o600)
    faulthandler.enable(file=descriptor)  # never closed: it is written to at the very end
    faulthandler.register(signal.SIGUSR1, file=descriptor, all_threads=True)


def arm(parent: int | None) -> None:
    """Dump all stacks on SIGUSR1 (and on fatal signals); die by SIGKILL when the parent does.

    Args:
        parent: pid of the process that spawned this one; a parent that died before the guard was armed is
            found by comparing it with the present one. None: no guard (started by hand).
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    if parent is None:
        return
    follow(parent, signal.SIGKILL)


def follow(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent is gone; end it where it is gone already.

    Args:
        parent: pid of the process that spawned this one.
        number: of the signal.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        print(f"prctl(PR_SET_PDEATHSIG): errno {ctypes.get_errno()}", file=sys.stderr)
    if os.getppid() != parent:
        os._exit(PARENT_GONE)
