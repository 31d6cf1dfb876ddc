"""What every responder promises; new engines join the list below."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from configs.schema import Config, Ollama, Openai
from models.api import ChatMessage, EngineError, Responder
from models.registry import create
from tests.engines.servers.http import STALL_S, ProtocolServer
from tests.engines.servers.ollama import OllamaServer
from tests.engines.servers.openai import OpenaiServer
from tests.engines.servers.script import ENGLISH
from tests.support.doubles import CancelAfter, quiet
from tests.support.limits import GONE_S, WORK_S
from tests.support.processes import wait_until

SERVERS: dict[str, Callable[[], ProtocolServer]] = {"ollama": OllamaServer, "openai": OpenaiServer}
ENGINES = ["faq", *SERVERS]
QUESTIONS = {
    "english": "How do you work?",
    "chinese": "你是怎么工作的？",
    "nonsense": "Xyzzy plugh 42!",
    "empty": "",
    "one character": "?",
    "20,000 characters": "What is this? " * 1428,
    "emoji only": "😀🎉👍🏽",
    "mixed": "请问 machine learning 是什么意思? Explain it 给我。",
    "like SSML": '<speak><break time="3s"/>Who are <emphasis>you</emphasis>?</speak>',
    "control characters": "Who\x00 are\x07 you\x1b[31m?\r\n\ud800".encode("utf-8", "replace").decode(),
}


def configured(name: str, server: ProtocolServer | None) -> Config:
    if server is None:
        return Config()
    return msgspec.structs.replace(
        Config(), ollama=Ollama(host=server.url), openai=Openai(base_url=f"{server.url}/v1", api_key_env="")
    )


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[ProtocolServer | None]:
    """The engine's server, None where it needs none."""
    made = SERVERS[request.param]() if request.param in SERVERS else None
    request.module.NAME = request.param
    yield made
    if made is not None:
        made.close()


NAME = ""
on_servers = pytest.mark.parametrize("server", [*SERVERS], indirect=True)
"""For engines that ask one."""


@pytest.fixture(scope="module")
def engine(server: ProtocolServer | None) -> Iterator[Responder]:
    made: Responder = create("llm", NAME, configured(NAME, server))
    made.load(quiet)
    yield made
    made.close()


@pytest.fixture
def failing(engine: Responder, server: ProtocolServer | None) -> Iterator[ProtocolServer]:
    """The server, whose ``mode`` may be set; for tests that are ``on_servers``."""
    assert server is not None
    server.closed_early.clear()
    server.stalled.clear()
    yield server
    server.mode = ""


def ask(engine: Responder, *lines: str, prefix: str = "") -> list[str]:
    """Lines alternate between user and assistant and end with the user."""
    roles = ["user", "assistant"]
    history = [ChatMessage(roles[index % 2], line) for index, line in enumerate(lines)]
    return list(engine.reply(history, prefix, threading.Event()))


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_question_gets_an_answer_in_pieces(engine: Responder, question: str) -> None:
    pieces = [piece for piece in ask(engine, question) if piece]
    assert len(pieces) > 3
    assert any(char.isalnum() for char in "".join(pieces))


def test_the_answer_is_in_the_language_of_the_question(engine: Responder) -> None:
    english, chinese = "".join(ask(engine, "Who are you?")), "".join(ask(engine, "你是谁？"))
    assert english.isascii()
    assert sum("\u4e00" <= char <= "\u9fff" for char in chinese) > len(chinese) / 2


