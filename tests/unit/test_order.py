"""Events and segments that were read back, in the order in which they were published."""

from __future__ import annotations

from typing import Any

import msgpack

from clients.aio.messages import Message
from clients.aio.order import Merged

Q = 320_000


def media(seq: int, turn: int, gen: int, pts: int) -> Message:
    header = {"kind": "media", "seq": seq, "turn": turn, "gen": gen, "pts": pts * Q, "dur": Q}
    return Message(msgpack.packb(header))


def event(name: str, turn: int, at: int | None = None, /, **data: Any) -> Message:
    header: dict[str, Any] = {"event": name, "n": 0, "turn": turn, "data": data}
    return Message(msgpack.packb(header if at is None else header | {"pts": at * Q}))


def names(messages: list[Message]) -> list[Any]:
    return [m.header["seq"] if m.media else f"{m.event} {m.header['turn']}" for m in messages]


def merged(published: list[Message], gen: int | None = None) -> list[Any]:
    """What comes out when events and segments of this are handed in apart."""
    made = Merged([m for m in published if not m.media], gen)
    found: list[Message] = []
    for message in published:
        if message.media:
            found += made.add(message)
    return names([*found, *made.rest()])


def test_a_conversation_with_a_cut_comes_back_as_it_was() -> None:
    published = [
        event("session.started", 0),
        event("turn.started", 1, source="say"),
        event("sentence", 1, index=0, text="One.", pts=0, dur=2 * Q),
        event("speech.started", 1, 0),
        media(0, 1, 0, 0),
        media(1, 1, 0, 1),
        event("sentence", 1, index=1, text="Two.", pts=2 * Q, dur=None),
        media(2, 1, 0, 2),
        media(3, 1, 0, 3),
        event("turn.interrupted", 1, flush_from=3 * Q, reason="client"),
        event("turn.interrupted", 2, flush_from=3 * Q, reason="client"),
        event("turn.started", 3, source="say"),
        event("sentence", 3, index=0, text="Three.", pts=3 * Q, dur=Q),
        event("speech.started", 3, 3),
        media(4, 3, 1, 3),
        media(5, 3, 1, 4),
        event("turn.ended", 3, timings_ms={}),
        media(6, 0, 1, 5),
        event("session.ended", 0, reason="ended"),
    ]
    assert merged(published) == names(published)


def test_idle_pictures_before_and_after_a_turn_stay_where_they_were() -> None:
    published = [
        event("turn.started", 1, source="chat"),
        media(0, 0, 0, 0),
        event("sentence", 1, index=0, text="One.", pts=Q, dur=Q),
        event("speech.started", 1, 1),
        media(1, 1, 0, 1),
        event("turn.ended", 1, timings_ms={}),
        media(2, 0, 0, 2),
        event("turn.interrupted", 2, flush_from=3 * Q, reason="barge_in"),
        media(3, 0, 1, 3),
    ]
    assert merged(published) == names(published)


def test_the_generation_before_tells_that_the_first_segment_is_behind_a_cut() -> None:
    published = [event("turn.interrupted", 1, flush_from=3 * Q, reason="client"), media(4, 0, 1, 3)]
    assert merged(published, gen=0) == names(published)


def test_nothing_is_lost_where_the_rules_say_nothing() -> None:
    published = [media(0, 0, 0, 0), event("turn.failed", 4, code="FAILED"), event("session.ended", 0)]
    assert merged(published) == names(published)
