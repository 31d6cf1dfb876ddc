"""What ``musecast doctor`` finds out about an engine."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from configs.schema import Config, Engines, Ollama, Openai
from models.trial import trial
from supervision.trials import trials
from tests.engines.servers.ollama import OllamaServer
from tests.engines.servers.openai import OpenaiServer
from tests.support import whisper


@pytest.fixture
def ollama() -> Iterator[OllamaServer]:
    server = OllamaServer(models=("qwen2.5:1.5b", "other:latest"))
    yield server
    server.close()


def asking(host: str, model: str) -> Config:
    return msgspec.structs.replace(Config(), ollama=Ollama(host=host, model=model))


@pytest.mark.parametrize("model", ["qwen2.5:1.5b", "other"])
def test_a_model_that_answers_is_told_with_its_first_word(ollama: OllamaServer, model: str) -> None:
    found = trial("llm", "ollama", asking(ollama.url, model))
    assert found.ok
    assert found.fact.startswith(f"{model}: first word after ")


def test_a_model_that_is_absent_is_told_with_the_command_that_gets_it(ollama: OllamaServer) -> None:
    found = trial("llm", "ollama", asking(ollama.url, "qwen2.5:7b"))
    assert not found.ok
    assert found.fact == f"ollama at {ollama.url} has no model qwen2.5:7b"
    assert found.next_step == "Get it: ollama pull qwen2.5:7b"


def test_an_openai_compatible_server_names_its_model_and_a_wrong_key_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = OpenaiServer(key="secret", strict=True)
    monkeypatch.setenv("SOME_KEY", "secret")
    config = msgspec.structs.replace(Config(), openai=Openai(base_url=f"{server.url}/v1", api_key_env="SOME_KEY"))
    assert trial("llm", "openai", config).fact.startswith("local-model: first word after ")
    monkeypatch.setenv("SOME_KEY", "wrong")
    found = trial("llm", "openai", config)
    server.close()
    assert not found.ok
    assert "refuses the key" in found.fact
    assert found.next_step == "Set the environment variable SOME_KEY"


def test_a_server_that_cannot_keep_its_model_from_thinking_is_told() -> None:
    server = OpenaiServer(strict=True)
    server.mode = "think_apart"
    config = msgspec.structs.replace(Config(), openai=Openai(base_url=f"{server.url}/v1", api_key_env=""))
    found = trial("llm", "openai", config)
    server.close()
    assert found.ok
    assert found.fact.endswith("it thinks first, and the server cannot be told not to")
    assert found.next_step == "Answers begin sooner with a model that does not think"


@pytest.mark.slow
def test_a_recogniser_is_tried_with_a_sentence() -> None:
    config = whisper.config(hotwords=False)
    voices = Engines(asr=["faster_whisper"], llm=["faq"], tts=["edge_tts", "hibari"])
    found = trial("asr", "faster_whisper", msgspec.structs.replace(config, engines=voices))
    assert found.ok
    assert found.fact.startswith("heard '")
    assert "hear me" in found.fact


@pytest.mark.process
def test_each_engine_is_tried_in_a_process_of_its_own(ollama: OllamaServer) -> None:
    config = msgspec.structs.replace(
        asking(ollama.url, "absent"), engines=Engines(asr=["pocketsphinx"], llm=["ollama", "faq"], tts=["espeak"])
    )
    found = {one.engine: one for one in trials(config)}
    assert {name: one.ok for name, one in found.items()} == {
        "pocketsphinx": True,
        "ollama": False,
        "faq": True,
        "espeak": True,
    }
    assert found["ollama"].next_step == "Get it: ollama pull absent"
    assert found["espeak"].fact.startswith("spoke ")
