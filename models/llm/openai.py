"""Answers by a language model on a server with an OpenAI-compatible API: chat completions as SSE."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx

from configs.schema import Config
from models.aio import Loop
from models.api import Cancel, ChatMessage, EngineError, Progress
from models.llm.conversation import spoken, within
from models.llm.servers import CONNECT_S, LOAD_S, first_answer, loopback

ASK_S = 10.0
DEFAULT_CONTEXT = 8192
"""Tokens, where the server does not say how many its model takes."""
NO_THINKING: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
"""Understood by vLLM, SGLang and llama.cpp; others refuse what they do not know."""
REFUSED = frozenset({400, 422})
_ERROR_CHARS = 300
_LINE_BYTES = 1 << 20


class OpenaiResponder:
    """See ``models.api.Responder``."""

    name = "openai"
    can_continue = False

    def __init__(self, config: Config) -> None:
        self._settings = config.openai
        self._base = config.openai.base_url.rstrip("/")
        self._loop: Loop | None = None
        self.model = config.openai.model
        """What is asked; after ``load``."""
        self.context = DEFAULT_CONTEXT
        self.thinking_off = False
        """Whether the server takes the order not to think; after ``load``."""

    def load(self, progress: Progress) -> None:
        """Reach the server, choose the model and have it answer once.

        Raises:
            EngineError: the server cannot be reached, refuses the key, has no such model, or does not answer.
        """
        progress("openai", 0, 1)
        self._loop = Loop("openai")
        key = os.environ.get(self._settings.api_key_env, "") if self._settings.api_key_env else ""
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # The chain's deadlines hold, not the client's; a connection is another matter.
            timeout=httpx.Timeout(None, connect=CONNECT_S, pool=CONNECT_S),
            trust_env=not loopback(self._base),
        )
        try:
            self._choose(self._loop)
            self._warm(self._loop, progress)
        except Exception as error:
            raise self._explained(error) from error
        progress("openai", 1, 1)

    def close(self) -> None:
        """Close all connections."""
        if self._loop is not None:
            with contextlib.suppress(Exception):  # a connection that is broken is closed
                self._loop.run(self._client.aclose(), CONNECT_S)
            self._loop.close()
            self._loop = None

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        """See ``models.api.Responder``. The protocol has no way to go on with an answer.

        Raises:
            EngineError: the server failed, or its answer ended before it was complete.
        """
        if self._loop is None:
            raise EngineError("FAILED", "openai is not loaded", "Call load() first")
        if prefix:
            raise EngineError("FAILED", "openai cannot go on with an answer that was begun", "Ask again")
        body = self._body(history)
        try:
            yield from spoken(self._loop.stream(lambda: self._chat(body), cancel))
        except Exception as error:
            raise self._explained(error) from error

    def _body(self, history: Sequence[ChatMessage]) -> dict[str, Any]:
        lines = within(history, self.context) or [ChatMessage("user", "")]
        return {
            "model": self.model,
            "messages": [{"role": line.role, "content": line.content} for line in lines],
            "stream": True,
            **(NO_THINKING if self.thinking_off else {}),
        }

    async def _chat(self, body: dict[str, Any]) -> AsyncIterator[str]:
        finished = False
        async with self._client.stream("POST", f"{self._base}/chat/completions", json=body) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                response.raise_for_status()
                raise EngineError("FAILED", f"openai at {self._base} answered with status {response.status_code}")
            async for data in _events(response):
                if data == "[DONE]":
                    return
                found = _parsed(data)
                if found.get("error"):
                    raise EngineError("FAILED", f"openai at {self._base} failed: {_said(found)}")
                for choice in found.get("choices") or ():
                    finished = finished or bool(choice.get("finish_reason"))
                    yield (choice.get("delta") or {}).get("content") or ""
        if not finished:
            raise EngineError("FAILED", f"the answer of openai at {self._base} ended before it was complete")

    def _choose(self, loop: Loop) -> None:
        response = loop.run(self._client.get(f"{self._base}/models"), ASK_S)
        response.raise_for_status()
        listed = _parsed(response.text).get("data") or []
        names = [str(one.get("id")) for one in listed if isinstance(one, dict)]
        if not self.model:
            if not names:
                raise EngineError(
                    "FAILED", f"openai at {self._base} lists no model", "Load one, or set openai.model"
                )
            self.model = names[0]
        elif names and self.model not in names:
            known = ", ".join(names[:8])
            raise EngineError(
                "FAILED", f"openai at {self._base} has no model {self.model}; it lists {known}", "Set openai.model"
            )
        for one in listed:
            if isinstance(one, dict) and one.get("id") == self.model:
                meta = one.get("meta")
                meta = meta if isinstance(meta, dict) else {}
                size = one.get("max_model_len") or meta.get("n_ctx") or meta.get("n_ctx_train")
                self.context = size if isinstance(size, int) and size >= 512 else DEFAULT_CONTEXT

    def _warm(self, loop: Loop, progress: Progress) -> None:
        """One short answer, first with the order not to think: a server that refuses it is not given it again."""
        self.thinking_off = True
        try:
            self._ask_once(loop, progress)
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in REFUSED:
                raise
            self.thinking_off = False
            self._ask_once(loop, progress)

    def _ask_once(self, loop: Loop, progress: Progress) -> None:
        body = self._body([ChatMessage("user", "Hi")]) | {"stream": False, "max_tokens": 1}
        future = loop.begin(self._client.post(f"{self._base}/chat/completions", json=body))
        fact = f"openai at {self._base} has not answered within {LOAD_S:g} s"
        late = EngineError("FAILED", fact, "See the server's own log")
        response = first_answer(
            future, lambda s: progress("openai answers for the first time", s, int(LOAD_S)), late
        )
        response.raise_for_status()

    def _explained(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        where = f"openai at {self._base}"
        if isinstance(error, httpx.HTTPStatusError):
            status = error.response.status_code
            if status in (401, 403):
                step = f"Set the environment variable {self._settings.api_key_env or '(openai.api_key_env)'}"
                return EngineError("FAILED", f"{where} refuses the key (status {status})", step)
            return EngineError(
                "FAILED", f"{where} failed: {_said(_parsed(error.response.text))} (status {status})"
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return EngineError("FAILED", f"no server answers at {self._base}", "Start it, or set openai.base_url")
        if isinstance(error, TimeoutError):
            return EngineError("FAILED", f"{where} has not answered within {ASK_S:g} s")
        return EngineError("FAILED", f"the connection to {where} broke: {type(error).__name__}: {error}")


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of server-sent events; comments and other fields are left out."""
    async for line in response.aiter_lines():
        if len(line) > _LINE_BYTES:
            raise EngineError("FAILED", f"the server sent a line of more than {_LINE_BYTES} characters")
        if line.startswith("data:"):
            yield line[5:].strip()


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {"error": text[:_ERROR_CHARS]}
    return found if isinstance(found, dict) else {}


def _said(found: dict[str, Any]) -> str:
    error = found.get("error") or found.get("detail") or found
    return str(error.get("message") if isinstance(error, dict) and error.get("message") else error)[:_ERROR_CHARS]
