"""Who comes back before the time that it was told, again and again, comes behind who waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.media.patience import PRESSING_US, YIELD_US, Patience
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from tests.support.floor import Floor

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("asks_ms", "presses"),
    [
        ([1000], False),  # when it was told
        ([950], False),  # clocks differ
        ([500], False),  # once is no time
        ([300, 600], True),
        ([500, 1000], False),
        ([500, 1000, 1100], False),
    ],
)
def test_twice_in_a_row_before_its_time_is_pressing(asks_ms: list[int], presses: bool) -> None:
    patience = Patience()
    patience.told(0, SECOND)
    for ms in asks_ms:
        patience.came(ms * 1000)
    assert patience.pressing(asks_ms[-1] * 1000) == presses


def test_it_is_over_when_it_has_waited_for_a_while() -> None:
    patience = Patience()
    patience.told(0, SECOND)
    assert [patience.came(k) for k in (1, 2, 3)] == [False, True, False], "it begins once"
    assert patience.late_by(4) == YIELD_US
    assert not patience.pressing(3 + PRESSING_US)
    assert patience.late_by(3 + PRESSING_US) == 0


def test_what_has_yielded_for_minutes_still_comes_behind_what_is_new() -> None:
    """Or a flood's backlog would come before everybody else's work once it is old enough."""
    patience = Patience()
    patience.told(0, SECOND)
    patience.came(1)
    patience.came(2)
    assert 0 + patience.late_by(3) > 300 * SECOND


def press(session: Session, now: int) -> None:
    session.patience.told(now, 60 * SECOND)
    for _ in range(3):
        session.came()


@pytest.fixture
def crowd(floor: Floor) -> Callable[[int], list[Session]]:
    return lambda count: [floor.session(sid=f"crowd{k}") for k in range(count)]


@pytest.mark.parametrize("asked_for", ["before it pressed", "since"])
def test_the_turn_of_one_that_waits_is_made_before_those_of_a_crowd_that_does_not(
    floor: Floor, crowd: Callable[[int], list[Session]], asked_for: str
) -> None:
    """Far more than can be served: twelve that ask for what only eight could have."""
    floor.frame_us["lipsync"] = 5_000
    floor.ledger.ready("lipsync.0", 1, 16)  # what a worker has in hand is not taken from it
    floor.speech_us = 6 * SECOND
    many = crowd(12)
    for session in many:
        if asked_for == "since":
            press(session, floor.time)
        session.new_turn("say", floor.time, "One.")
    floor.run(floor.time + 20_000)
    for session in many:
        press(session, floor.time)
    polite = floor.session(sid="polite")
    polite.new_turn("say", floor.time, "One.")
    floor.run(floor.time + 9 * SECOND)
    media = [(at, h) for at, h in floor.media if h["sid"] == "polite"]
    assert sum(h["dur"] for _, h in media) >= 6 * SECOND
    assert {h["degraded"] for _, h in media} == {None}
    assert polite.output.totals()["late"] == 0
    assert sum(one.output.totals()["late"] for one in many) > 0, "there was enough for all"


def test_one_that_presses_has_one_turn_at_a_time_beside_others_and_holds_nobody_up(
    floor: Floor, crowd: Callable[[int], list[Session]]
) -> None:
    registry = Sessions(floor, floor.asr_streams, floor.idle_cache)
    one, other = crowd(2)
    registry.live = {s.id: s for s in (one, other)}
    one.new_turn("say", floor.time, "One.")
    floor.run(floor.time + 1)
    assert not registry.holds_others_up(one)
    press(one, floor.time)
    assert not registry.holds_others_up(one), "nobody else speaks"
    other.new_turn("say", floor.time, "One.")
    floor.run(floor.time + 1)
    assert registry.holds_others_up(one)
    assert not registry.holds_others_up(other)
    floor.run(floor.time + 2 * PRESSING_US)
    assert not registry.holds_others_up(one)


def test_what_waits_is_told_in_seconds_of_speech_and_in_bytes(floor: Floor) -> None:
    registry = Sessions(floor, floor.asr_streams, floor.idle_cache)
    session = floor.session()
    registry.live = {session.id: session}
    text = "A sentence of forty letters, or nearly so."
    session.new_turn("say", floor.time, text)
    session.new_turn("chat", floor.time, text)
    assert registry.waiting() == {"speech_waiting_ms": 65 * len(text) + 5000, "audio_waiting_bytes": 0}
    floor.run(floor.time + 20 * SECOND)
    assert registry.waiting()["speech_waiting_ms"] == 0, "all of it is published"
