"""What a session is started with, and what of it ``update_session`` changes."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from tests.support.client import Stranger


def test_settings_that_are_changed_are_answered_and_the_rest_stays(stranger: Stranger) -> None:
    session = stranger.session(mode="offline", voice="en", language="en", idle_timeout_s=100)
    before = session.ok("update_session")
    assert (before["voice"], before["language"], before["idle_timeout_s"]) == ("en", "en", 100)
    assert before["barge_in"] is True
    after = session.ok("update_session", voice="de", barge_in=False, system_prompt="Be short.", idle_timeout_s=20)
    changed = {"voice": "de", "barge_in": False, "system_prompt": "Be short.", "idle_timeout_s": 20}
    assert after == before | changed | {"id": after["id"]}
    session.speak("Hallo.")


def test_the_default_of_the_idle_time_is_the_limit(stranger: Stranger) -> None:
    assert stranger.session(mode="offline").ok("update_session")["idle_timeout_s"] == 600


def test_keep_alive_answers_nothing(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    assert set(session.ok("keep_alive")) == {"v", "id", "ok"}
    session.end()
    assert session.refused("keep_alive")["code"] == "NOT_FOUND"
    assert session.refused("update_session", voice="de")["code"] == "NOT_FOUND"


def test_a_greeting_is_the_first_turn(stranger: Stranger) -> None:
    session = stranger.session(mode="offline", greeting="Hello, it is me.")
    session.wait_ended(1)
    assert session.events("reply.delta", 1)[0]["data"]["text"] == "Hello, it is me."
    assert session.events("turn.started", 1)[0]["data"]["source"] == "say"
    assert session.say("And again.") == 2


def test_a_wish_for_a_recording_is_told(stranger: Stranger) -> None:
    wishes = {stranger.session(mode="offline", record=wish).sid: wish for wish in (True, False)}
    rows = {row["session_id"]: row["record"] for row in stranger.control.ok("status")["sessions"]}
    assert {sid: rows[sid] for sid in wishes} == wishes
    recorded = next(sid for sid, wish in wishes.items() if wish)
    (started, *_) = stranger.control.ok("events", session_id=recorded, from_n=0)["events"]
    assert msgpack.unpackb(started)["data"]["record"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        {"idle_timeout_s": 9},
        {"idle_timeout_s": 86_401},
        {"idle_timeout_s": float("nan")},
        {"max_duration_s": -1},
        {"cut_margin_ms": 39},
        {"cut_margin_ms": 601},
        {"cut_margin_ms": 40.5},
        {"greeting": " "},
        {"record": "yes"},
    ],
)
def test_what_is_out_of_range_is_refused_by_name(stranger: Stranger, arguments: dict[str, Any]) -> None:
    error = stranger.control.refused("start_session", **arguments)
    assert error["code"] == "INVALID_ARGUMENT"
    assert next(iter(arguments)) in error["message"]
