"""A turn whose text comes piece by piece, and one that a voice does not cut."""

from __future__ import annotations

import pytest

from broker.sessions.session import Session
from broker.sessions.turn import Turn
from tests.support.floor import Floor, contiguous

S = 1_000_000


@pytest.fixture
def floor() -> Floor:
    return Floor()


def opened(floor: Floor, session: Session, text: str) -> Turn:
    turn = session.new_turn("say", floor.time, pieces=True)
    assert turn.text is not None
    turn.text.add(text, end=False)
    return turn


def more(session: Session, turn: Turn, text: str, *, end: bool = False) -> None:
    found = session.open_text(turn.number)
    assert found is not None
    found.add(text, end=end)
    session.touch()


def said(floor: Floor) -> list[str]:
    return [e["data"]["text"] for e in floor.events("sentence")]


def test_sentences_are_spoken_as_soon_as_they_are_complete(floor: Floor) -> None:
    session = floor.session()
    turn = opened(floor, session, "The first one. The sec")
    floor.run(floor.time + S)
    assert said(floor) == ["The first one."]
    more(session, turn, "ond one. And")
    floor.run(floor.time + 3 * S)
    assert said(floor) == ["The first one.", "The second one."]
    assert not floor.events("turn.ended")
    more(session, turn, " the rest", end=True)
    floor.run(floor.time + 10 * S)
    assert said(floor) == ["The first one.", "The second one.", "And the rest"]
    assert [e["turn"] for e in floor.events("turn.ended")] == [1]
    assert [e["data"]["text"] for e in floor.events("reply.delta")] == [
        "The first one. The sec", "ond one. And", " the rest"
    ]  # fmt: skip
    assert session.history.lines()[0].content == "The first one. The second one. And the rest"
    assert contiguous(floor.media)
    assert session.open_text(turn.number) is None


def test_a_text_that_is_complete_before_its_turn_begins_is_spoken_whole(floor: Floor) -> None:
    session = floor.session()
    session.new_turn("say", floor.time, "Before.")
    turn = opened(floor, session, "The fi")
    more(session, turn, "rst. The sec")
    more(session, turn, "ond.", end=True)
    floor.run(floor.time + 20 * S)
    assert said(floor) == ["Before.", "The first.", "The second."]
    assert [e["turn"] for e in floor.events("turn.ended")] == [1, 2]


def test_a_sentence_is_heard_to_its_end_while_more_text_is_waited_for(floor: Floor) -> None:
    floor.speech_us = 1_700_000
    session = floor.session()
    turn = opened(floor, session, "The first one. The")
    floor.run(floor.time + 8 * S)
    assert sum(h["dur"] for _, h in floor.media) == 6 * 320_000, "with the silence that fills its last quantum"
    assert session.output.timeline.late == 0
    more(session, turn, " second one.", end=True)
    floor.run(floor.time + 10 * S)
    (first, second) = floor.events("sentence")
    assert first["data"]["pts"] + 1_700_000 < second["data"]["pts"] < first["data"]["pts"] + 2_100_000
    assert contiguous(floor.media)


def test_a_text_ends_ten_seconds_after_its_newest_piece(floor: Floor) -> None:
    session = floor.session()
    turn = opened(floor, session, "One. Tw")
    floor.run(floor.time + 9 * S)
    more(session, turn, "")
    floor.run(floor.time + 10 * S - 1)
    assert session.open_text(turn.number) is not None
    floor.run(floor.time + 1)
    assert session.open_text(turn.number) is None
    floor.run(floor.time + 10 * S)
    assert said(floor) == ["One.", "Tw"]
    assert [e["turn"] for e in floor.events("turn.ended")] == [1]


def test_a_text_without_a_word_ends_its_turn(floor: Floor) -> None:
    session = floor.session()
    turn = opened(floor, session, " ")
    floor.run(floor.time + S)
    more(session, turn, "\n", end=True)
    floor.run(floor.time + S)
    assert [e["event"] for e in floor.events()][-1] == "turn.ended"
    assert not floor.media
    assert not session.history.lines()


def test_a_turn_that_is_cut_takes_no_more_text(floor: Floor) -> None:
    session = floor.session()
    turn = opened(floor, session, "One. Two. Three")
    floor.run(floor.time + S)
    session.interrupt("client")
    assert session.open_text(turn.number) is None
    floor.run(floor.time + 20 * S)
    assert [e["event"] for e in floor.events()][-1] == "turn.interrupted"


def test_a_session_that_ends_speaks_what_has_come(floor: Floor) -> None:
    session = floor.session()
    turn = opened(floor, session, "One. Two")
    floor.run(floor.time + S)
    session.begin_closing("ended")
    assert session.open_text(turn.number) is None
    floor.run(floor.time + 10 * S)
    assert said(floor) == ["One.", "Two"]
    assert session.idle


def test_a_voice_does_not_cut_what_is_not_interruptible(floor: Floor) -> None:
    floor.speech_us = 4 * S
    session = floor.session()
    session.new_turn("say", floor.time, "Before you go on, this.", interruptible=False)
    session.new_turn("say", floor.time, "This waits.")
    session.new_turn("say", floor.time, "This has to be said, too.", interruptible=False)
    floor.run(floor.time + S)
    voice = session.new_turn("audio", floor.time)
    cut, flush_from = session.interrupt("barge_in", keep=voice)
    assert (cut, flush_from) == (2, session.output.timeline.end)
    assert session.output.timeline.gen == 0, "what is being shown goes on"
    voice.understood("What?")
    session.touch()
    floor.run(floor.time + 30 * S)
    assert [e["turn"] for e in floor.events("turn.ended")] == [1, 3, 4]
    assert [e["turn"] for e in floor.events("turn.interrupted")] == [2]
    assert contiguous(floor.media)
    assert {h["gen"] for _, h in floor.media} == {0}


@pytest.mark.parametrize("reason", ["client", "ended"])
def test_an_interrupt_does_cut_it(floor: Floor, reason: str) -> None:
    floor.speech_us = 4 * S
    session = floor.session()
    session.new_turn("say", floor.time, "Before you go on, this.", interruptible=False)
    floor.run(floor.time + S)
    assert session.interrupt(reason)[0] == 1
    assert session.output.timeline.gen == 1


def test_a_voice_cuts_what_is_shown_and_leaves_what_has_to_be_said(floor: Floor) -> None:
    floor.speech_us = 4 * S
    session = floor.session()
    session.new_turn("say", floor.time, "This may be cut.")
    session.new_turn("say", floor.time, "This may not.", interruptible=False)
    floor.run(floor.time + S)
    voice = session.new_turn("audio", floor.time)
    assert session.interrupt("barge_in", keep=voice)[0] == 1
    assert session.output.timeline.gen == 1
    voice.understood("What?")
    session.touch()
    floor.run(floor.time + 30 * S)
    assert [e["turn"] for e in floor.events("turn.ended")] == [2, 3]
    assert contiguous(floor.media)