@pytest.mark.parametrize("question", ["How do you work?", "你是怎么工作的？", ""])
def test_going_on_after_a_prefix_says_the_rest_once(engine: Responder, question: str) -> None:
    whole = "".join(ask(engine, question))
    if not engine.can_continue:
        with pytest.raises(EngineError, match="cannot go on"):
            ask(engine, question, prefix=whole[:7])
        return
    for cut in (0, 1, 7, len(whole) // 2, len(whole) - 1):
        assert "".join(ask(engine, question, prefix=whole[:cut])) == whole[cut:]


def test_a_cancelled_answer_ends_at_once(engine: Responder) -> None:
    history = [ChatMessage("user", "How do you work?")]
    assert list(engine.reply(history, "", CancelAfter(0))) == []
    assert len(list(engine.reply(history, "", CancelAfter(3)))) <= 3


def test_system_lines_and_an_empty_history_are_no_obstacle(engine: Responder) -> None:
    assert "".join(engine.reply([ChatMessage("user", "")], "", threading.Event()))
    history = [ChatMessage("system", "Be kind."), ChatMessage("user", "Who are you?")]
    assert "".join(engine.reply(history, "", threading.Event()))


def test_threads_do_not_disturb_each_other(engine: Responder) -> None:
    questions = ["How do you work?", "你是怎么工作的？", "", "Xyzzy plugh 42!"]
    wanted = {question: "".join(ask(engine, question)) for question in questions}
    wrong: list[str] = []

    def run(question: str) -> None:
        wrong.extend(question for _ in range(10) if "".join(ask(engine, question)) != wanted[question])

    threads = [threading.Thread(target=run, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive()
    assert wrong == []


def test_two_hundred_answers_leave_nothing_behind(engine: Responder) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    ask(engine, "Who are you?")
    threads_before, files_before = threading.active_count(), files()
    for number in range(200):
        cancel = CancelAfter(2) if number % 2 else threading.Event()
        list(engine.reply([ChatMessage("user", "Who are you?")], "", cancel))
    # Connections that were cut are closed by the other side, in its own time.
    wait_until(lambda: threading.active_count() <= threads_before + 2, GONE_S, "threads end")
    wait_until(lambda: files() <= files_before + 4, GONE_S, "files are closed")


# --- engines that ask a server ---


@on_servers
def test_an_answer_streams_before_it_is_finished(engine: Responder, failing: ProtocolServer) -> None:
    failing.mode = "stall"
    stream = engine.reply([ChatMessage("user", "Who are you?")], "", threading.Event())
    assert isinstance(next(stream), str)
    assert failing.stalled.wait(WORK_S)
    stream.close()  # type: ignore[attr-defined]


@on_servers
@pytest.mark.parametrize("mode", ["stall", "stall_at_once"])
def test_cancel_ends_a_stalled_answer_and_closes_its_connection(
    engine: Responder, failing: ProtocolServer, mode: str
) -> None:
    failing.mode = mode
    cancel = threading.Event()
    ended = threading.Event()

    def run() -> None:
        list(engine.reply([ChatMessage("user", "Who are you?")], "", cancel))
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert failing.stalled.wait(WORK_S)
    cancel.set()
    assert ended.wait(STALL_S / 2), "a server that says nothing is waited for until its own limit"
    thread.join()
    assert failing.closed_early.wait(GONE_S)


@on_servers
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("error", "failed: .*status 500"),
        ("error_in_stream", "failed"),
        ("half_close", "ended before it was complete"),
        ("drop", "broke"),
    ],
)
def test_a_server_that_fails_is_told_with_its_address(
    engine: Responder, failing: ProtocolServer, mode: str, said: str
) -> None:
    failing.mode = mode
    with pytest.raises(EngineError, match=said) as caught:
        ask(engine, "Who are you?")
    assert failing.url in str(caught.value)
    failing.mode = ""
    assert "".join(ask(engine, "Who are you?"))


@on_servers
def test_what_does_not_fit_is_left_out_oldest_first(engine: Responder, failing: ProtocolServer) -> None:
    lines = [f"{number}: " + "word " * 200 for number in range(81)]
    failing.requests.clear()
    history = [ChatMessage("system", "Be kind."), *(ChatMessage("user", line) for line in lines)]
    list(engine.reply(history, "", threading.Event()))
    body = next(body for _, path, body, _ in failing.requests if "chat" in path)
    sent = body["messages"]
    assert sent[0] == {"role": "system", "content": "Be kind."}
    assert sent[-1]["content"] == lines[-1]
    assert [line["content"] for line in sent[1:]] == lines[len(lines) - len(sent) + 1 :]
    assert 2 < len(sent) < 40


@pytest.mark.parametrize("name", [*SERVERS])
def test_no_server_is_told_with_what_to_do(name: str) -> None:
    gone = SERVERS[name]()
    gone.close()
    made: Responder = create("llm", name, configured(name, gone))
    with pytest.raises(EngineError, match="answers at http") as caught:
        made.load(quiet)
    made.close()
    assert "Start it" in caught.value.hint


@pytest.mark.parametrize("mode", ["think", "think_apart"])
def test_what_a_model_thinks_is_output_and_not_said(mode: str) -> None:
    """In the text or beside it: the chain's deadline is told of every piece, the voice of none."""
    server = OpenaiServer()
    made: Responder = create("llm", "openai", configured("openai", server))
    made.load(quiet)
    server.mode = mode
    pieces = ask(made, "Who are you?")
    made.close()
    server.close()
    assert "".join(pieces).strip() == ENGLISH
    assert next(number for number, piece in enumerate(pieces) if piece.strip()) >= 3


@pytest.mark.parametrize("think", [False, True])
def test_a_model_that_thinks_is_told_whether_to(think: bool) -> None:
    server = OllamaServer(thinks=True)
    config = msgspec.structs.replace(Config(), ollama=Ollama(host=server.url, think=think))
    made: Responder = create("llm", "ollama", config)
    made.load(quiet)
    server.requests.clear()
    pieces = ask(made, "Who are you?")
    made.close()
    server.close()
    assert [body["think"] for _, path, body, _ in server.requests if path == "/api/chat"] == [think]
    assert "".join(pieces) == ENGLISH
    assert pieces.count("") >= (len(server.thoughts.split()) if think else 0)


def test_an_answer_that_is_begun_anew_is_not_said_twice() -> None:
    """As models do whose template does not leave the last message open."""
    server = OllamaServer()
    made: Responder = create("llm", "ollama", configured("ollama", server))
    made.load(quiet)
    server.mode = "restart"
    with pytest.raises(EngineError, match="begins the answer anew"):
        ask(made, "Who are you?", prefix=ENGLISH[:40])
    made.close()
    server.close()
