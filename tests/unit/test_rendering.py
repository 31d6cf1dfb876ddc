"""``musecast render`` while it waits for video: the calls that keep its turn open, on a scripted clock."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest

from clients.cli import render
from clients.follower import Published
from clients.soundtrack import SAMPLE_RATE

TURN_LIMIT_S = 2.0
"""Without a call for so long the daemon ends the turn (docs/protocol.md)."""


class SlowDaemon:
    """A session, its follower and the clock: one message every ``every_s``, a second of video with each tenth."""

    def __init__(self, every_s: float) -> None:
        self.now = 0.0
        self.calls: list[float] = []
        self.follower = self
        self._every_s = every_s
        self._sent = 0
        self._last = False

    def monotonic(self) -> float:
        return self.now

    def request(self, op: str, **arguments: Any) -> None:
        assert op == "process_segment"
        self.calls.append(self.now)
        self._last |= arguments["last"]

    def receive(self, timeout_s: float) -> Published | None:
        due = (self._sent + 1) * self._every_s
        if due > self.now + timeout_s:
            self.now += timeout_s
            return None
        self.now = max(self.now, due)
        self._sent += 1
        if self._last:
            data = {"timings_ms": {"first_segment": 100}}
            return Published("evt.s.", {"event": "turn.ended", "data": data}, b"")
        if self._sent % 10:
            return Published("evt.s.", {"event": "sentence"}, b"")
        pts = (self._sent // 10 - 1) * 1_000_000
        return Published("seg.s.", {"kind": "media", "pts": pts, "dur": 1_000_000}, b"")

    def rest(self) -> list[Published]:
        return []


class Speech:
    def pieces(self, seconds: float) -> Any:
        return itertools.repeat(bytes(int(SAMPLE_RATE * seconds) * 2), 15)


@pytest.mark.parametrize("every_s", [0.3, 0.49, 0.99, 1.01, 1.7, 30.0])
def test_the_turn_stays_open_while_the_daemon_is_slow(monkeypatch: pytest.MonkeyPatch, every_s: float) -> None:
    daemon = SlowDaemon(every_s)
    monkeypatch.setattr(render, "time", daemon)
    recorder: Any = type("Recorder", (), {"add": lambda *_: None})()
    rendering = render._Rendering(cast(Any, daemon), recorder, ahead_s=10.0)
    for _ in rendering.speech(cast(Any, Speech())):
        pass
    gaps = [b - a for a, b in itertools.pairwise(daemon.calls)]
    assert len(gaps) > 14, "it never had to wait"
    assert max(gaps) < TURN_LIMIT_S / 2
