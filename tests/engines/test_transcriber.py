"""What every transcriber promises; new engines join the list below."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from configs.schema import Config
from models.api import EngineError, Pause, Transcriber, Transcript
from models.registry import create
from tests.support import whisper
from tests.support.doubles import quiet
from tests.support.hearing import RATE, Pcm, index, names, recording, room
from tests.support.processes import resident

ENGINES = ["pocketsphinx", "faster_whisper"]
CLEAR = [name for name in names("question") if "rms" in name or "slt" in name][:3]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Transcriber]:
    config = whisper.config() if request.param == "faster_whisper" else Config()
    made: Transcriber = create("asr", request.param, config)
    made.load(quiet)
    yield made
    made.close()


_heard: dict[tuple[str, bytes], tuple[Transcript, list[str]]] = {}


def reference(engine: Transcriber, pcm: Pcm) -> Transcript:
    """What an engine heard of this the first time that it was asked."""
    key = (engine.name, pcm.tobytes())
    if key not in _heard:
        _heard[key] = hear(engine, pcm)
    return _heard[key][0]


def hear(engine: Transcriber, pcm: Pcm, piece: int = 1600) -> tuple[Transcript, list[str]]:
    utterance = engine.open("en")
    partials = [utterance.feed(pcm[begin : begin + piece]) for begin in range(0, len(pcm), piece)]
    return utterance.finish(threading.Event()), [text for text in partials if text is not None]


@pytest.mark.parametrize("name", CLEAR)
def test_it_understands_a_clear_voice(engine: Transcriber, name: str) -> None:
    transcript = reference(engine, room(0.24, recording(name), 0.5))
    assert transcript.text.lower().strip(" .?!") == index()[name].lower()
    assert transcript.language.startswith("en")
    assert 0.5 <= transcript.confidence <= 1
    assert not transcript.rejected


def test_it_tells_what_it_hears_while_it_hears_it(engine: Transcriber) -> None:
    name = CLEAR[0]
    _, partials = hear(engine, room(0.24, recording(name), 0.5))
    if not getattr(engine, "partials", True):  # a processor cannot afford them
        assert partials == []
        return
    assert partials[-1].lower().split()[0] == index()[name].lower().split()[0]
    assert all(one != other for one, other in pairwise(partials))


def test_silence_and_nothing_are_empty(engine: Transcriber) -> None:
    assert hear(engine, room(1.5))[0].text == ""
    assert engine.open("").finish(threading.Event()).text == ""


@pytest.mark.parametrize("piece", [160, 1111, 100_000])
def test_the_cut_of_the_audio_changes_nothing(engine: Transcriber, piece: int) -> None:
    pcm = room(0.24, recording(CLEAR[1]), 0.5)
    assert hear(engine, pcm, piece)[0] == reference(engine, pcm)


def test_what_was_heard_before_changes_nothing(engine: Transcriber) -> None:
    pcm = room(0.24, recording(CLEAR[2]), 0.5)
    first = reference(engine, pcm)
    hear(engine, room(recording(names("other")[0]) * 3, level=200.0))
    assert hear(engine, pcm)[0] == first


def test_utterances_that_are_open_together_do_not_mix(engine: Transcriber) -> None:
    sounds = [room(0.24, recording(name), 0.5) for name in CLEAR[:2]]
    both = [engine.open("en") for _ in sounds]
    for begin in range(0, max(map(len, sounds)), 1600):
        for utterance, pcm in zip(both, sounds, strict=True):
            utterance.feed(pcm[begin : begin + 1600])
    texts = [utterance.finish(threading.Event()).text for utterance in both]
    assert [text.lower().strip(" .?!") for text in texts] == [index()[name].lower() for name in CLEAR[:2]]


def test_a_cancelled_utterance_ends_at_once_and_empty(engine: Transcriber) -> None:
    utterance = engine.open("en")
    utterance.feed(room(0.24, recording(CLEAR[0]), 0.5))
    cancel = threading.Event()
    cancel.set()
    begin = time.process_time()
    assert utterance.finish(cancel).text == ""
    assert time.process_time() - begin < 0.5


def test_an_utterance_is_finished_once(engine: Transcriber) -> None:
    utterance = engine.open("en")
    utterance.finish(threading.Event())
    with pytest.raises(EngineError):
        utterance.finish(threading.Event())
    with pytest.raises(EngineError):
        utterance.feed(np.zeros(160, np.int16))
    with pytest.raises(EngineError):
        utterance.pause(threading.Event())


def test_a_pause_changes_nothing(engine: Transcriber) -> None:
    """What is fed after it counts as if it had not been."""
    pcm = room(0.24, recording(CLEAR[0]), 0.5)
    utterance = engine.open("en")
    utterance.feed(pcm[: len(pcm) // 2])
    utterance.pause(threading.Event())
    utterance.feed(pcm[len(pcm) // 2 :])
    assert utterance.pause(threading.Event()).finished
    assert utterance.finish(threading.Event()).text == reference(engine, pcm).text


def test_a_cancelled_pause_says_nothing(engine: Transcriber) -> None:
    cancel = threading.Event()
    cancel.set()
    assert engine.open("en").pause(cancel) == Pause(finished=False)


def test_memory_does_not_grow_with_utterances(engine: Transcriber) -> None:
    """Opened, fed, cancelled: nothing of them stays."""
    pcm, cancel = room(4.0), threading.Event()
    cancel.set()

    def many(count: int) -> int:
        for _ in range(count):
            utterance = engine.open("en")
            utterance.feed(pcm[:RATE // 4])
            utterance.finish(cancel)
        gc.collect()
        return resident()

    many(20)
    before = resident()
    assert many(200) - before < 24 << 20
