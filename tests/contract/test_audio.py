"""``audio``: the avatar hears a question, answers it, and stops talking when it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.support.client import TERMINAL, Session, Stranger
from tests.support.microphone import PIECE_S, Microphone, question
from tests.support.pacing import TOLERANCE_US, ahead_of_clock_us
from tests.support.segments import decode

LONG = "I talk and talk and talk about the weather, and nobody stops me until somebody asks something. " * 12
VOICED_S = (1.6, 2.4)
"""The bundled question: somebody is speaking here, and still here; from 2.9 s on nobody is."""


@dataclass(frozen=True)
class Asked:
    """A session in which the bundled question has been asked and answered."""

    session: Session
    microphone: Microphone


@pytest.fixture(scope="module")
def conversation(module_stranger: Stranger) -> Asked:
    session = module_stranger.session()
    microphone = Microphone(session, *question())
    session.wait_event(*TERMINAL)
    microphone.stop()
    return Asked(session, microphone)


@pytest.fixture(scope="module")
def asked(conversation: Asked) -> Session:
    return conversation.session


def test_a_spoken_question_is_answered(asked: Session) -> None:
    passing = ("transcript.partial", "degraded", "recovered")  # the last two: where the machine is busy
    events = [e for e in asked.events() if e["event"] not in passing]
    names = [e["event"] for e in events]
    expected = [
        "session.started", "user.speech.started", "user.speech.ended", "transcript.final", "turn.started",
        "reply.delta", "sentence", "speech.started", "speech.ended", "turn.ended",
    ]  # fmt: skip
    assert [names.index(name) for name in expected] == sorted(names.index(name) for name in expected)
    turn = next(e for e in events if e["event"] == "user.speech.started")["turn"]
    assert turn == 1
    assert {e["turn"] for e in events[1:]} == {1}
    data = {e["event"]: e["data"] for e in events}
    assert data["turn.started"]["source"] == "audio"
    assert data["user.speech.ended"]["audio_ms"] > 500
    assert data["transcript.final"]["text"]
    assert 0 < data["transcript.final"]["confidence"] <= 1
    assert data["transcript.final"]["language"]


def test_its_timings_begin_at_the_last_voiced_sample(conversation: Asked) -> None:
    asked, microphone = conversation.session, conversation.microphone
    timings = asked.events("turn.ended")[0]["data"]["timings_ms"]
    order = [
        "vad_end", "asr_final", "llm_first_token", "llm_first_sentence", "tts_first_audio", "lipsync_first",
        "encode_first", "first_segment", "last_segment",
    ]  # fmt: skip
    without_lips = asked.media[0].header["degraded"] is not None  # a busy machine: the first lips came later
    values = [timings[name] for name in order if not (without_lips and name == "lipsync_first")]
    assert None not in values, timings
    assert values == sorted(values)
    # The end of speech is known only after the pause that proves it, and not later than it was told.
    told = next(m for m in asked.all if m.header.get("event") == "user.speech.ended")
    voiced = microphone.sent_at[int(VOICED_S[1] / PIECE_S)]
    assert 200 <= timings["vad_end"] <= (told.at - voiced) * 1000 + 1


def test_its_answer_is_media_like_any_other(asked: Session) -> None:
    decoded = decode(asked.blob())
    assert decoded.frames == sum(m.header["frames"] for m in asked.media)
    assert float(abs(decoded.sound).max()) > 0.05
    assert ahead_of_clock_us(asked.media) <= TOLERANCE_US


def test_the_reply_tells_whether_somebody_is_speaking(stranger: Stranger) -> None:
    """ "Last known": as the events of the stream say, whenever that may be."""
    session = stranger.session()
    sound, rate = question()
    voice, rest = np.split(sound, [int(VOICED_S[0] * rate)])
    first = session.ok("audio", pcm=voice.tobytes(), sample_rate=rate)
    turn = session.wait_event("user.speech.started")["turn"]
    speaking = session.ok("audio", pcm=b"", sample_rate=rate)
    session.ok("audio", pcm=rest.tobytes(), sample_rate=rate, end=True)
    session.wait_event("transcript.final", turn=turn)
    after = session.ok("audio", pcm=b"", sample_rate=rate)
    assert [reply["vad"] for reply in (first, speaking, after)] == ["silence", "speech", "silence"]
    assert speaking["turn"] == turn


def test_silence_starts_no_turn(stranger: Stranger) -> None:
    session = stranger.session()
    noise = np.random.default_rng(5).integers(-20, 20, 16_000 * 3).astype(np.int16)
    for begin in range(0, len(noise), 1600):
        reply = session.ok("audio", pcm=noise[begin : begin + 1600].tobytes(), sample_rate=16_000)
        assert reply["vad"] == "silence"
        assert reply.get("turn") is None
    assert session.speak("Still here.") == 1
    assert session.end()["turns"] == 1  # after all that was sent has been heard
    session.wait_event("session.ended")
    assert "user.speech.started" not in [e["event"] for e in session.events()]


def test_a_voice_interrupts_the_avatar(stranger: Stranger) -> None:
    session = stranger.session()
    speech = session.say(LONG)
    session.wait_media(3, speech)
    microphone = Microphone(session, *question())
    interrupted = session.wait_event("turn.interrupted", turn=speech)
    assert interrupted["data"]["reason"] == "barge_in"
    answer = session.wait_event("user.speech.started")["turn"]
    assert answer == speech + 1
    assert session.wait_event("transcript.final", turn=answer)["data"]["text"]
    session.wait_media(1, answer)
    microphone.stop()
    new = [m.header for m in session.media if m.header["gen"] == 1]
    assert new[0]["pts"] == interrupted["data"]["flush_from"]
    assert {h["turn"] for h in new} == {answer}


@pytest.mark.parametrize("barge_in", [False, True], ids=["no barge-in", "not interruptible"])
def test_a_voice_lets_the_avatar_finish_where_it_is_asked_to(stranger: Stranger, barge_in: bool) -> None:
    session = stranger.session(barge_in=barge_in)
    text = "This sentence goes on to its very end, whoever speaks into it, as it was asked to."
    speech = session.ok("say", text=text, interruptible=not barge_in)["turn"]
    session.wait_media(2, speech)
    microphone = Microphone(session, *question())
    session.wait_ended(speech)
    session.wait_media(1, speech + 1)
    microphone.stop()
    assert {m.header["gen"] for m in session.media} == {0}


def test_a_voice_that_is_not_understood_is_not_answered(stranger: Stranger) -> None:
    """A sentence that is none of the FAQ's questions, in the avatar's own voice, played back to it."""
    speaker = stranger.session(mode="offline")
    speaker.speak("The purple train goes slowly through the snow of the mountains in winter.")
    sound = decode(speaker.blob()).sound
    session = stranger.session()
    microphone = Microphone(session, np.asarray(sound * 32767, np.int16), 48_000)
    turn = session.wait_event("user.speech.started")["turn"]
    terminal = session.wait_event(*TERMINAL, turn=turn)
    microphone.stop()
    assert terminal["event"] == "turn.interrupted", session.events()
    assert terminal["data"]["reason"] == "no_speech"
    assert "catch" in terminal["data"]["message"]
    assert not session.of_turn(turn)
