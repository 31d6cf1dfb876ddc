"""What a service manager is told, through the kernel's own socket."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from supervision.console import Console
from supervision.notify import Notifier
from supervision.readiness import Readiness
from tests.support.harness import make_config


def test_a_manager_that_had_no_room_for_the_news_gets_it_later(tmp_path: Path) -> None:
    config, _ = make_config(tmp_path)
    with (
        tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(f"{name}/notify")
        manager.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": f"{name}/notify"})
        readiness = Readiness(config, notifier, Console(config, None))
        waiting = 0
        while notifier.send("WATCHDOG=1"):
            waiting += 1
        readiness.tell([], 1.0)
        for _ in range(waiting):
            assert manager.recv(4096) == b"WATCHDOG=1"
        for _ in range(2):
            readiness.tell([], 2.0)
        assert manager.recv(4096).splitlines() == [b"READY=1", b"STATUS=0 of 0 processes ready"]
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
        notifier.close()
