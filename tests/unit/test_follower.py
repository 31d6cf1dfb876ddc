"""A follower that is asked in short steps."""

from __future__ import annotations

import time
from typing import Any

import msgpack
import pytest

from clients import follower as module
from clients.follower import Follower


class Silence:
    """A subscription on which nothing ever comes."""

    def receive(self, timeout_s: float) -> None:
        time.sleep(timeout_s)  # what a socket without messages does


class Daemon:
    """Has published one event before anybody listened."""

    asked = 0
    brokers = 0

    def subscribe(self, *topics: str) -> Silence:
        return Silence()

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        self.asked += 1
        event = msgpack.packb({"sid": "s", "n": 0, "event": "turn.ended", "turn": 1, "data": {}})
        found = [event] if arguments["from_n"] == 0 else []
        return {"events": found, "oldest_n": 0, "newest_n": 0}


def test_an_event_that_was_missed_is_asked_for_however_short_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon()
    follower = Follower(daemon, "s", media=False).from_start()
    monkeypatch.setattr(module, "QUIET_S", 600.0)
    assert follower.receive(0.01) is None
    assert daemon.asked == 0, "not before it has been quiet for a while"
    monkeypatch.setattr(module, "QUIET_S", 0.05)
    deadline = time.monotonic() + 20
    while (found := follower.receive(0.01)) is None:
        assert time.monotonic() < deadline
    assert found.header["event"] == "turn.ended"
