"""The avatar does not hear itself, and hears a person who talks over it; with the real voice detector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from broker.media.sounds import KEPT, KEPT_BYTES, Sounds
from configs.schema import Asr
from models.asr.echo import WINDOW, EchoFilter, Published
from models.asr.endpointing import Confirmed, Endpointer, Event, Started
from models.asr.vad import VoiceDetector
from tests.support.doubles import quiet
from tests.support.echo import Sound, echo, noise, pcm, sentence, speech
from tests.support.hearing import RATE


@pytest.fixture(scope="module")
def detector() -> Iterator[VoiceDetector]:
    made = VoiceDetector()
    made.load(quiet)
    yield made
    made.close()


def heard(detector: VoiceDetector, microphone: Sound, published: Sound) -> list[tuple[Event, int]]:
    """What the endpointing tells, each with the position at which it does."""
    near, far = pcm(microphone), pcm(published)
    ends, echoes, found = Endpointer(Asr(), 60.0), EchoFilter(), []
    for number, probability in enumerate(detector.stream().feed(near)):
        piece = slice(number * WINDOW, (number + 1) * WINDOW)
        for sure in echoes.window(float(probability), near[piece], far[piece], speaking=ends.speaking):
            found += [(event, piece.stop) for event in ends.window(sure)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("delay_ms", "level_db"), [(20, 0), (480, -10), (1000, -20)])
def test_it_does_not_hear_itself(detector: VoiceDetector, delay_ms: int, level_db: int) -> None:
    said = speech(16, seed=delay_ms)
    microphone = echo(said, delay_ms, level_db) + noise(len(said))
    assert heard(detector, microphone, np.zeros(len(said))), "the echo is no voice"
    assert heard(detector, microphone, said) == []


@pytest.mark.slow
def test_a_person_who_talks_over_it_is_heard_within_half_a_second(detector: VoiceDetector) -> None:
    random = np.random.default_rng(11)
    late = []
    for number in range(20):
        said, level_db = speech(7.5, seed=number + 30), float(random.choice([0, -10, -20]))
        delay_ms = random.uniform(20, 1000)
        sound = echo(said, delay_ms, level_db, seed=number)
        person, begin = sentence(number, sound), int(RATE * (delay_ms / 1000 + random.uniform(3, 5)))
        microphone = sound + noise(len(said))
        microphone[begin : begin + len(person)] += person[: len(said) - begin]
        told = [at - begin for event, at in heard(detector, microphone, said) if isinstance(event, Started)]
        late.append(told[0] * 1000 // RATE if told else None)
    assert sum(one is not None and 0 <= one <= 500 for one in late) >= 19, late


def test_a_person_who_begins_with_its_next_turn_is_heard(detector: VoiceDetector) -> None:
    """Their common beginning alone is like an echo."""
    random = np.random.default_rng(12)
    late = []
    for number in range(6):
        delay_ms, pause = random.uniform(20, 1000), np.zeros(int(RATE * random.uniform(2, 4)))
        said = np.concatenate([speech(2.5, seed=number + 300), pause, speech(4, seed=number + 400)])
        sound = echo(said, delay_ms, random.uniform(-20, 0), seed=number)
        begin = len(said) + int(RATE * (delay_ms / 1000 + random.uniform(-3.4, -2.3)))
        person = sentence(number, sound)[: len(said) - begin]
        microphone = sound + noise(len(said))
        microphone[begin : begin + len(person)] += person
        told = [at - begin for event, at in heard(detector, microphone, said) if isinstance(event, Started)]
        assert told, (number, "unheard")
        late.append(told[0] * 1000 // RATE)
    assert min(late) >= 0, late
    assert sum(one <= 500 for one in late) >= 4, late
    assert max(late) <= 1500, late


def test_who_interrupts_before_it_is_known_that_there_is_no_echo_waits_a_little(detector: VoiceDetector) -> None:
    said = speech(4, seed=5)
    microphone, begin = noise(len(said)), 2 * RATE
    person = (sentence(0, said) * 0.3)[: len(said) - begin]
    microphone[begin : begin + len(person)] += person
    found = heard(detector, microphone, said)
    (sure,) = [at for event, at in found if isinstance(event, Confirmed)]
    assert sure - begin <= 1.3 * RATE
    (started,) = [event for event, _ in found if isinstance(event, Started)]
    assert abs(started.at - begin) <= 0.2 * RATE, "what he said meanwhile is not lost"


def test_without_an_echo_a_person_interrupts_as_ever(detector: VoiceDetector) -> None:
    """Three seconds of which nothing is heard have shown it."""
    said = speech(20, seed=5)
    microphone = noise(len(said))
    begins = [4 * RATE, 8 * RATE, 13 * RATE]
    for number, begin in enumerate(begins):
        person = sentence(number, said) * 0.3
        microphone[begin : begin + len(person)] += person
    sure = [at for event, at in heard(detector, microphone, said) if isinstance(event, Confirmed)]
    waits = [min(at - begin for at in sure if at > begin) * 1000 // RATE for begin in begins]
    assert max(waits) <= 600, waits


def test_what_is_published_lies_where_the_clock_is() -> None:
    published = Published()
    assert not published
    tone = (8000 * np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
    published.add(2_000_000, tone)
    assert not published.read(0, 1000).any()
    across = published.read(2 * RATE - 100, 200)
    assert not across[:100].any()
    assert np.abs(across[120:]).max() > 1000
    assert not published.read(3 * RATE, 100).any()
    published.add(2_500_000, np.zeros(0, np.int16))
    assert published.read(2 * RATE + 7_000, 100).any()
    assert not published.read(2 * RATE + 8_000, 100).any(), "what is void is not heard"
    published.read(9 * RATE, 1)
    assert not published, "what nobody can hear any more is kept"


def test_the_last_sounds_are_kept_and_no_more() -> None:
    sounds = Sounds()
    for number in range(40):
        sounds.add(number, bytes(30_720))
    kept = sounds.since(0)
    assert kept[-1].number == 39
    assert KEPT_BYTES <= sum(len(one.pcm) for one in kept) <= KEPT_BYTES + 30_720
    assert [one.number for one in sounds.since(38)] == [38, 39]
    for number in range(2 * KEPT):
        sounds.cut(number)
    assert len(sounds.since(0)) <= KEPT
