"""Children as the kernel sees them."""

from __future__ import annotations

import os
import sys

import pytest

from supervision.process import Process


def test_a_child_that_cannot_be_watched_is_not_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[int] = []

    def refuse(pid: int, flags: int = 0) -> int:
        spawned.append(pid)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        Process([sys.executable, "-c", "import time; time.sleep(600)"], os.environ)
    with pytest.raises(ChildProcessError):
        os.waitpid(spawned[0], os.WNOHANG)
