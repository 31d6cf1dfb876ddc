"""The chain of voices of a production profile: Edge's service breaks, espeak finishes the sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from configs.schema import Chain, Config, EdgeTts, Engines, PerKind
from models.chain.build import synthesizers
from models.chain.synthesizer import ChainSynthesizer
from models.meter import Meter
from tests.engines.servers.edge import EdgeServer, edge_server
from tests.support.doubles import quiet

TEXT = "Hello there my friend, this is one long sentence of many words."
WORDS = [word.strip(".,") for word in TEXT.split()]
LIMIT_S = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[EdgeServer]:
    with edge_server() as running:
        yield running


@pytest.fixture
def voices(server: EdgeServer) -> Iterator[ChainSynthesizer]:
    limits = PerKind(asr=8, llm=8, tts=LIMIT_S)
    config = Config(
        engines=Engines(tts=["edge_tts", "espeak"]),
        edge_tts=EdgeTts(endpoint=server.url),
        chain=Chain(first_output_s=limits, next_output_s=limits, break_after=100),
    )
    made = synthesizers(config, Meter())
    made.load(quiet)
    yield made
    made.close()


@pytest.mark.parametrize("after_words", [1, 3, 7])
@pytest.mark.parametrize("fault", ["drop", "stall"])
def test_every_word_is_said_once_and_in_order(
    voices: ChainSynthesizer, server: EdgeServer, fault: str, after_words: int
) -> None:
    server.fault, server.after_words = fault, after_words
    told: list[str] = []
    words: list[str] = []
    longest = 0.0
    since = time.monotonic()
    for chunk in voices.speak_via(TEXT, "", 0, threading.Event(), lambda engine, reason: told.append(engine)):
        longest, since = max(longest, time.monotonic() - since), time.monotonic()
        words += [word.text for word in chunk.words]
    server.fault = ""
    assert words == WORDS
    assert told == ["edge_tts", "espeak"]
    assert longest < LIMIT_S + 1.5


@pytest.mark.parametrize("fault", ["403", "no audio", "silent"])
def test_a_sentence_that_does_not_begin_is_the_next_voices(
    voices: ChainSynthesizer, server: EdgeServer, fault: str
) -> None:
    server.fault = fault
    told: list[tuple[str, str]] = []
    chunks = list(voices.speak_via(TEXT, "", 0, threading.Event(), lambda *said: told.append(said)))
    server.fault = ""
    assert [word.text for chunk in chunks for word in chunk.words] == WORDS
    assert [engine for engine, _ in told] == ["espeak"]
    assert told[0][1].startswith("edge_tts: ")
