"""A daemon whose answers and whose voice come from servers, and what its viewers notice when those fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from configs.schema import Config, EdgeTts
from models.api import Synthesizer
from models.registry import create
from models.tts import edge as edge_voice
from tests.engines.servers.edge import EdgeServer, edge_server
from tests.engines.servers.ollama import OllamaServer
from tests.engines.servers.script import ENGLISH
from tests.support.client import Session, Stranger
from tests.support.daemon import LIGHT, Daemon, stage_row
from tests.support.doubles import quiet
from tests.support.limits import WORK_S
from tests.support.segments import correlation, decode

FIRST_S = 7.0
TRIES = 4


@pytest.fixture(scope="module")
def server() -> Iterator[OllamaServer]:
    made = OllamaServer(models=("small:latest",))
    yield made
    made.close()


@pytest.fixture(scope="module")
def edge() -> Iterator[EdgeServer]:
    with edge_server() as running:
        yield running


@pytest.fixture(scope="module")
def ollama_daemon(
    server: OllamaServer, edge: EdgeServer, state_dir: Path, start_daemon_for_module: Callable[..., Daemon]
) -> Daemon:
    return start_daemon_for_module(
        state_dir,
        "engines.llm=[ollama, faq]",
        f"ollama.host={server.url}",
        "ollama.model=small",
        f"chain.first_output_s.llm={FIRST_S}",
        f"chain.next_output_s.llm={FIRST_S}",
        "chain.probe_s=1",
        *LIGHT,
        "engines.tts=[espeak, edge_tts]",
        f"edge_tts.endpoint={edge.url}",
        "chain.first_output_s.tts=30",  # a slow machine is no outage
    )


@pytest.fixture
def talking(ollama_daemon: Daemon, server: OllamaServer) -> Iterator[Stranger]:
    server.mode = ""
    client = Stranger(ollama_daemon.control, ollama_daemon.stream)
    _serves(client, "ollama")
    yield client
    client.close()
    server.mode = ""


def _chain(client: Stranger) -> dict[str, str]:
    row: dict[str, Any] = stage_row(client.control.ok("status"), "llm.0")
    return {one["engine"]: one["state"] for one in row.get("chain", ())}


def _serves(client: Stranger, engine: str) -> None:
    """Wait until ``status`` tells it: a stage that has loaded is ready before its next beat tells of its chain."""
    deadline = time.monotonic() + WORK_S
    while (chain := _chain(client)).pop(engine, "") != "serving" or set(chain.values()) != {"standby"}:
        assert time.monotonic() < deadline, _chain(client)
        time.sleep(0.1)


def _chat(session: Session, text: str = "Who are you?") -> int:
    turn: int = session.ok("chat", text=text)["turn"]
    return turn


def _answered(session: Session, text: str = "Who are you?") -> int:
    """A turn that ends as it should."""
    turn = _chat(session, text)
    session.wait_ended(turn)
    assert session.events("turn.ended", turn)
    return turn


def test_the_model_on_the_server_answers_and_remembers(talking: Stranger, server: OllamaServer) -> None:
    session = talking.session(mode="offline", system_prompt="Be kind.")
    turn = _answered(session)
    assert "".join(event["data"]["text"] for event in session.events("reply.delta", turn)) == ENGLISH
    server.requests.clear()
    _answered(session, "And what else?")
    body = next(body for _, path, body, _ in server.requests if path == "/api/chat")
    assert [(line["role"], line["content"]) for line in body["messages"]] == [
        ("system", "Be kind."),
        ("user", "Who are you?"),
        ("assistant", ENGLISH),
        ("user", "And what else?"),
    ]
    assert (body["think"], body["keep_alive"], body["options"]) == (False, "30m", {"num_ctx": 8192})
    assert session.events("degraded") == []


def test_an_interrupt_closes_the_request(talking: Stranger, server: OllamaServer) -> None:
    server.closed_early.clear()
    server.stalled.clear()
    session = talking.session()
    server.mode = "stall"
    turn = _chat(session)
    assert server.stalled.wait(WORK_S)
    session.ok("interrupt")
    assert server.closed_early.wait(WORK_S)
    session.wait_event("turn.interrupted", turn=turn)


def test_a_server_that_does_not_begin_is_replaced_and_has_its_turn_again(
    talking: Stranger, server: OllamaServer
) -> None:
    session = talking.session(mode="offline")
    server.mode = "stall_at_once"
    turn = _answered(session)
    (degraded,) = session.events("degraded", turn)
    assert (degraded["data"]["stage"], degraded["data"]["engine"]) == ("llm", "faq")
    assert f"{FIRST_S:g} s (chain.first_output_s.llm)" in degraded["data"]["reason"]
    server.mode = ""
    for _ in range(TRIES):  # what ``status`` tells may be of before it broke
        _serves(talking, "ollama")
        _answered(session)
        if session.events("recovered"):
            break
    assert [event["data"] for event in session.events("recovered")] == [{"stage": "llm", "engine": "ollama"}]


def test_an_answer_that_breaks_off_is_spoken_to_its_last_whole_word_and_the_turn_fails(
    talking: Stranger, server: OllamaServer
) -> None:
    """The FAQ cannot go on with a model's words; it answers the next turn."""
    session = talking.session(mode="offline")
    server.mode = "stall"
    server.stalled.clear()
    turn = _chat(session)
    assert server.stalled.wait(WORK_S)
    server.mode = "error"  # else it is found well again where the words take more than a second to be spoken
    session.wait_event("turn.failed", turn=turn)
    (failed,) = session.events("turn.failed", turn)
    assert "chain.next_output_s.llm" in failed["data"]["message"]
    said = [event["data"]["text"] for event in session.events("sentence", turn)]
    assert said == ["I am a"] or said == ["I am"]
    assert session.media
    _answered(session)


