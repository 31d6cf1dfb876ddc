"""``segments`` and ``events``: what the stream said can be read again, byte for byte."""

from __future__ import annotations

import msgpack
import pytest

from tests.support.client import Session, Stranger
from tests.support.limits import WORK_S

TEXT = "This session is read again from the ring. " * 4


@pytest.fixture(scope="module")
def spoken(module_stranger: Stranger) -> Session:
    session = module_stranger.session(mode="offline")
    session.speak(TEXT)
    return session


def _header(raw: object) -> dict[str, object]:
    return msgpack.unpackb(raw) if isinstance(raw, bytes) else raw  # type: ignore[return-value]


def test_segments_returns_what_was_published(spoken: Session) -> None:
    published = [(m.header, m.payload) for m in spoken.media]
    result = spoken.ok("segments", from_seq=0, max=256)
    assert result["init"] == spoken.reply["init"]
    assert (result["oldest_seq"], result["newest_seq"]) == (0, len(published) - 1)
    read = [(_header(header), payload) for header, payload in result["segments"]]
    assert read == published[: len(read)]
    assert len(read) == len(published)


def test_segments_goes_on_from_where_it_is_asked(spoken: Session) -> None:
    collected: list[int] = []
    while True:
        result = spoken.ok("segments", from_seq=len(collected), max=2)
        assert len(result["segments"]) <= 2
        collected += [_header(h)["seq"] for h, _ in result["segments"]]  # type: ignore[misc]
        if len(collected) > result["newest_seq"]:
            break
    assert collected == list(range(len(spoken.media)))


def test_events_returns_what_was_published(spoken: Session) -> None:
    published = spoken.events()
    result = spoken.ok("events", from_n=0)
    assert [_header(e) for e in result["events"]] == published
    assert (result["oldest_n"], result["newest_n"]) == (0, len(published) - 1)
    some = spoken.ok("events", from_n=2, max=3)["events"]
    assert [_header(e) for e in some] == published[2:5]


def test_every_event_has_every_field_with_its_type(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    session.speak("Typed.")
    session.end()
    events = [_header(e) for e in session.ok("events", from_n=0)["events"]]
    assert [e["event"] for e in events][:: len(events) - 1] == ["session.started", "session.ended"]
    types = {"v": int, "boot": str, "sid": str, "n": int, "event": str, "turn": int, "data": dict}
    for event in events:
        assert {name: type(event[name]) for name in types} == types, event
        assert set(event) - set(types) <= {"pts"}
    assert {e["turn"] for e in events if str(e["event"]).startswith("session.")} == {0}, (
        "no turn is 0, as in media"
    )


def test_end_tells_that_nothing_more_will_come(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    session.speak("Short.")
    assert session.ok("segments", from_seq=0)["end"] is False
    session.end()
    result = session.ok("segments", from_seq=0)
    assert result["end"] is True
    assert len(result["segments"]) == len(session.media)
    names = [_header(e)["event"] for e in session.ok("events", from_n=0)["events"]]
    assert names[-1] == "session.ended"


def test_a_late_joiner_gets_init_before_media(stranger: Stranger) -> None:
    session = stranger.session()
    turn = session.say("A very long sentence is spoken now, so that somebody may join in the middle of it. " * 8)
    session.wait_media(2)
    joiners = [stranger.subscribe(f"seg.{session.sid}.") for _ in range(5)]
    for joiner in joiners:
        joiner.wait(lambda m: m.header["kind"] == "media", WORK_S, "media")
        first = joiner.messages[0]
        assert first.header["kind"] == "init"
        assert first.payload == session.reply["init"]
    session.ok("interrupt", turn=turn)
