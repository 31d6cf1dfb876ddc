"""What the protocol servers answer."""

from __future__ import annotations

from typing import Any

ENGLISH = "I am a model on a server. I was asked something, and this is my answer to it. Is there anything else?"
CHINESE = "我是服务器上的一个模型。你问了我一个问题，这就是我的回答。还有别的问题吗？"


def answer_to(messages: list[Any]) -> str:
    """In the language of the last user message; the same for the same messages."""
    asked = next((line.get("content", "") for line in reversed(messages) if line["role"] == "user"), "")
    return CHINESE if any("\u4e00" <= char <= "\u9fff" for char in asked[:2000]) else ENGLISH
