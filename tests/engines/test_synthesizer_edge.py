"""The engine edge_tts: the real package against a server that speaks Edge's protocol, and fails as it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from configs.schema import Config, EdgeTts
from models.api import Chunk, EngineError
from models.tts import edge
from models.tts.edge import EdgeSynthesizer
from models.tts.edge_voices import VOICES, choose
from tests.engines.servers.edge import EdgeServer, edge_server
from tests.support.doubles import quiet
from tests.support.limits import GONE_S
from tests.support.processes import wait_until

TEXT = "Hello there, it costs 3.50 & more, my friend."


@pytest.fixture(scope="module")
def running() -> Iterator[EdgeServer]:
    with edge_server() as server:
        yield server


@pytest.fixture
def server(running: EdgeServer) -> EdgeServer:
    running.fault, running.word_times = "", True
    return running


def engine(server: EdgeServer, **settings: str) -> EdgeSynthesizer:
    made = EdgeSynthesizer(Config(edge_tts=EdgeTts(endpoint=server.url, **settings)))
    made.load(quiet)
    return made


def hear(made: EdgeSynthesizer, text: str = TEXT, voice: str = "", from_us: int = 0) -> tuple[list[Chunk], str]:
    """What was heard, and the error at its end."""
    heard: list[Chunk] = []
    try:
        for chunk in made.speak(text, voice, from_us, threading.Event()):
            heard.append(chunk)
    except EngineError as error:
        return heard, str(error)
    return heard, ""


def said(chunks: list[Chunk]) -> list[str]:
    return [word.text for chunk in chunks for word in chunk.words]


def samples(chunks: list[Chunk]) -> int:
    return sum(len(chunk.pcm) for chunk in chunks)


def test_settings_and_text_reach_the_service_as_they_are(server: EdgeServer) -> None:
    made = engine(server, rate="+20%", volume="-5%", pitch="+2Hz", voice="en-GB-SoniaNeural")
    hear(made, "1 < 2 & <break/>")
    request = server.requests[-1]
    assert "(en-GB, SoniaNeural)'><prosody pitch='+2Hz' rate='+20%' volume='-5%'>" in request
    assert "1 &lt; 2 &amp; &lt;break/&gt;" in request


def test_sound_begins_before_the_service_has_ended(server: EdgeServer) -> None:
    server.fault, server.after_words = "stall", 3
    stop = threading.Event()
    stream = engine(server).speak(TEXT, "", 0, stop)
    assert len(next(stream).pcm) <= 24_000
    stop.set()
    assert list(stream) == []


def test_a_cancelled_request_ends_without_a_word_and_is_closed(server: EdgeServer) -> None:
    """Not by a limit, which would be told."""
    server.fault, server.after_words = "stall", 1
    opened, stop, ended = server.opened, threading.Event(), threading.Event()

    def say() -> None:
        list(engine(server).speak(TEXT, "", 0, stop))
        ended.set()

    thread = threading.Thread(target=say)
    thread.start()
    server.until(lambda: server.opened > opened)
    stop.set()
    assert ended.wait(GONE_S)
    server.until(lambda: server.closed == server.opened)
    thread.join()


def test_a_connection_that_drops_in_mid_sentence_is_an_error_after_what_was_heard(server: EdgeServer) -> None:
    server.fault, server.after_words = "drop", 3
    heard, error = hear(engine(server))
    assert said(heard) == ["Hello", "there", "it"]
    assert "mid-sentence, after 3 words" in error
    (*_, last) = [word for chunk in heard for word in chunk.words]
    assert samples(heard) >= last.t1_us * 48 // 1000 - 48


def test_what_follows_a_drop_is_the_rest_and_no_word_twice(server: EdgeServer) -> None:
    server.fault, server.after_words = "drop", 3
    first, _ = hear(engine(server))
    server.fault = ""
    rest, error = hear(engine(server), from_us=samples(first) * 1000 // 48)
    assert error == ""
    assert [*said(first), *said(rest)] == said(hear(engine(server))[0])
    assert rest[0].words[0].t0_us >= samples(first) * 1000 // 48 - 42


def test_a_stall_ends_at_its_named_limit(server: EdgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server is a thread of this process: longer than a machine may hold both still between two messages.
    monkeypatch.setattr(edge, "NEXT_S", 2.0)
    server.fault, server.after_words = "stall", 2
    heard, error = hear(engine(server))
    assert said(heard) == ["Hello", "there"]
    assert "Edge sent nothing for 2 s" in error


def test_a_service_that_never_begins_ends_at_its_named_limit(
    server: EdgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "FIRST_S", 0.5)
    server.fault = "silent"
    heard, error = hear(engine(server))
    assert heard == []
    assert "Edge sent nothing for 0.5 s" in error


@pytest.mark.parametrize(
    ("fault", "words"),
    [("403", "refuses the request (403). Check this machine's clock"), ("no audio", "no sound")],
)
def test_a_refusal_says_what_to_do(server: EdgeServer, fault: str, words: str) -> None:
    server.fault = fault
    heard, error = hear(engine(server))
    assert heard == []
    assert words in error


def test_nobody_there_is_told_at_once() -> None:
    made = EdgeSynthesizer(Config(edge_tts=EdgeTts(endpoint="ws://127.0.0.1:9/edge")))
    made.load(quiet)
    assert "Edge is not reached" in hear(made)[1], "and not silent until its limit"


def test_a_relay_without_word_times_is_heard_as_it_speaks(server: EdgeServer) -> None:
    server.word_times = False
    heard, error = hear(engine(server))
    assert error == ""
    assert said(heard) == []
    assert len(heard) > 2
    server.word_times = True
    assert abs(samples(heard) - samples(hear(engine(server))[0])) < 4800


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"rate": "fast"}, "rate"), ({"endpoint": "http://x"}, "edge_tts.endpoint"), ({"pitch": "2"}, "pitch")],
)
def test_a_setting_that_is_none_is_refused_at_load(settings: dict[str, str], words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        EdgeSynthesizer(Config(edge_tts=EdgeTts(**settings))).load(quiet)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_two_hundred_requests_leave_nothing_behind(server: EdgeServer) -> None:
    made = engine(server)
    threads, opened = threading.active_count(), server.opened
    for _ in range(200):
        made.speak("Hi.", "", 0, threading.Event()).close()
    for _ in range(20):
        hear(made, "Hi.")
    assert server.opened == opened + 20
    server.until(lambda: server.closed == server.opened)
    wait_until(lambda: threading.active_count() <= threads, GONE_S, "a resolver's thread ends by itself")


@pytest.mark.parametrize(
    ("voice", "defaults", "language", "chosen"),
    [
        ("", (), "en", "en-US-AriaNeural"),
        ("", (), "zh", "zh-CN-XiaoxiaoNeural"),
        ("zh-HK", (), "zh", "zh-HK-HiuMaanNeural"),
        ("de", (), "en", "de-DE-KatjaNeural"),
        ("fr-BE-CharlineNeural", (), "en", "fr-BE-CharlineNeural"),
        ("en-US-GuyNeural", (), "zh", "zh-CN-XiaoxiaoNeural"),
        ("en-US-AvaMultilingualNeural", (), "zh", "en-US-AvaMultilingualNeural"),
        ("heart", ("", "en-GB-RyanNeural"), "en", "en-GB-RyanNeural"),
        ("zh-CN-x' onload='", (), "zh", "zh-CN-XiaoxiaoNeural"),
    ],
)
def test_the_voice_suits_the_wish_and_the_text(
    voice: str, defaults: tuple[str, ...], language: str, chosen: str
) -> None:
    assert choose(voice, defaults, language) == chosen
    assert len({known.name for known in VOICES}) == len(VOICES)


def test_the_end_of_a_sentence_is_as_long_as_a_speaker_leaves_it(server: EdgeServer) -> None:
    heard, _ = hear(engine(server))
    pcm = np.concatenate([chunk.pcm for chunk in heard]).astype(np.int32)
    assert 5000 < np.abs(pcm).max() < 32_000
    after_ms = (len(pcm) - np.flatnonzero(np.abs(pcm) > 300)[-1]) / 48
    assert 100 < after_ms < 450