TEXT = "Yesterday we walked to the market, bought seven red apples, and gave them to the children in the garden."
VOICE = "en-US-AriaNeural"
"""Which only the second engine has."""
BROKEN_OFF = 5
"""Words of it that the voice has said whole by then."""
REACH = 4800
"""Samples by which what is published may begin earlier or later."""


class Whole(NamedTuple):
    """The text said once, and where its words are, in samples of 48 kHz."""

    pcm: NDArray[np.float64]
    words: list[tuple[str, int, int]]


def _said(engine: Synthesizer, text: str) -> Whole:
    chunks = list(engine.speak(text, VOICE, 0, threading.Event()))
    words = [(word.text, word.t0_us * 48 // 1000, word.t1_us * 48 // 1000) for one in chunks for word in one.words]
    return Whole(np.concatenate([chunk.pcm for chunk in chunks]) / 32768, words)


@pytest.fixture(scope="module")
def expected(edge: EdgeServer) -> list[Whole]:
    """What is to be heard: the first voice for so many whole words, then the second."""
    config = msgspec.structs.replace(Config(), edge_tts=EdgeTts(endpoint=edge.url))
    first, second = create("tts", "edge_tts", config), create("tts", "espeak", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_voice, "FIRST_S", WORK_S)  # its server speaks in this process, too
        patch.setattr(edge_voice, "NEXT_S", WORK_S)
        first.load(quiet)
        begun = _said(first, TEXT)
    second.load(quiet)
    found = []
    for count in range(BROKEN_OFF + 1):
        end = begun.words[count - 1][2] if count else 0
        rest = _said(second, TEXT.split(maxsplit=count)[-1])
        words = [*begun.words[:count], *((word, end + t0, end + t1) for word, t0, t1 in rest.words)]
        found.append(Whole(np.concatenate([begun.pcm[:end], rest.pcm]), words))
    first.close()
    second.close()
    return found


def _amiss(heard: NDArray[np.float64], whole: Whole) -> list[str]:
    """The words that do not sound where they should, and "more" where anything sounds behind them."""
    size = 1 << (len(heard) + len(whole.pcm)).bit_length()
    alike = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(whole.pcm, size)), size)
    begin = int(np.argmax(np.concatenate([alike[-REACH:], alike[:REACH]])))
    heard = np.pad(heard, (REACH, len(whole.pcm)))[begin:]
    found = [word for word, t0, t1 in whole.words if correlation(heard[t0:t1], whole.pcm[t0:t1]) < 0.6]
    behind = heard[len(whole.pcm) :]
    return [*found, "more"] if np.sqrt(np.mean(behind**2)) > 0.01 else found


@pytest.mark.parametrize("fault", ["drop", "stall"])
def test_when_the_voice_breaks_off_every_word_is_heard_once_and_in_order(
    talking: Stranger, edge: EdgeServer, expected: list[Whole], fault: str
) -> None:
    edge.fault, edge.after_words = fault, BROKEN_OFF
    session = talking.session(voice=VOICE)
    turn = session.say(TEXT)
    session.wait_ended(turn)
    edge.fault = ""
    assert session.events("turn.ended", turn)
    degraded = [event["data"] for event in session.events("degraded", turn)]
    assert [data["engine"] for data in degraded if data["stage"] == "tts"][-1] == "espeak", degraded
    assert [event["data"]["text"] for event in session.events("sentence", turn)] == [TEXT]
    heard = decode(session.blob()).sound.astype(np.float64)
    amiss = []
    for whole in reversed(expected):  # where the machine is slow it is left before the word at which it breaks
        amiss.append(_amiss(heard, whole))
        if not amiss[-1]:
            return
    pytest.fail(f"words that are not where they should be: {amiss}")
