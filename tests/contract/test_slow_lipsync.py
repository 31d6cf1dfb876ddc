"""Lip-sync that is slow, or stands still for a moment, costs a later start and pauses: no shut mouth speaks."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.limits import BEAT_S, COMMAND_S, REPLY_S
from tests.support.processes import MUSECAST, wait_until
from tests.support.segments import assert_seamless

FROZEN_S = 0.8
TRIES = 8
"""A busy machine may hold lip-sync up for longer than anybody waits, and does not each time."""
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


def _with_lips(speak: Callable[[], list[dict[str, Any]]], turns: int) -> bool:
    """Whether of ``TRIES`` turns so many have lips from beginning to end."""
    spoken = ("audio_only" not in {h["degraded"] for h in speak()} for _ in range(TRIES))
    return sum(itertools.islice(filter(None, spoken), turns)) == turns


def test_lipsync_frozen_for_a_moment_at_say(stranger: Stranger) -> None:
    session = stranger.session()
    pid = stage_row(stranger.control.ok("status"), "lipsync.0")["pid"]

    def speak() -> list[dict[str, Any]]:
        os.kill(pid, signal.SIGSTOP)
        thaw = threading.Timer(FROZEN_S, os.kill, (pid, signal.SIGCONT))
        thaw.start()
        try:
            return _spoken(session, session.say(TEXT))
        finally:
            thaw.join()

    assert _with_lips(speak, 1)


@pytest.mark.parametrize("idle", ["none", "loop"])
def test_lipsync_slower_than_real_time(
    slow_daemon: Daemon, connect: Callable[[Daemon], Stranger], idle: str
) -> None:
    session = connect(slow_daemon).session(idle=idle)
    assert _with_lips(lambda: _spoken(session, session.say(TEXT)), 2)


def test_a_file_waits_for_lipsync_that_is_frozen_until_it_is_replaced(
    slow_daemon: Daemon, connect: Callable[[Daemon], Stranger], tmp_path: Path
) -> None:
    """Longer than a viewer is kept waiting. Last here: the successor is not slow."""
    stranger = connect(slow_daemon)
    stream = stranger.subscribe("seg.")
    pid = stage_row(stranger.control.ok("status"), "lipsync.0")["pid"]
    os.kill(pid, signal.SIGSTOP)
    target = tmp_path / "hello.mp4"
    ends = [f"--set=endpoints.{name}={getattr(slow_daemon, name)}" for name in ("control", "stream")]
    command = [MUSECAST, "say", "Hello, here I am.", "--out", str(target), *ends]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 10_000
    wait_until(lambda: stage_row(stranger.control.ok("status"), "lipsync.0")["pid"] != pid, BEAT_S, "a successor")
    stream.wait(lambda m: bool(m.header.get("last")), REPLY_S, "the end of the turn")
    media = [m.header for m in stream.messages if m.header.get("kind") == "media"]
    assert media
    assert {h["degraded"] for h in media} == {None}


@pytest.fixture(scope="module")
def slow_daemon(state_dir: Path, start_daemon_for_module: Callable[..., Daemon]) -> Daemon:
    return start_daemon_for_module(state_dir, "supervisor.beats_missed=6", fault=SLOW)
