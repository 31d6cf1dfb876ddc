"""A server that speaks Ollama's protocol: /api/chat as NDJSON, /api/show, /api/tags, and its ways to fail."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from tests.engines.servers.http import ProtocolServer
from tests.engines.servers.script import answer_to

NOW = "2026-01-01T00:00:00.000000Z"


class OllamaServer(ProtocolServer):
    """Modes: "", "error" (status 500), "error_in_stream", "stall", "stall_at_once", "half_close", "drop",
    "restart" (does not go on with an answer but begins it anew).
    """

    def __init__(self, models: tuple[str, ...] = ("qwen2.5:7b",), thinks: bool = False) -> None:
        self.models = models
        self.thinks = thinks
        self.thoughts = "I should think about it."
        self.first_s = 0.0
        """Before the first token."""
        super().__init__()

    def answer(self, request: Any, method: str, path: str, body: Any) -> None:
        if path == "/api/tags":
            listed = [
                {"model": name, "name": name, "modified_at": NOW, "digest": "0", "size": 1} for name in self.models
            ]
            self.reply(request, 200, {"models": listed})
            return
        if path not in ("/api/show", "/api/chat"):
            self.reply(request, 404, {"error": "page not found"})
            return
        model = body.get("model") or body.get("name")
        if model not in self.models and f"{model}:latest" not in self.models:
            self.reply(request, 404, {"error": f"model '{model}' not found"})
        elif path == "/api/show":
            capabilities = ["completion", *(["thinking"] if self.thinks else [])]
            self.reply(request, 200, {"details": {"family": "x"}, "model_info": {}, "capabilities": capabilities})
        elif not body["messages"]:
            loaded = {"model": model, "created_at": NOW, "message": {"role": "assistant", "content": ""}}
            self.reply(request, 200, {**loaded, "done": True, "done_reason": "load"})
        elif self.mode == "error":
            self.reply(request, 500, {"error": "llama runner process has terminated: exit status 2"})
        else:
            self.chunks(request, "application/x-ndjson", self._lines(model, body))

    def _lines(self, model: str, body: Any) -> Iterator[bytes]:
        messages = body["messages"]
        prefix = messages[-1].get("content", "") if messages[-1]["role"] == "assistant" else ""
        whole = answer_to([line for line in messages if line["role"] != "assistant" or line is not messages[-1]])
        time.sleep(self.first_s)
        rest = whole[len(prefix) :] if whole.startswith(prefix) and self.mode != "restart" else whole
        if body.get("think"):
            for word in self.thoughts.split(" "):
                yield self._line(model, {"content": "", "thinking": word + " "})
        for number, word in enumerate(re.findall(r"\s*\S{1,12}|\s+", rest)):
            if self.mode == "error_in_stream" and number == 3:
                yield json.dumps({"error": "an error was encountered while running the model"}).encode() + b"\n"
                return
            yield self._line(model, {"content": word})
        end = {"done": True, "done_reason": "stop", "eval_count": 9, "prompt_eval_count": 9}
        yield self._line(model, {"content": ""}, **end)

    def _line(self, model: str, message: dict[str, str], **more: Any) -> bytes:
        line = {"model": model, "created_at": NOW, "message": {"role": "assistant", **message}, "done": False}
        return json.dumps({**line, **more}).encode() + b"\n"
