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
from tests.support.client import Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.limits import RECOVERY_S, WORK_S
from tests.support.segments import assert_seamless

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


def test_one_of_two_encoders_is_drained_and_nobody_notices(operator: Stranger) -> None:
    before = row(operator, "encode.0")
    session = operator.session()
    turn = session.say(TEXT)
    session.wait_media(2, turn)
    operator.control.ok("drain_instance", WORK_S, instance="encode.0")
    drained = row(operator, "encode.0")
    assert (drained["state"], drained["pid"], drained["restarts"]) == ("draining", None, before["restarts"])
    assert operator.control.ok("health")["status"] == "degraded"
    session.wait_ended(turn)
    assert_seamless([m.header for m in session.media])
    assert "audio_only" not in {m.header["degraded"] for m in session.of_turn(turn)}
    assert row(operator, "encode.0")["pid"] is None, "something has taken its place"
    operator.control.ok("drain_instance", instance="encode.0")
    operator.control.ok("resume_instance", instance="encode.0")
    wait_health(operator, "ok")
    after = row(operator, "encode.0")
    assert after["epoch"] == before["epoch"] + 1
    assert after["state"] in ("idle", "busy")


def test_the_only_lipsync_is_drained_in_mid_speech(operator: Stranger) -> None:
    session = operator.session()
    turn = session.say(TEXT)
    session.wait_media(2, turn)
    operator.control.ok("drain_instance", WORK_S, instance="lipsync.0")
    assert row(operator, "lipsync.0")["pid"] is None
    session.wait_ended(turn)
    assert session.of_turn(turn)[-1].header["degraded"] == "audio_only"
    assert_seamless([m.header for m in session.media])
    operator.control.ok("resume_instance", instance="lipsync.0")
    wait_health(operator, "ok")
    again = session.speak("The lips are back.")
    assert "audio_only" not in {m.header["degraded"] for m in session.of_turn(again)}


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
