"""A microphone stream survives the deaths of whoever hears it."""

from __future__ import annotations

import pytest

from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrFinal,
    AsrMark,
    AsrSpeechEnded,
    AsrSpeechStarted,
    Message,
)
from broker.sessions.session import Session
from broker.workers.asr_stream import AsrStream
from broker.workers.asr_streams import AsrStreams
from tests.unit.test_sessions import Floor

RATE = 16_000


class Ear:
    """What was sent to one asr process."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Message, bytes]] = []

    def send(self, instance: str, message: Message, buffers: list[bytes]) -> bool:
        self.got.append((instance, message, bytes(buffers[0]) if buffers else b""))
        return True

    def audio(self, instance: str) -> list[AsrAudio]:
        return [m for i, m, _ in self.got if i == instance and isinstance(m, AsrAudio)]


@pytest.fixture
def floor() -> Floor:
    return Floor()


def listening(floor: Floor, session: Session, hearing: AsrStreams) -> AsrStream:
    ears = session.ears = AsrStream(session, RATE)
    hearing.up("asr.0", 8)
    hearing.assign(ears)
    return ears


def says(ears: AsrStream, kind: type, **fields: object) -> None:
    ears.heard(kind(src="asr.0", ep=1, sid=ears.name, **fields))


def utterance(ears: AsrStream, number: int = 0, at: int = 0) -> None:
    says(ears, AsrSpeechStarted, utterance=number, at=at)


def test_what_was_not_heard_is_sent_again_with_the_utterance_open_and_the_clients_end(floor: Floor) -> None:
    ear = Ear()
    hearing = AsrStreams(ear.send)
    session = floor.watch(floor.session())
    ears = listening(floor, session, hearing)
    ears.push(bytes(2 * RATE), end=False, now=floor.time)
    utterance(ears, at=4000)
    says(ears, AsrMark, consumed=RATE, keep=4000, speaking=True)
    ears.push(bytes(RATE), end=True, now=floor.time)
    hearing.down("asr.0")
    hearing.up("asr.1", 8)
    replay = ear.audio("asr.1")
    assert replay[0].reset
    assert replay[0].speaking
    assert (replay[0].at, replay[0].utterance) == (4000, 0)
    assert replay[-1].end, "the client's end must not die with the process"
    sent = sum(len(b) for i, m, b in ear.got if i == "asr.1")
    assert sent == 2 * (RATE + RATE // 2 - 4000)


def test_a_replayed_start_makes_no_second_turn_and_a_replayed_end_no_second_event(floor: Floor) -> None:
    hearing = AsrStreams(Ear().send)
    session = floor.watch(floor.session())
    ears = listening(floor, session, hearing)
    for _ in range(2):
        utterance(ears)
        says(ears, AsrSpeechEnded, utterance=0, at=8000, audio_ms=500)
    says(ears, AsrFinal, utterance=0, text="", confidence=0.2, language="en", rejected=True)
    says(ears, AsrFinal, utterance=0, text="late", confidence=0.9, language="en")
    assert [e["event"] for e in floor.events()] == [
        "user.speech.started", "user.speech.ended", "transcript.final", "turn.interrupted"
    ]  # fmt: skip
    assert floor.events("turn.interrupted")[0]["data"]["reason"] == "no_speech"


def test_empty_calls_cost_nothing(floor: Floor) -> None:
    ears = AsrStream(floor.watch(floor.session()), RATE)
    for _ in range(10_000):
        ears.push(b"", end=True, now=floor.time)
    assert len(ears._ends) == 1
    assert not ears._times
    assert ears.pending is False


def test_a_quiet_stream_gives_its_place_to_one_that_speaks(floor: Floor) -> None:
    ear = Ear()
    hearing = AsrStreams(ear.send)
    hearing.up("asr.0", 1)
    quiet = AsrStream(floor.session(), RATE)
    hearing.assign(quiet)
    quiet.push(bytes(200), end=False, now=floor.time)
    says(quiet, AsrMark, consumed=100, keep=100, speaking=False)
    other_session = floor.session()
    other_session.serial = 2
    other = AsrStream(other_session, RATE)
    other.push(bytes(200), end=False, now=floor.time)
    hearing.assign(other)
    assert other.instance == "asr.0"
    assert quiet.instance is None
    assert any(isinstance(m, AsrClose) for _, m, _ in ear.got)


def test_an_utterance_that_never_gets_its_words_fails_its_turn(floor: Floor) -> None:
    session = floor.watch(floor.session())
    ears = listening(floor, session, AsrStreams(Ear().send))
    utterance(ears)
    floor.run(floor.time + 200_000_000)
    (failed,) = floor.events("turn.failed")
    assert failed["data"]["code"] == "FAILED"


def test_a_voice_behind_a_full_queue_gets_a_turn_that_says_so(floor: Floor) -> None:
    session = floor.watch(floor.session())
    session.barge_in = False
    ears = listening(floor, session, AsrStreams(Ear().send))
    for _ in range(9):
        session.new_turn("say", floor.time, "One of many.")
    assert session.full
    utterance(ears)
    says(ears, AsrSpeechEnded, utterance=0, at=8000, audio_ms=500)
    says(ears, AsrFinal, utterance=0, text="Hello", confidence=0.9, language="en")
    (started,) = floor.events("user.speech.started")
    (failed,) = floor.events("turn.failed")
    assert started["turn"] == failed["turn"] == 10
    assert failed["data"]["code"] == "BUSY"
    assert floor.events("transcript.final") == []
    assert len(session.waiting) == 9, "the turns that waited still do"


def test_words_that_have_been_understood_are_not_heard_again_by_a_successor(floor: Floor) -> None:
    ear = Ear()
    hearing = AsrStreams(ear.send)
    session = floor.watch(floor.session())
    ears = listening(floor, session, hearing)
    ears.push(bytes(2 * RATE), end=False, now=floor.time)
    utterance(ears, at=4000)
    says(ears, AsrSpeechEnded, utterance=0, at=12_000, audio_ms=500)
    says(ears, AsrFinal, utterance=0, text="Hello", confidence=0.9, language="en")
    hearing.down("asr.0")
    hearing.up("asr.1", 8)
    assert ear.audio("asr.1")[0].at == 12_000
    assert not ear.audio("asr.1")[0].speaking
