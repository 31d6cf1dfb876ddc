"""What every responder promises; new engines join the list below."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from configs.schema import Config
from models.api import ChatMessage, Responder
from models.registry import create
from tests.engines.doubles import CancelAfter, quiet

ENGINES = ["faq"]
QUESTIONS = {
    "english": "How do you work?",
    "chinese": "你是怎么工作的？",
    "nonsense": "Xyzzy plugh 42!",
    "empty": "",
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Responder]:
    made: Responder = create("llm", request.param, Config())
    made.load(quiet)
    yield made
    made.close()


def ask(engine: Responder, *lines: str, prefix: str = "") -> list[str]:
    """Lines alternate between user and assistant and end with the user."""
    roles = ["user", "assistant"]
    history = [ChatMessage(roles[index % 2], line) for index, line in enumerate(lines)]
    return list(engine.reply(history, prefix, threading.Event()))


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_question_gets_an_answer_in_pieces(engine: Responder, question: str) -> None:
    pieces = ask(engine, question)
    assert len(pieces) > 3
    assert all(pieces)
    assert any(char.isalnum() for char in "".join(pieces))


def test_the_answer_is_in_the_language_of_the_question(engine: Responder) -> None:
    english, chinese = "".join(ask(engine, "Who are you?")), "".join(ask(engine, "你是谁？"))
    assert english.isascii()
    assert sum("\u4e00" <= char <= "\u9fff" for char in chinese) > len(chinese) / 2


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_going_on_after_a_prefix_says_the_rest_once(engine: Responder, question: str) -> None:
    if not engine.can_continue:
        pytest.skip("the engine does not promise it")
    whole = "".join(ask(engine, question))
    for cut in (0, 1, 7, len(whole) // 2, len(whole) - 1, len(whole)):
        assert "".join(ask(engine, question, prefix=whole[:cut])) == whole[cut:]


def test_a_cancelled_answer_ends_at_once(engine: Responder) -> None:
    history = [ChatMessage("user", "How do you work?")]
    assert list(engine.reply(history, "", CancelAfter(0))) == []
    assert len(list(engine.reply(history, "", CancelAfter(3)))) <= 3


def test_system_lines_and_an_empty_history_are_no_obstacle(engine: Responder) -> None:
    assert "".join(engine.reply([], "", threading.Event()))
    history = [ChatMessage("system", "Be kind."), ChatMessage("user", "Who are you?")]
    assert "".join(engine.reply(history, "", threading.Event()))


def test_threads_do_not_disturb_each_other(engine: Responder) -> None:
    wanted = {question: ask(engine, question) for question in QUESTIONS.values()}
    wrong: list[str] = []

    def run(question: str) -> None:
        wrong.extend(question for _ in range(20) if ask(engine, question) != wanted[question])

    threads = [threading.Thread(target=run, args=(question,)) for question in QUESTIONS.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive()
    assert wrong == []
