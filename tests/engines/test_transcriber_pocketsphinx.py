"""The embedded recogniser: a closed set, and the courage to say that it did not understand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from configs.schema import Config, Llm
from models.api import EngineError, Transcript
from models.asr.pocketsphinx import PocketsphinxTranscriber
from models.llm.faq.book import questions
from tests.support.doubles import quiet
from tests.support.hearing import RATE, index, names, recording, room


@pytest.fixture(scope="module")
def engine() -> Iterator[PocketsphinxTranscriber]:
    made = PocketsphinxTranscriber(Config())
    made.load(quiet)
    yield made
    made.close()


def hear(engine: PocketsphinxTranscriber, name: str, gain: float = 1.0) -> Transcript:
    utterance = engine.open("en")
    utterance.feed((room(0.24, recording(name), 0.5) * gain).clip(-32768, 32767).astype(np.int16))
    return utterance.finish(threading.Event())


def test_nine_of_ten_questions_in_four_voices_are_understood(engine: PocketsphinxTranscriber) -> None:
    heard = {name: hear(engine, name).text for name in names("question")}
    right = [name for name, text in heard.items() if text == index()[name]]
    assert len(heard) >= 30
    assert len(right) >= 0.9 * len(heard), {name: text for name, text in heard.items() if name not in right}
    assert not {name: text for name, text in heard.items() if text not in ("", index()[name])}


def test_nine_of_ten_other_sentences_are_refused(engine: PocketsphinxTranscriber) -> None:
    heard = {name: hear(engine, name) for name in names("other")}
    refused = [name for name, said in heard.items() if said.rejected and said.text == ""]
    assert len(heard) == 20
    assert len(refused) >= 18, {name: said.text for name, said in heard.items() if said.text}


@pytest.mark.parametrize("gain", [0.06, 2.0])
def test_a_quiet_and_a_loud_microphone_are_understood(engine: PocketsphinxTranscriber, gain: float) -> None:
    chosen = [name for name in names("question") if "rms" in name][:4]
    assert sum(hear(engine, name, gain).text == index()[name] for name in chosen) >= 3


def test_the_answer_does_not_wait_for_the_decoder(engine: PocketsphinxTranscriber) -> None:
    """What the words cost has been done while they were spoken; what is left is a small part of it."""
    utterance = engine.open("en")
    begin = time.thread_time()
    utterance.feed(room(0.24, recording(names("question")[0]), 0.5))
    spoken = time.thread_time()
    utterance.finish(threading.Event())
    assert time.thread_time() - spoken < 0.2 * (spoken - begin)


def test_endless_speech_is_refused_and_costs_nothing_more(engine: PocketsphinxTranscriber) -> None:
    utterance = engine.open("en")
    speech = np.concatenate([recording(name) for name in names("other")[:8]])
    begin = time.thread_time()
    utterance.feed(speech[: 16 * RATE])
    heard = time.thread_time()
    for _ in range(44):
        utterance.feed(speech[:RATE])
    # Decoded, they would cost 44 / 16 of what was decoded before.
    assert time.thread_time() - heard < heard - begin
    assert utterance.finish(threading.Event()).rejected


def test_chinese_is_unsupported_with_the_way_out(engine: PocketsphinxTranscriber) -> None:
    for language in ("zh", "zh-CN", "cmn"):
        with pytest.raises(EngineError) as caught:
            engine.open(language)
        assert caught.value.code == "UNSUPPORTED"
        assert "faster_whisper" in caught.value.hint


def test_every_question_of_the_bundled_faq_can_be_heard(engine: PocketsphinxTranscriber) -> None:
    for question in questions("", "en"):
        assert engine.phrase(question.lower().strip("?!. ").replace("-", " ")) is not None, question


def test_a_question_with_an_unknown_word_is_left_out(tmp_path: Path) -> None:
    made = PocketsphinxTranscriber(Config(), ["How do you work", "What is a zzyzxqua", "how do you work?"])
    made.load(quiet)
    assert made.phrase("how do you work") == "How do you work"
    assert made.phrase("what is a zzyzxqua") is None
    made.close()


def test_a_faq_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"missing\.yaml"):
        PocketsphinxTranscriber(Config(llm=Llm(faq=str(tmp_path / "missing.yaml")))).load(quiet)
    with pytest.raises(EngineError, match="no English question"):
        PocketsphinxTranscriber(Config(), ["你好"]).load(quiet)
