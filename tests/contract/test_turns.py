"""Turns wait in a queue; ``interrupt`` ends them, and what was heard is remembered."""

from __future__ import annotations

import time

from tests.support.client import TERMINAL, Session, Stranger
from tests.support.limits import BEAT_S, WORK_S
from tests.support.segments import assert_seamless, decode

LONG = (
    "First I tell you about the red house on the hill. Then I tell you about the green boat on the lake. "
    "After that comes the long story of the yellow train in the snow. "
    + "It goes on and on, from station to station, and at every one of them somebody gets on. " * 8
    + "And only at the very end, when everybody sleeps, I speak of the purple elephant."
)
"""Most of a minute: whoever listens to its beginning has time, also on a slow machine."""
QUANTUM_US = 320_000
AHEAD_S = 8
"""More than lip-sync may be ahead of what is shown."""


def _terminals(session: Session) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for event in session.events():
        if event["event"] in TERMINAL:
            found.setdefault(event["turn"], []).append(event["event"])
    return found


def test_turns_run_one_after_another(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    turns = [session.say(text) for text in ("One.", "Two, two.", "Three, three, three.")]
    assert turns == [1, 2, 3]
    session.wait_ended(3)
    assert [h["turn"] for h in session.events("turn.started")] == turns
    assert _terminals(session) == {turn: ["turn.ended"] for turn in turns}
    names = [(e["event"], e["turn"]) for e in session.events() if e["event"] in ("turn.started", "turn.ended")]
    assert names == [(name, turn) for turn in turns for name in ("turn.started", "turn.ended")]
    order = [m.header["turn"] for m in session.media]
    assert order == sorted(order)
    assert_seamless([m.header for m in session.media])


def test_eight_turns_wait_and_a_ninth_is_busy(stranger: Stranger) -> None:
    session = stranger.session()
    session.say(LONG)
    session.wait_event("turn.started", turn=1)
    asked = [session.control.send("say", session_id=session.sid, text="Waiting.") for _ in range(9)]
    *waiting, one_too_many = [session.control.take(number) for number in asked]
    assert [reply["turn"] for reply in waiting] == list(range(2, 10))
    error = one_too_many["error"]
    assert error["code"] == "BUSY"
    assert error["retry_after_ms"] > 0
    assert "8" in error["message"]
    session.ok("interrupt")
    session.wait_event("turn.interrupted", turn=9)
    assert _terminals(session) == {turn: ["turn.interrupted"] for turn in range(1, 10)}
    turn = session.speak("The session goes on.")
    assert turn == 10
    headers = [m.header for m in session.media]
    assert_seamless(headers)


def test_interrupt_in_mid_speech(stranger: Stranger) -> None:
    session = stranger.session()
    first = session.say(LONG)
    second = session.say("This one waits.")
    session.wait_media(4, first)
    began = time.monotonic()
    sessions = session.control.ok("status")["sessions"]
    clock_before = next(s for s in sessions if s["session_id"] == session.sid)["clock"]
    reply = session.ok("interrupt")
    clock_at_most = clock_before + int((time.monotonic() - began) * 1e6)
    interrupted = session.wait_event("turn.interrupted", turn=first)
    session.wait_event("turn.interrupted", turn=second)

    assert reply["turn"] == first
    assert reply["gen"] == 1
    flush_from = reply["flush_from"]
    assert interrupted["data"]["flush_from"] == flush_from
    assert interrupted["data"]["reason"]
    # flush_from = min(end of the newest published segment, smallest multiple of 320000 >= clock + 40000)
    old = [m.header for m in session.media if m.header["gen"] == 0]
    end = max(h["pts"] + h["dur"] for h in old)
    assert flush_from % QUANTUM_US == 0
    assert flush_from <= end
    earliest, latest = (-(-(clock + 40_000) // QUANTUM_US) * QUANTUM_US for clock in (clock_before, clock_at_most))
    assert min(end, earliest) <= flush_from <= min(end, latest), "cut earlier or later than need be"

    # The rest is silence: the work was stopped, the queue is empty, and the next turn begins at the cut.
    third = session.speak("Now something else.")
    assert third == second + 1
    positions = [i for i, m in enumerate(session.all) if m.header.get("event") == "turn.interrupted"]
    late = [m for m in session.all[positions[0] :] if m.header.get("kind") == "media" and m.header["gen"] == 0]
    assert not late, "old media after turn.interrupted"
    new = [m.header for m in session.media if m.header["gen"] == 1]
    assert new[0]["pts"] == flush_from
    assert {h["turn"] for h in new} == {third}
    assert_seamless([m.header for m in session.media])
    assert _terminals(session) == {
        first: ["turn.interrupted"],
        second: ["turn.interrupted"],
        third: ["turn.ended"],
    }
    assert not session.of_turn(second)
    first_new = new[0]["seq"]
    assert decode(session.blob(first_new)).frames == sum(h["frames"] for h in new)


def frames_made(stranger: Stranger) -> float:
    """By lip-sync, as its processes have told until now."""
    rows = stranger.control.ok("status")["stages"]
    return sum(row["metrics"].get("frames", 0) for row in rows if row["stage"] == "lipsync")


def test_interrupt_stops_the_work_and_does_not_merely_hide_it(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    beats = stranger.subscribe("sys.")
    beats.wait(lambda _: len(beats.messages) > 1, 2 * BEAT_S, "what the stages tell of the work before")
    made = frames_made(stranger)
    turn = session.say(LONG * 20)
    assert len(LONG * 20) > 15_000
    session.wait_media(1, turn)
    session.ok("interrupt")
    session.wait_event("turn.interrupted", turn=turn)
    # Tens of thousands of frames were to come: if the stages went on with them, they would still be at it.
    other = stranger.session(mode="offline")
    other.speak("Quick.")
    status = stranger.control.ok("status")
    assert sum(queue["media_ms"] for queue in status["queues"].values()) < 3000
    seen = len(beats.messages)
    beats.wait(lambda _: len(beats.messages) > seen + 1, 2 * BEAT_S, "what the stages tell of seconds of work")
    shown = sum(m.header["frames"] for m in session.media + other.media)
    assert frames_made(stranger) - made <= shown + 25 * AHEAD_S, "work nobody will see"


def test_interrupt_with_nothing_to_cut(stranger: Stranger) -> None:
    session = stranger.session()
    reply = session.ok("interrupt")
    assert (reply["turn"], reply["gen"]) == (None, 0)
    session.speak("Hello.")
    reply = session.ok("interrupt")
    assert (reply["turn"], reply["gen"]) == (None, 0)
    assert "turn.interrupted" not in [e["event"] for e in session.events()]


def test_interrupt_of_a_turn_that_has_ended_leaves_the_next_alone(stranger: Stranger) -> None:
    session = stranger.session()
    first = session.speak("Done.")
    second = session.say("This must be heard to its end.")
    assert session.ok("interrupt", turn=first)["turn"] is None
    session.wait_ended(second)


def test_history_holds_what_was_heard(stranger: Stranger) -> None:
    session = stranger.session()
    turn = session.say(LONG)
    # "red house" has been heard; the elephant is far away.
    session.stream.wait(
        lambda m: m.header.get("kind") == "media" and m.header["pts"] >= 3_500_000, WORK_S, "3.5 s of speech"
    )
    session.ok("interrupt", turn=turn)
    asked = session.ok("chat", text="What did you just say?")["turn"]
    session.wait_ended(asked)
    answer = "".join(e["data"]["text"] for e in session.events("reply.delta", asked)).lower()
    assert "red house" in answer, answer
    assert "elephant" not in answer, answer
