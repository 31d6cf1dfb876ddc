"""What the user says becomes turns: once each, in time, also when the microphone changes its rate."""

from __future__ import annotations

import pytest

from broker.ipc.messages import (
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSpeechConfirmed,
    AsrSpeechEnded,
    AsrSpeechStarted,
    FromStage,
)
from broker.sessions.session import Session
from tests.support.floor import Floor

RATE = 16_000


@pytest.fixture
def floor() -> Floor:
    floor = Floor()
    floor.asr_streams.up("asr.0", 8)
    return floor


def listening(floor: Floor, rate: int = RATE, *, barge_in: bool = True) -> Session:
    """A session whose user has sent a second of audio."""
    session = floor.session(barge_in=barge_in)
    session.microphone.tune(rate)
    session.microphone.push(bytes(2 * rate), end=False)
    return session


def says(floor: Floor, kind: type[FromStage], stream: int = -1, **fields: object) -> None:
    """An asr process says something of a stream, by default of the one that it got audio of last."""
    name = floor.asr_names[stream]
    floor.asr_streams.heard(name, kind(src="asr.0", ep=1, sid=name, **fields))


def utterance(floor: Floor, text: str = "Hello", *, rejected: bool = False) -> None:
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    says(floor, AsrSpeechEnded, utterance=0, at=8000, audio_ms=500)
    says(floor, AsrFinal, utterance=0, text=text, confidence=0.9, language="en", rejected=rejected)


def test_what_was_understood_is_answered(floor: Floor) -> None:
    session = listening(floor)
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    assert session.microphone.turn is not None
    says(floor, AsrPartial, utterance=0, text="Hel", language="en")
    says(floor, AsrSpeechEnded, utterance=0, at=8000, audio_ms=500)
    says(floor, AsrFinal, utterance=0, text="Hello", confidence=0.9, language="en")
    says(floor, AsrMark, consumed=RATE, keep=RATE, speaking=False)
    assert session.microphone.turn is None
    floor.run(floor.time + 20_000_000)
    assert [e["event"] for e in floor.events()][:5] == [
        "user.speech.started", "transcript.partial", "user.speech.ended", "transcript.final", "turn.started"
    ]  # fmt: skip
    assert {e["turn"] for e in floor.events()} == {1}
    assert session.history.lines()[0] == ("user", "Hello")
    assert session.idle


def test_an_utterance_without_words_ends_its_turn(floor: Floor) -> None:
    listening(floor)
    utterance(floor, "", rejected=True)
    utterance(floor, "late")
    assert [e["event"] for e in floor.events()] == [
        "user.speech.started", "user.speech.ended", "transcript.final", "turn.interrupted"
    ]  # fmt: skip
    assert floor.events("turn.interrupted")[0]["data"]["reason"] == "no_speech"


def test_a_voice_interrupts_what_is_spoken(floor: Floor) -> None:
    session = listening(floor)
    floor.speech_us = 5_000_000
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(floor.time + 800_000)
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    assert floor.events("turn.interrupted") == [], "it may be a cough"
    says(floor, AsrSpeechConfirmed, utterance=0, at=8000)
    (cut,) = floor.events("turn.interrupted")
    assert (cut["turn"], cut["data"]["reason"]) == (1, "barge_in")
    assert session.microphone.turn is not None
    assert session.microphone.turn.number == 2


def speaking(floor: Floor) -> Session:
    """A session that speaks, and whose user has begun a short sound."""
    session = listening(floor)
    floor.speech_us = 5_000_000
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(floor.time + 800_000)
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    says(floor, AsrSpeechEnded, utterance=0, at=4000, audio_ms=250)
    return session


def final(floor: Floor, text: str, **fields: object) -> None:
    says(floor, AsrFinal, utterance=0, text=text, confidence=0.9, language="en", **fields)


@pytest.mark.parametrize("cough", [True, False])
def test_a_cough_and_a_listeners_sound_interrupt_nothing(floor: Floor, cough: bool) -> None:
    session = speaking(floor)
    if cough:
        final(floor, "", rejected=True)
    else:
        final(floor, "Uh-huh.", backchannel=True)
    (cut,) = floor.events("turn.interrupted")
    assert (cut["turn"], cut["data"]["reason"]) == (2, "no_speech")
    assert session.current is not None
    assert session.current.number == 1


def test_a_short_word_interrupts_when_it_is_understood(floor: Floor) -> None:
    speaking(floor)
    final(floor, "Stop.")
    (cut,) = floor.events("turn.interrupted")
    assert (cut["turn"], cut["data"]["reason"]) == (1, "barge_in")


def test_a_listeners_sound_is_an_answer_where_nothing_is_spoken(floor: Floor) -> None:
    session = listening(floor)
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    final(floor, "Okay.", backchannel=True)
    assert floor.events("turn.interrupted") == []
    floor.run(floor.time + 20_000_000)
    assert session.history.lines()[0] == ("user", "Okay.")


def test_a_voice_that_is_confirmed_again_cuts_nothing_more(floor: Floor) -> None:
    """A successor of a dead process hears the same voice again; a turn that was asked for meanwhile stays."""
    session = speaking(floor)
    says(floor, AsrSpeechConfirmed, utterance=0, at=8000)
    session.new_turn("say", floor.time, "One more thing.")
    says(floor, AsrSpeechConfirmed, utterance=0, at=8000)
    final(floor, "Hello")
    assert [e["turn"] for e in floor.events("turn.interrupted")] == [1]


def test_an_utterance_that_never_gets_its_words_fails_its_turn(floor: Floor) -> None:
    listening(floor)
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    floor.run(floor.time + 200_000_000)
    (failed,) = floor.events("turn.failed")
    assert failed["data"]["code"] == "FAILED"


def test_a_voice_behind_a_full_queue_gets_a_turn_that_says_so(floor: Floor) -> None:
    session = listening(floor, barge_in=False)
    for _ in range(9):
        session.new_turn("say", floor.time, "One of many.")
    assert session.full
    utterance(floor)
    (started,) = floor.events("user.speech.started")
    (failed,) = floor.events("turn.failed")
    assert started["turn"] == failed["turn"] == 10
    assert failed["data"]["code"] == "BUSY"
    assert floor.events("transcript.final") == []
    assert len(session.waiting) == 9, "the turns that waited still do"


def test_what_was_said_at_a_rate_that_was_left_is_heard_to_its_end(floor: Floor) -> None:
    session = listening(floor)
    microphone = session.microphone
    says(floor, AsrSpeechStarted, utterance=0, at=0)
    microphone.tune(48_000)
    assert (microphone.sample_rate, microphone.rates_left, microphone.turn) == (48_000, 1, None)
    microphone.push(bytes(960), end=False)
    says(floor, AsrFinal, 0, utterance=0, text="Hello", confidence=0.9, language="en")
    says(floor, AsrMark, 0, consumed=RATE, keep=RATE, speaking=False)
    assert len(floor.asr_names) == 2
    assert microphone.rates_left == 0
    assert floor.events("transcript.final")[0]["data"]["text"] == "Hello"


def test_a_session_that_closes_hears_its_user_out_and_answers_nobody_new(floor: Floor) -> None:
    session = listening(floor)
    session.begin_closing("ended")
    assert session.microphone.pending
    utterance(floor)
    says(floor, AsrMark, consumed=RATE, keep=RATE, speaking=False)
    assert not floor.events()
    assert session.idle
