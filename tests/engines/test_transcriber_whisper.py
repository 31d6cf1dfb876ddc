"""Whisper base with its real weights: how much of what is said it gets right, and what it does not make up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from opencc import OpenCC

from configs.schema import Config, FasterWhisper
from models.api import EngineError
from models.asr.faster_whisper import FasterWhisperTranscriber, quietest
from tests.support import whisper
from tests.support.doubles import quiet
from tests.support.hearing import RATE, Pcm, index, names, recording, room
from tests.support.word_error import characters, errors, words


@pytest.fixture(scope="module")
def engine() -> Iterator[FasterWhisperTranscriber]:
    made = FasterWhisperTranscriber(whisper.config())
    made.load(quiet)
    yield made
    made.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[FasterWhisperTranscriber]:
    """Without hotwords."""
    made = FasterWhisperTranscriber(whisper.config(hotwords=False))
    made.load(quiet)
    assert made.hotwords == ""
    yield made
    made.close()


def hear(engine: FasterWhisperTranscriber, pcm: Pcm, language: str = "en") -> str:
    utterance = engine.open(language)
    utterance.feed(pcm)
    return utterance.finish(threading.Event()).text


class Score(NamedTuple):
    errors: int
    words: int
    wrong: dict[str, str]
    """What was heard instead, by recording."""


_errors: dict[tuple[bool, str], tuple[int, str]] = {}
"""By engine and recording, each heard once."""


def score(engine: FasterWhisperTranscriber, recordings: Sequence[str]) -> Score:
    found = {}
    for name in recordings:
        key = (bool(engine.hotwords), name)
        if key not in _errors:
            text = hear(engine, room(0.24, recording(name), 0.5))
            _errors[key] = errors(words(index()[name]), words(text)), text
        found[name] = _errors[key]
    said = sum(len(words(index()[name])) for name in recordings)
    return Score(sum(n for n, _ in found.values()), said, {name: text for name, (n, text) in found.items() if n})


EVERY = pytest.param(1, marks=[pytest.mark.full, pytest.mark.timeout(1800)], id="all")
"""All recordings; the others take each question once, and fewer voices of each kind."""


@pytest.mark.parametrize("step", [pytest.param(3, id="every-third"), EVERY])
def test_the_error_rate_of_chinese_in_simplified_characters_with_punctuation(
    plain: FasterWhisperTranscriber, step: int
) -> None:
    simplified = OpenCC("t2s")
    wrong, said, texts = 0, 0, {}
    for name in names("chinese")[::step]:
        text = texts[name] = hear(plain, room(0.24, recording(name), 0.5), "zh")
        wrong += errors(characters(index()[name]), characters(text))
        said += len(characters(index()[name]))
        assert simplified.convert(text) == text
        assert text[-1] in "。？！", text
    assert len({name.rpartition("_")[2] for name in texts}) == 4, "voices"
    assert wrong <= 0.05 * said, texts


@pytest.mark.parametrize("step", [pytest.param(2, id="each-once"), EVERY])
def test_the_error_rate_of_questions_with_hotwords(engine: FasterWhisperTranscriber, step: int) -> None:
    found = score(engine, names("question")[::step])
    assert found.errors <= 0.05 * found.words, found


@pytest.mark.parametrize("step", [pytest.param(2, id="two-voices-of-each"), EVERY])
def test_the_error_rate_of_four_voices(plain: FasterWhisperTranscriber, step: int) -> None:
    found = score(plain, [*names("question")[step - 1 :: step * step], *names("other")[::step]])
    assert found.errors <= 0.08 * found.words, found


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_hotwords_cost_other_sentences_next_to_nothing(
    engine: FasterWhisperTranscriber, plain: FasterWhisperTranscriber
) -> None:
    """Open: one word of 127 (9 wrong with them, 8 without; base, int8)."""
    found = score(engine, names("other"))
    assert found.errors <= score(plain, names("other")).errors + 1, found


def test_the_hotwords_are_few_and_none_is_of_the_other_sentences(engine: FasterWhisperTranscriber) -> None:
    expected = engine.hotwords
    assert "Musecast" in expected
    tokens = engine._loaded().hf_tokenizer.encode(f" {expected}", add_special_tokens=False).ids
    assert len(tokens) <= 60
    others = {word for name in names("other") for word in words(index()[name])}
    assert not others & set(words(expected))


def noise(kind: str) -> Pcm:
    random = np.random.default_rng(1)
    seconds = np.arange(2 * RATE) / RATE
    if kind == "white":
        sound = random.normal(0, 2000, 2 * RATE)
    elif kind == "tones":
        sound = sum(
            3000 * np.sin(2 * np.pi * f * seconds) * (1 + np.sin(2 * np.pi * 2 * seconds)) / 2
            for f in (262, 330, 392)
        )
    elif kind == "babble":
        sound = np.sum([np.resize(recording(name)[::-1] * 0.4, 2 * RATE) for name in names("other")[:8]], axis=0)
    else:
        sound = np.zeros(2 * RATE)
    return np.asarray(sound).clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize("kind", ["white", "tones", "babble", "silence"])
def test_noise_is_not_made_into_words(engine: FasterWhisperTranscriber, kind: str) -> None:
    assert hear(engine, noise(kind)) == ""


def test_more_than_a_window_is_heard_whole(engine: FasterWhisperTranscriber) -> None:
    """Words on both sides of the seam, none twice."""
    sentence = recording("question_06_awb.flac")
    pcm = room(0.3, sentence, 26.0, sentence, 0.5, level=3.0)
    assert len(pcm) > 30 * RATE
    assert words(hear(engine, pcm)) == words("Do you need a graphics card") * 2


def test_a_seam_is_where_it_is_quiet() -> None:
    pcm = np.full(30 * RATE, 5000, np.int16)
    pcm[27 * RATE : 27 * RATE + RATE // 4] = 0
    assert 27 * RATE <= quietest(pcm) <= 27 * RATE + RATE // 4


def test_a_finished_question_is_known_at_its_first_pause(engine: FasterWhisperTranscriber) -> None:
    utterance = engine.open("en")
    utterance.feed(room(0.24, recording("question_06_awb.flac"), 0.25))
    paused = utterance.pause(threading.Event())
    assert paused.finished
    assert paused.transcript == utterance.finish(threading.Event())


def test_partials_are_told_where_they_can_be_afforded() -> None:
    made = FasterWhisperTranscriber(whisper.config(), partials=True)
    made.load(quiet)
    pcm = room(0.24, recording("question_06_awb.flac"))
    utterance = made.open("en")
    told = [utterance.feed(piece) for piece in np.array_split(pcm, 3)]
    assert any(text and text.lower().startswith("do you") for text in told), told
    made.close()


def test_a_language_that_it_does_not_know_is_named(engine: FasterWhisperTranscriber) -> None:
    with pytest.raises(EngineError, match="xx-YY") as caught:
        engine.open("xx-YY")
    assert caught.value.code == "UNSUPPORTED"
    for language in ("zh-CN", "cmn", "en_GB", ""):
        engine.open(language)


def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    config = Config(weights_dir=str(tmp_path))
    with pytest.raises(EngineError) as caught:
        FasterWhisperTranscriber(config).load(quiet)
    assert caught.value.code == "NOT_FOUND"
    assert "musecast weights pull whisper-base" in caught.value.hint
    (tmp_path / "whisper-base").mkdir()
    with pytest.raises(EngineError, match=r"model\.bin"):
        FasterWhisperTranscriber(config).load(quiet)


def test_a_damaged_model_is_an_error_and_no_crash(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((whisper.model() / name).read_bytes())
    (tmp_path / "model.bin").write_bytes(b"\x06\0\0\0nonsense")
    with pytest.raises(EngineError, match="does not run"):
        FasterWhisperTranscriber(Config(faster_whisper=FasterWhisper(model=str(tmp_path)))).load(quiet)
