"""The asr stage next to a loudspeaker: at file speed, with what is published told as the broker tells it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from broker.ipc.messages import AsrAudio, AsrClose, AsrFinal, AsrSound, AsrSpeechConfirmed, AsrSpeechStarted
from configs.schema import Config
from stages.asr import AsrStage
from tests.engines.test_transcriber_stage import Process
from tests.support.doubles import quiet
from tests.support.echo import Sound, echo, noise, pcm, sentence, speech
from tests.support.hearing import RATE

EPOCH_US = 5_000_000_000
"""When the stream begins, by the clock."""
PIECE = RATE // 10
SEGMENT = 16 * RATE // 25
"""Samples of a published segment (640 ms),"""
LEAD = RATE
"""which comes so long before its sound."""


@pytest.fixture(scope="module")
def stage() -> Iterator[AsrStage]:
    made = AsrStage(Config(), "asr.0")
    made.setup(quiet)
    yield made
    made.teardown()


@pytest.fixture
def process(stage: AsrStage) -> Iterator[Process]:
    made = Process(stage)
    yield made
    made.stop()


def us(sample: int) -> int:
    return EPOCH_US + sample * 1_000_000 // RATE


def play(process: Process, microphone: Sound, published: Sound, *, sid: str = "s", jitter_ms: float = 0.0) -> None:
    """A microphone's audio and, before it, what its viewer is being shown."""
    random, told = np.random.default_rng(3), 0
    near, far = pcm(microphone), pcm(np.repeat(published, 3))  # 48 kHz; the images lie above what is compared
    for begin in range(0, len(near), PIECE):
        while told < min(begin + LEAD, len(published)):
            sound = AsrSound(broker=1, sid=sid, at=us(told))
            process.feed.put(sound, far[3 * told : 3 * (told + SEGMENT)])
            told += SEGMENT
        piece = near[begin : begin + PIECE]
        late = int(random.uniform(0, jitter_ms) * 1000)
        audio = AsrAudio(
            broker=1, sid=sid, sample_rate=RATE, at=begin, reset=begin == 0, time=us(begin + len(piece)) + late
        )
        process.feed.put(audio, piece)
    process.heard(len(near), sid)


def test_eighty_seconds_of_itself_are_nobodys_voice(process: Process) -> None:
    """Four rooms, which are not equally far from their loudspeakers."""
    places = [(30, 0, 0.2), (350, -6, 0.5), (700, -12, 0.3), (1000, -20, 0.4)]
    for number, (delay_ms, level_db, reverberation_s) in enumerate(places):
        said = speech(20, seed=number + 70)
        sound = echo(said, delay_ms, level_db, reverberation_s=reverberation_s, seed=number)
        play(process, sound + noise(len(said), 20.0), said, sid=f"room{number}", jitter_ms=60)
    assert not [m for m in process.feed.sent if isinstance(m, AsrSpeechStarted | AsrSpeechConfirmed | AsrFinal)]


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_ten_minutes_of_itself_are_nobodys_voice(process: Process) -> None:
    for number in range(10):
        said = speech(60, seed=number + 200)
        sound = echo(said, 20 + 108 * number, -2.2 * number, reverberation_s=0.2 + 0.03 * number, seed=number)
        play(process, sound + noise(len(said), 10.0 + 5 * (number % 3)), said, sid=f"room{number}", jitter_ms=60)
        process.feed.put(AsrClose(broker=1, sid=f"room{number}"))
    assert not [m for m in process.feed.sent if isinstance(m, AsrSpeechStarted | AsrSpeechConfirmed | AsrFinal)]


def test_a_person_over_it_is_heard_from_where_he_began(process: Process) -> None:
    said = speech(8, seed=3)
    sound = echo(said, 300, -6)
    person, begin = sentence(2, sound), 4 * RATE
    microphone = sound + noise(len(said))
    microphone[begin : begin + len(person)] += person
    play(process, microphone, said)
    started = process.feed.of(AsrSpeechStarted)
    assert started
    assert abs(started[0].at - begin) < 0.35 * RATE
    assert process.feed.of(AsrSpeechConfirmed)


def test_without_a_clock_nothing_is_taken_for_an_echo(process: Process) -> None:
    """As a broker of before would send it."""
    said = speech(6, seed=4)
    process.feed.put(AsrSound(broker=1, sid="s", at=EPOCH_US), pcm(np.repeat(said, 3)))
    process.play(pcm(echo(said, 20, 0) + noise(len(said))))
    process.heard(len(said))
    assert process.feed.of(AsrSpeechStarted)
