from __future__ import annotations

import pytest

from broker.media.lead import EASY_RUN, EASY_US, SHORT, TIGHT_US, Lead
from tests.support.floor import QUANTUM, Floor, contiguous

LEAST, MOST = 400_000, 1_000_000
EASY, BETWEEN, TIGHT, LATE = EASY_US, (TIGHT_US + EASY_US) // 2, TIGHT_US - 1, -1


@pytest.mark.parametrize(
    ("seen", "wide"),
    [
        pytest.param([], False, id="a session begins close to its clock"),
        pytest.param([EASY, BETWEEN, TIGHT_US], False, id="what is made in good time changes nothing"),
        pytest.param([TIGHT], True, id="one tight segment is enough"),
        pytest.param([LATE], True, id="so is a late one"),
        pytest.param([TIGHT, *[EASY] * (EASY_RUN - 1)], True, id="it takes a while to be trusted again"),
        pytest.param([TIGHT, *[EASY] * EASY_RUN], False, id="and then it is"),
        pytest.param([TIGHT, *[EASY] * (EASY_RUN - 1), BETWEEN, EASY], True, id="counted in a row"),
        pytest.param([TIGHT, *[EASY] * (EASY_RUN - 1), TIGHT, EASY], True, id="and from the last tight one"),
        pytest.param([TIGHT, *[BETWEEN] * 99], True, id="neither tight nor easy leads nowhere"),
    ],
)
def test_the_lead_follows_how_early_segments_are_finished(seen: list[int], wide: bool) -> None:
    lead = Lead(LEAST, MOST)
    for early in seen:
        lead.finished(early)
    assert lead.wide is wide
    assert lead.us == (MOST if wide else LEAST)


@pytest.mark.parametrize(
    ("wide", "heard", "most", "longest"),
    [
        (False, True, 4, SHORT),
        (False, True, 1, 1),
        (False, False, 4, 4),
        (True, True, 4, 4),
        (True, False, 16, 16),
    ],
)
def test_segments_are_short_while_a_voice_may_cut_in_and_the_machine_keeps_up(
    wide: bool, heard: bool, most: int, longest: int
) -> None:
    lead = Lead(LEAST, MOST)
    if wide:
        lead.finished(TIGHT)
    assert lead.longest(most, heard=heard) == longest


def test_the_least_is_never_above_the_most() -> None:
    assert Lead(LEAST, 40_000).us == 40_000


def early(floor: Floor) -> list[int]:
    """How far ahead of the clock each segment began when it was published, microseconds; the clock of Pacing."""
    found: list[int] = []
    anchor, end = (0, 0), 0
    for at, h in floor.media:
        if not found or anchor[0] + at - anchor[1] >= end:
            anchor = (h["pts"], at)
        found.append(h["pts"] - anchor[0] - at + anchor[1])
        end = h["pts"] + h["dur"]
    return found


def test_a_session_whose_stages_are_quick_is_little_ahead_and_never_late(floor: Floor) -> None:
    session = floor.session()
    floor.speech_us = 12_000_000
    session.new_turn("say", floor.time, "Long.")
    floor.run(20_000_000)
    assert contiguous(floor.media)
    assert max(early(floor)) == LEAST
    assert max(h["dur"] for _, h in floor.media) == 4 * QUANTUM
    assert session.output.timeline.late == 0


def test_a_session_that_was_late_is_further_ahead_until_the_machine_keeps_up_again(floor: Floor) -> None:
    session = floor.session()
    floor.speech_us = 60_000_000
    session.new_turn("say", floor.time, "Long.")
    floor.run(4_000_000)
    floor.frozen_until["lipsync"] = 9_000_000
    floor.run(80_000_000)
    assert contiguous(floor.media)
    ahead = early(floor)
    widest = ahead.index(max(ahead))
    assert max(ahead) == MOST
    assert max(ahead[:4]) <= LEAST
    assert max(ahead[widest + EASY_RUN + 2 :]) == LEAST


def test_segments_are_short_once_a_microphone_is_heard(floor: Floor) -> None:
    for sid, barge_in, longest in (("a", True, SHORT), ("b", False, 4)):
        session = floor.session(sid=sid, barge_in=barge_in)
        session.microphone.tune(16_000)
        floor.speech_us = 8_000_000
        session.new_turn("say", floor.time, "Long.")
        floor.run(floor.time + 15_000_000)
        durs = [h["dur"] for _, h in floor.media if h["sid"] == sid]
        assert sum(durs) == 25 * QUANTUM
        assert max(durs) == longest * QUANTUM
