"""Voices in the background, and whoever speaks in front of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.schema import Asr
from models.asr.background import FIRST, PATIENCE, Background
from models.asr.endpointing import Ended, Endpointer, Event, Started
from models.asr.vad import WINDOW
from tests.support.hearing import RATE, names, recording

Sound = NDArray[np.float64]


def crowd(seconds: float, level: float, seed: int = 1) -> Sound:
    """As even as many voices at once."""
    random = np.random.default_rng(seed)
    windows = int(seconds * RATE) // WINDOW
    loud = level * 10 ** (np.clip(random.normal(0, 2, windows), -4, 4) / 20)
    return random.normal(0, 1, windows * WINDOW) * np.repeat(loud, WINDOW)


def hear(sound: Sound, probability: float = 0.9) -> list[tuple[Event, int]]:
    """Each event, and when it was told, where everything is a voice to the detector."""
    background, ends, pcm = Background(), Endpointer(Asr(), 60.0), sound.clip(-32768, 32767).astype(np.int16)
    found: list[tuple[Event, int]] = []
    for at in range(0, len(pcm) - WINDOW + 1, WINDOW):
        for certain in background.window(probability, pcm[at : at + WINDOW], speaking=ends.speaking):
            found += [(event, at + WINDOW) for event in ends.window(certain)]
    return found


def person(level: float = 3000) -> Sound:
    said = recording(names("question")[0]).astype(np.float64)
    loud = np.flatnonzero(np.abs(said) > 500)
    said = said[loud[0] : loud[-1]]
    return np.asarray(said * level / np.sqrt(np.mean(said**2)))


def test_voices_in_the_background_begin_nothing() -> None:
    assert not hear(crowd(20, 500))


def test_a_person_in_front_of_them_is_heard_from_beginning_to_end() -> None:
    said = person()
    sound = crowd(5 + len(said) / RATE, 700)
    sound[2 * RATE : 2 * RATE + len(said)] += said[: len(sound) - 2 * RATE]
    told = [event for event, _ in hear(sound) if isinstance(event, Started | Ended)]
    begun, ended = told
    assert isinstance(begun, Started)
    assert abs(begun.at - 2 * RATE) < 0.15 * RATE
    assert isinstance(ended, Ended)
    assert abs(ended.at - 2 * RATE - len(said)) < 0.3 * RATE


def test_a_background_that_grew_louder_while_somebody_spoke_does_not_go_on_for_ever() -> None:
    said = person(6000)
    calm, loud = crowd(2 + len(said) / RATE, 300), crowd(6, 900)
    calm[-len(said) :] += said
    told = [event for event, _ in hear(np.concatenate([calm, loud])) if isinstance(event, Ended)]
    assert told
    assert told[0].at < len(calm) + 1.5 * RATE


def test_a_single_person_does_not_wait() -> None:
    """The stream begins in the middle of a word, without anything to compare with."""
    told = [at for event, at in hear(person()) if isinstance(event, Started)]
    assert told
    assert told[0] <= FIRST * WINDOW
    background = Background()
    quiet = np.zeros(WINDOW, np.int16)
    assert [background.window(0.01, quiet, speaking=False) for _ in range(FIRST + 2)] == [[0.01]] * (FIRST + 2)
    assert background.window(0.9, quiet + 1000, speaking=False) == [0.9]


def test_a_person_in_noise_from_the_first_sample_on_is_heard() -> None:
    said = person()
    noise = np.random.default_rng(2).normal(0, 3000 / 10 ** (10 / 20), len(said))
    told = [event for event, _ in hear(said + noise, 0.95) if isinstance(event, Started)]
    assert told
    assert told[0].at < 0.2 * RATE


def test_every_window_is_told_once_and_none_waits_for_long() -> None:
    random = np.random.default_rng(4)
    for seed in range(20):
        background, told = Background(), 0
        sound = crowd(8, float(random.uniform(10, 3000)), seed).astype(np.int16).reshape(-1, WINDOW)
        for number, heard in enumerate(sound, start=1):
            certain = background.window(float(random.random()), heard, speaking=bool(random.random() < 0.1))
            told += len(certain)
            assert number - told <= max(FIRST, PATIENCE)
        assert told + len(background.flush()) == len(sound)
