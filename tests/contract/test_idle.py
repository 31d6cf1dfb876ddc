"""``idle: loop``: the avatar is there between the turns too, without a seam."""

from __future__ import annotations

from tests.support.client import Message, Stranger
from tests.support.limits import WORK_S
from tests.support.pacing import assert_paced
from tests.support.segments import assert_continuous, assert_seamless, check_segment, decode

IDLE_LEAD_US = 640_000


def test_idle_segments_fill_the_wait_around_a_turn(stranger: Stranger) -> None:
    def another() -> list[Message]:
        other = stranger.session(idle="loop")
        other.wait_media(8, turn=0)
        return other.media

    session = stranger.session(idle="loop")
    session.wait_media(4, turn=0)
    turn = session.speak("I was waiting for this.")
    seen = len(session.media)
    session.wait_media(seen + 3)
    headers = [m.header for m in session.media]
    turns = [h["turn"] for h in headers]
    first, last = turns.index(turn), len(turns) - 1 - turns[::-1].index(turn)
    assert set(turns[:first]) == {0}
    assert set(turns[last + 1 :]) == {0}
    assert_seamless(headers)
    for message in session.media:
        check_segment(message.header, message.payload)
    assert_paced(session.media, another, IDLE_LEAD_US)
    decoded = decode(session.blob(0, len(headers)))
    assert_continuous(decoded, headers[0]["pts"], sum(h["frames"] for h in headers))
    silent = decode(session.blob(1, first - 1)).sound
    assert float(abs(silent).max()) < 0.01, "idling is not silent"
    result = session.end()
    assert result["turns"] == 1


def test_an_interrupted_turn_goes_back_to_idling(stranger: Stranger) -> None:
    session = stranger.session(idle="loop")
    turn = session.say("This will not be heard to its end, because somebody interrupts. " * 12)
    session.wait_media(3, turn)
    reply = session.ok("interrupt")
    interrupted = session.wait_event("turn.interrupted", turn=turn)
    session.stream.wait(
        lambda m: m.header.get("kind") == "media" and m.header["gen"] == 1, WORK_S, "media of the new generation"
    )
    new = [m.header for m in session.media if m.header["gen"] == 1]
    assert new[0]["pts"] == reply["flush_from"] == interrupted["data"]["flush_from"]
    assert {h["turn"] for h in new} == {0}
    assert_seamless([m.header for m in session.media])
