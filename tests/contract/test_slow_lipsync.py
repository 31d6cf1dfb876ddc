"""Lip-sync that is slow, or stands still for a moment, costs a later start and pauses: no shut mouth speaks."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.client import Session, Stranger
from tests.contract.daemon import Daemon, stage_row
from tests.contract.media import assert_seamless

FROZEN_S = 0.8
TEXT = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind. Nobody else has seen it. "
    "In the evening everybody goes home, and the fox does too."
)
SLOW = "lipsync:slow:45"
"""With the 3 ms that a frame takes by itself: 1.2 times real time."""


def _spoken(session: Session, turn: int) -> list[dict[str, Any]]:
    """The headers of a turn that has ended whole."""
    session.wait_ended(turn)
    headers = [m.header for m in session.of_turn(turn)]
    assert_seamless([m.header for m in session.media])
    assert headers[-1]["last"]
    assert [e["event"] for e in session.events(turn=turn)].count("turn.ended") == 1
    return headers


def test_lipsync_frozen_for_a_moment_at_say(stranger: Stranger) -> None:
    session = stranger.session()
    pid = stage_row(stranger.control.ok("status"), "lipsync.0")["pid"]
    os.kill(pid, signal.SIGSTOP)
    thaw = threading.Timer(FROZEN_S, os.kill, (pid, signal.SIGCONT))
    thaw.start()
    try:
        turn = session.say(TEXT)
        headers = _spoken(session, turn)
    finally:
        thaw.join()
    assert "audio_only" not in {h["degraded"] for h in headers}


@pytest.mark.parametrize("idle", ["none", "loop"])
def test_lipsync_slower_than_real_time(
    slow_daemon: Daemon, connect: Callable[[Daemon], Stranger], idle: str
) -> None:
    session = connect(slow_daemon).session(idle=idle)
    for _ in range(2):
        headers = _spoken(session, session.say(TEXT))
        assert "audio_only" not in {h["degraded"] for h in headers}


@pytest.fixture(scope="module")
def slow_daemon(state_dir: Any, start_daemon_for_module: Callable[..., Daemon]) -> Daemon:
    return start_daemon_for_module(state_dir, fault=SLOW)
