"""Text that is said piece by piece, as a language model outside writes it; and turns that a voice does not cut."""

from __future__ import annotations

from tests.support.client import Stranger
from tests.support.limits import WORK_S
from tests.support.segments import assert_seamless


def test_text_that_is_appended_is_one_turn(stranger: Stranger) -> None:
    session = stranger.session()
    turn = session.ok("say", text="Hello, this is the first sentence. And", append=True)["turn"]
    first = session.wait_event("sentence", turn=turn)
    assert first["data"]["text"] == "Hello, this is the first sentence."
    for piece in (" this", "", " is the second", " one."):
        assert session.ok("say", text=piece, append=True, turn=turn)["turn"] == turn
    assert session.ok("say", text=" The end.", turn=turn)["turn"] == turn
    session.wait_ended(turn)
    spoken = [e["data"]["text"] for e in session.events("sentence", turn)]
    assert " ".join(spoken) == "Hello, this is the first sentence. And this is the second one. The end."
    deltas = [e["data"]["text"] for e in session.events("reply.delta", turn)]
    assert "".join(deltas) == "Hello, this is the first sentence. And this is the second one. The end."
    assert_seamless([m.header for m in session.media])
    assert session.say("Another turn.") == turn + 1


def test_an_open_text_is_ended_without_more_of_it(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    turn = session.ok("say", text="No stop at the end", end=False)["turn"]
    session.ok("say", text="", turn=turn, append=True, end=True)
    session.wait_ended(turn)
    assert [e["data"]["text"] for e in session.events("sentence", turn)] == ["No stop at the end"]


def test_a_turn_that_is_not_open_takes_no_text(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    whole = session.speak("A whole one.")
    ended = session.ok("say", text="One. Two", append=True)["turn"]
    session.ok("interrupt")
    for turn in (whole, ended, 99):
        error = session.refused("say", text="More.", turn=turn, append=True)
        assert error["code"] == "NOT_FOUND"
        assert f"turn {turn} " in error["message"]
        assert "without 'turn'" in error["message"]


def test_an_open_text_has_the_limit_of_a_turn(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    turn = session.ok("say", text="x" * 19_000, append=True)["turn"]
    error = session.refused("say", text="y" * 1_001, turn=turn, append=True)
    assert error["code"] == "TOO_LARGE"
    assert "20000" in error["message"]
    session.ok("interrupt")


def test_what_was_heard_is_told_when_a_turn_is_cut(stranger: Stranger) -> None:
    text = "These are the words that somebody hears, one after the other, until it is enough. " * 6
    session = stranger.session()
    turn = session.say(text)
    # Of which 3 s are heard: many words more than while a busy machine goes from one request to the next.
    session.stream.wait(
        lambda m: m.header.get("kind") == "media" and m.header["pts"] >= 4_000_000, WORK_S, "4 s of speech"
    )
    session.ok("interrupt")
    heard = session.wait_event("turn.interrupted", turn=turn)["data"]["spoken_text"]
    assert heard
    assert text.startswith(heard)
    again = session.say(text)
    session.wait_media(1, again)
    begun = session.of_turn(again)[0].header["pts"]
    # At once after one another: from then on the head is taken to move.
    asked = [session.control.send(op, session_id=session.sid, pts=begun) for op in ("played", "interrupt")]
    assert all(session.control.take(number)["ok"] for number in asked)
    less = session.wait_event("turn.interrupted", turn=again)["data"]["spoken_text"]
    assert text.startswith(less)
    assert len(less) < len(heard)
    assert session.refused("played", pts=-1)["code"] == "INVALID_ARGUMENT"
