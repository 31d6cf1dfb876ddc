"""One process is taken out of service and back, while others go on."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

import pytest

from clients.cli.app import run
from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.limits import RECOVERY_S, WORK_S
from tests.support.processes import wait_until
from tests.support.segments import assert_seamless

OVERRIDES = ("engines.tts=[espeak]",)
AHEAD = 5
"""Segments; more than may be ready when a stage goes."""
TEXT = "While this is being said, an operator takes something away. Nobody hears it. " * 4


@pytest.fixture
def operator(own_daemon: Daemon, connect: Callable[[Daemon], Stranger]) -> Iterator[Stranger]:
    """A client that leaves everything in service."""
    client = connect(own_daemon)
    yield client
    for instance in ("encode.0", "lipsync.0", "prepare.0", "asr.0"):
        client.control.ok("resume_instance", RECOVERY_S, instance=instance)
    wait_health(client, "ok")


def wait_health(client: Stranger, wanted: str) -> None:
    beats = client.subscribe("sys.")
    beats.wait(lambda m: m.header["status"] == wanted, RECOVERY_S, f"status {wanted}")


def row(client: Stranger, instance: str) -> dict[str, Any]:
    return stage_row(client.control.ok("status"), instance)


def goes_on_and_is_cut(session: Session, turn: int, segments: int) -> None:
    """What comes after the drain is heard; the rest of a long turn would prove no more."""
    session.wait_media(len(session.of_turn(turn)) + segments, turn)
    session.ok("interrupt", turn=turn)
    session.wait_event("turn.interrupted", turn=turn)
    assert_seamless([m.header for m in session.media])


def test_one_of_two_encoders_is_drained_and_nobody_notices(operator: Stranger) -> None:
    """Unpaced, so that nothing is late on a slow machine."""
    before = row(operator, "encode.0")
    session = operator.session(mode="offline")
    turn = session.say(TEXT * 20)
    session.wait_media(2, turn)
    operator.control.ok("drain_instance", WORK_S, instance="encode.0")
    drained = row(operator, "encode.0")
    assert (drained["state"], drained["pid"], drained["restarts"]) == ("draining", None, before["restarts"])
    assert operator.control.ok("health")["status"] == "degraded"
    goes_on_and_is_cut(session, turn, AHEAD)
    assert "audio_only" not in {m.header["degraded"] for m in session.of_turn(turn)}
    assert row(operator, "encode.0")["pid"] is None, "something has taken its place"
    operator.control.ok("drain_instance", instance="encode.0")
    operator.control.ok("resume_instance", instance="encode.0")
    wait_health(operator, "ok")

    def back() -> bool:
        after = row(operator, "encode.0")
        return (after["epoch"], after["state"] in ("idle", "busy")) == (before["epoch"] + 1, True)

    wait_until(back, RECOVERY_S, "encode.0 in service again")


def test_the_only_lipsync_is_drained_in_mid_speech(operator: Stranger) -> None:
    session = operator.session()
    turn = session.say(TEXT)
    session.wait_media(2, turn)
    operator.control.ok("drain_instance", WORK_S, instance="lipsync.0")
    assert row(operator, "lipsync.0")["pid"] is None
    session.stream.wait(lambda m: m.header.get("degraded") == "audio_only", WORK_S, "a still face")
    goes_on_and_is_cut(session, turn, 1)
    assert session.of_turn(turn)[-1].header["degraded"] == "audio_only"
    operator.control.ok("resume_instance", instance="lipsync.0")
    wait_health(operator, "ok")
    session = operator.session(mode="offline")
    session.speak("The lips are back.")
    assert {m.header["degraded"] for m in session.media} == {None}


def test_a_drain_that_takes_too_long_stays_in_force(operator: Stranger) -> None:
    session = operator.session(mode="offline")
    session.say(TEXT * 20)
    session.wait_media(1)
    control = operator.control
    refused = control.take(control.send("drain_instance", instance="lipsync.0", timeout_s=0))
    error = refused["error"]
    assert error["code"] == "FAILED"
    assert "resume_instance" in error["message"]
    assert control.take(control.send("drain_instance", instance="lipsync.0", timeout_s=WORK_S), WORK_S)["ok"]
    session.ok("interrupt")


def test_a_stage_on_demand_is_not_started_while_it_is_drained(operator: Stranger) -> None:
    operator.control.ok("drain_instance", WORK_S, instance="prepare.0")
    assert row(operator, "prepare.0")["state"] == "draining"
    operator.control.ok("resume_instance", instance="prepare.0")
    assert row(operator, "prepare.0")["state"] != "draining"


@pytest.mark.parametrize("instance", ["lipsync.7", "broker", ""])
def test_what_is_no_instance_is_not_found(operator: Stranger, instance: str) -> None:
    for op in ("drain_instance", "resume_instance"):
        error = operator.control.refused(op, instance=instance)
        assert error["code"] == "NOT_FOUND"
        assert "lipsync.0" in error["message"]


def musecast(daemon: Daemon, *arguments: str) -> tuple[int, str]:
    """The exit code of a command that is run in this process, and what it printed."""
    printed = io.StringIO()
    where = {"MUSECAST_ENDPOINTS__CONTROL": daemon.control, "MUSECAST_ENDPOINTS__STREAM": daemon.stream}
    with mock.patch.dict(os.environ, where), redirect_stdout(printed), redirect_stderr(printed):
        return run([*arguments]), printed.getvalue()


def test_the_command_line_drains_and_resumes(own_daemon: Daemon, operator: Stranger) -> None:
    code, drained = musecast(own_daemon, "drain", "asr.0", "--json")
    assert (code, json.loads(drained)) == (0, {"instance": "asr.0", "state": "drained"})
    assert row(operator, "asr.0")["pid"] is None
    code, resumed = musecast(own_daemon, "resume", "asr.0")
    assert (code, "asr.0" in resumed) == (0, True)
    code, unknown = musecast(own_daemon, "drain", "asr.9")
    assert (code, "asr.0" in unknown) == (1, True)


def test_the_daemon_is_drained_takes_no_more_sessions_and_lets_those_there_are_finish(
    own_daemon: Daemon, connect: Callable[[Daemon], Stranger]
) -> None:
    """Last here: there is no way back."""
    stranger = connect(own_daemon)
    session = stranger.session()
    turn = session.say("This is said to its end, although the operator wants the machine back.")
    session.wait_media(1, turn)
    asked = stranger.control.send("drain", timeout_s=WORK_S)
    assert stranger.control.ok("health")["status"] == "draining"
    refused = stranger.control.refused("start_session")
    assert refused["code"] == "NOT_READY"
    assert "restart" in refused["message"]
    session.wait_ended(turn)
    assert session.wait_event("session.ended")["data"]["reason"] == "ended"
    report = stranger.control.take(asked, WORK_S)
    assert (report["sessions"], report["finished"], report["abandoned"]) == (1, 1, [])
