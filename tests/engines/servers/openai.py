"""A server with an OpenAI-compatible API: /v1/models, /v1/chat/completions as SSE, and its failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.engines.servers.http import ProtocolServer
from tests.engines.servers.script import answer_to


class OpenaiServer(ProtocolServer):
    """Modes: "", "error" (status 500), "error_in_stream", "stall", "stall_at_once", "half_close", "drop", "think"
    (a block of thoughts in the text), "think_apart" (thoughts in a field of their own).
    """

    def __init__(self, models: tuple[str, ...] = ("local-model",), key: str = "", strict: bool = False) -> None:
        self.models = models
        self.key = key
        self.strict = strict
        """Refuses parameters that are not OpenAI's own."""
        super().__init__()

    def answer(self, request: Any, method: str, path: str, body: Any) -> None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            self.reply(request, 401, {"error": {"message": "Incorrect API key provided"}})
        elif path == "/v1/models":
            listed = [{"id": name, "object": "model", "max_model_len": 2048} for name in self.models]
            self.reply(request, 200, {"object": "list", "data": listed})
        elif path != "/v1/chat/completions":
            self.reply(request, 404, {"error": {"message": f"Invalid URL ({method} {path})"}})
        elif self.strict and "chat_template_kwargs" in body:
            self.reply(request, 400, {"error": {"message": "Unrecognized request argument: chat_template_kwargs"}})
        elif body["model"] not in self.models:
            self.reply(request, 404, {"error": {"message": f"The model `{body['model']}` does not exist"}})
        elif not body.get("stream"):
            self.reply(request, 200, {"choices": [{"message": {"role": "assistant", "content": "I"}}]})
        elif self.mode == "error":
            self.reply(request, 500, {"error": {"message": "CUDA out of memory"}})
        else:
            self.chunks(request, "text/event-stream", self._events(body))

    def _events(self, body: Any) -> Iterator[bytes]:
        yield b": keep-alive\n\n"
        yield self._event({"role": "assistant", "content": ""})
        if self.mode == "think":
            for part in ("<thi", "nk>I should th", "ink about it.</thin", "k>\n\n"):
                yield self._event({"content": part})
        if self.mode == "think_apart":
            for word in ("I", "should", "think", "about", "it,", "and", "then", "think", "again."):
                yield self._event({"reasoning_content": word})
        for number, word in enumerate(re.findall(r"\s*\S{1,12}|\s+", answer_to(body["messages"]))):
            if self.mode == "error_in_stream" and number == 3:
                yield b'data: {"error": {"message": "the engine has died"}}\n\n'
                return
            yield self._event({"content": word})
        yield self._event({}, finish="stop")
        yield b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
