"""Answers by a language model on an Ollama server, through its own client library."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import httpx
import ollama

from configs.schema import Config
from models.aio import Loop
from models.api import Cancel, ChatMessage, EngineError, Progress
from models.llm.conversation import spoken, within
from models.llm.servers import CONNECT_S, LOAD_S, Repetition, first_answer, loopback

ASK_S = 10.0
"""For a question that the server answers without the model."""


class OllamaResponder:
    """See ``models.api.Responder``. An answer that was begun is handed over as the assistant's last message, which
    Ollama's templates leave open.
    """

    name = "ollama"
    can_continue = True

    def __init__(self, config: Config) -> None:
        self._settings = config.ollama
        self._loop: Loop | None = None
        self.can_think = False
        """Whether the model thinks, as the server says; after ``load``."""

    def load(self, progress: Progress) -> None:
        """Reach the server, look for the model and have it loaded.

        Raises:
            EngineError: the server cannot be reached, has no such model, or cannot load it.
        """
        progress("ollama", 0, 1)
        self._loop = Loop("ollama")
        # The chain's deadlines hold, not the client's; a connection is another matter.
        self._client = ollama.AsyncClient(
            self._settings.host,
            timeout=httpx.Timeout(None, connect=CONNECT_S, pool=CONNECT_S),
            trust_env=not loopback(self._settings.host),
        )
        try:
            self._look_for_model(self._loop)
            self._warm(self._loop, progress)
        except Exception as error:
            raise self._explained(error) from error
        progress("ollama", 1, 1)

    def close(self) -> None:
        """Close all connections."""
        if self._loop is not None:
            with contextlib.suppress(Exception):  # a connection that is broken is closed
                self._loop.run(self._client._client.aclose(), CONNECT_S)
            self._loop.close()
            self._loop = None

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        """See ``models.api.Responder``.

        Raises:
            EngineError: the server failed, or its answer ended before it was complete.
        """
        if self._loop is None:
            raise EngineError("FAILED", "ollama is not loaded", "Call load() first")
        messages = _messages(history, prefix, self._settings.num_ctx)
        repetition = Repetition(self.name, prefix)
        try:
            for piece in spoken(self._loop.stream(lambda: self._chat(messages), cancel)):
                yield repetition.feed(piece)
            rest = repetition.flush()
            if rest and not cancel.is_set():
                yield rest
        except Exception as error:
            raise self._explained(error) from error

    async def _chat(self, messages: Sequence[Mapping[str, str]]) -> AsyncIterator[str]:
        stream = await self._client.chat(
            self._settings.model,
            messages,
            stream=True,
            think=self._settings.think and self.can_think,
            options=self._options,
            keep_alive=_keep_alive(self._settings.keep_alive),
        )
        done = False
        try:
            async for part in stream:
                done = bool(part.done)
                yield part.message.content or ""
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        if not done:
            raise EngineError(
                "FAILED", f"the answer of ollama at {self._settings.host} ended before it was complete"
            )

    @property
    def _options(self) -> dict[str, Any]:
        return {**self._settings.options, "num_ctx": self._settings.num_ctx}

    def _look_for_model(self, loop: Loop) -> None:
        found = loop.run(self._client.show(self._settings.model), ASK_S)
        self.can_think = "thinking" in (found.capabilities or [])

    def _warm(self, loop: Loop, progress: Progress) -> None:
        """A chat without messages loads the model; with the options of real ones, or it would be loaded again."""
        future = loop.begin(
            self._client.chat(
                self._settings.model, [], options=self._options, keep_alive=_keep_alive(self._settings.keep_alive)
            )
        )
        fact = f"ollama has not loaded {self._settings.model} within {LOAD_S:g} s"
        late = EngineError("FAILED", fact, "Try `ollama run` with it, or a smaller model")
        first_answer(future, lambda s: progress("ollama loads the model", s, int(LOAD_S)), late)

    def _explained(self, error: Exception) -> EngineError:
        host, model = self._settings.host, self._settings.model
        if isinstance(error, EngineError):
            return error
        if isinstance(error, ollama.ResponseError):
            if error.status_code == 404:
                return EngineError(
                    "FAILED", f"ollama at {host} has no model {model}", f"Get it: ollama pull {model}"
                )
            return EngineError("FAILED", f"ollama at {host} failed: {error.error} (status {error.status_code})")
        if isinstance(error, ConnectionError | httpx.ConnectError | httpx.ConnectTimeout):
            return EngineError("FAILED", f"no ollama server answers at {host}", "Start it: ollama serve")
        if isinstance(error, TimeoutError):
            return EngineError("FAILED", f"ollama at {host} has not answered within {ASK_S:g} s")
        return EngineError("FAILED", f"the connection to ollama at {host} broke: {type(error).__name__}: {error}")


def _messages(history: Sequence[ChatMessage], prefix: str, context: int) -> list[dict[str, str]]:
    lines = within([*history, ChatMessage("assistant", prefix)] if prefix else history, context)
    return [{"role": line.role, "content": line.content} for line in lines]


def _keep_alive(value: str) -> str | float:
    """A bare number is seconds to Ollama, and only as a number."""
    try:
        return float(value)
    except ValueError:
        return value
