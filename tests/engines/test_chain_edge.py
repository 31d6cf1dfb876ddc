"""The chain of voices of a production profile: Edge's service breaks, espeak finishes the sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from configs.schema import Chain, Config, EdgeTts, Engines, PerKind
from models.chain.build import synthesizers
from models.chain.synthesizer import ChainSynthesizer
from models.meter import Meter
from tests.engines.servers.edge import EdgeServer, edge_server
from tests.support.doubles import quiet
from tests.support.limits import WORK_S

TEXT = "Hello there my friend, this is one long sentence of many words."
WORDS = [word.strip(".,") for word in TEXT.split()]
SILENT_S = 0.5
"""What a test waits for where nothing comes."""


@pytest.fixture(scope="module")
def server() -> Iterator[EdgeServer]:
    with edge_server() as running:
        yield running


@contextmanager
def voices(server: EdgeServer, *, first_s: float = WORK_S, next_s: float = WORK_S) -> Iterator[ChainSynthesizer]:
    config = Config(
        engines=Engines(tts=["edge_tts", "espeak"]),
        edge_tts=EdgeTts(endpoint=server.url),
        chain=Chain(
            first_output_s=PerKind(asr=8, llm=8, tts=first_s),
            next_output_s=PerKind(asr=8, llm=8, tts=next_s),
            break_after=100,
        ),
    )
    made = synthesizers(config, Meter())
    made.load(quiet)
    yield made
    made.close()


@pytest.mark.parametrize("after_words", [1, 3, 7])
@pytest.mark.parametrize("fault", ["drop", "stall"])
def test_every_word_is_said_once_and_in_order(server: EdgeServer, fault: str, after_words: int) -> None:
    server.fault, server.after_words = fault, after_words
    told: list[str] = []
    with voices(server, next_s=SILENT_S) as both:
        chunks = list(both.speak_via(TEXT, "", 0, threading.Event(), lambda engine, reason: told.append(engine)))
    server.fault = ""
    assert [word.text for chunk in chunks for word in chunk.words] == WORDS
    assert told == ["edge_tts", "espeak"]


@pytest.mark.parametrize("fault", ["403", "no audio", "silent"])
def test_a_sentence_that_does_not_begin_is_the_next_voices(server: EdgeServer, fault: str) -> None:
    server.fault = fault
    told: list[tuple[str, str]] = []
    with voices(server, first_s=SILENT_S) as both:
        chunks = list(both.speak_via(TEXT, "", 0, threading.Event(), lambda *said: told.append(said)))
    server.fault = ""
    assert [word.text for chunk in chunks for word in chunk.words] == WORDS
    assert [engine for engine, _ in told] == ["espeak"]
    assert told[0][1].startswith("edge_tts: ")
