"""What of a conversation a language model is given: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from models.api import ChatMessage
from models.text.reasoning import ReasoningFilter

ANSWER_SHARE = 4
"""A quarter of the context is left for the answer."""
PER_MESSAGE = 6
"""Tokens that a chat template puts around a message."""
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef\U0001f000-\U0003ffff]")
_LATIN = re.compile(r"[A-Za-z0-9 ]")


def tokens(text: str) -> int:
    """How many tokens a text has at most, for any tokenizer in use: an estimate on the safe side.

    Some three Latin characters make a token; a Chinese character, an emoji or other sign at most about one.
    """
    wide = len(_WIDE.findall(text))
    latin = len(_LATIN.findall(text))
    return wide + (latin + 2) // 3 + (len(text) - wide - latin + 1) // 2


def within(history: Sequence[ChatMessage], context: int) -> list[ChatMessage]:
    """The history without its oldest turns, so that it and an answer fit into ``context`` tokens.

    System messages and the last message always stay; what alone is too long is shortened in its middle.
    """
    budget = context - context // ANSWER_SHARE
    system = [line for line in history if line.role == "system"]
    others = [line for line in history if line.role != "system"]
    system = [ChatMessage(line.role, _shortened(line.content, budget // 2)) for line in system]
    budget -= sum(_cost(line) for line in system)
    kept: list[ChatMessage] = []
    for line in reversed(others):
        if kept and _cost(line) > budget:
            break
        line = ChatMessage(line.role, _shortened(line.content, max(budget - PER_MESSAGE, 16)))
        kept.append(line)
        budget -= _cost(line)
    kept.reverse()
    while len(kept) > 1 and kept[0].role != "user":
        kept.pop(0)
    return [*system, *(line for line in kept if line.content.strip() or line is kept[-1])]


def spoken(pieces: Iterable[str]) -> Iterator[str]:
    """An answer without the blocks in which the model thinks; "" for each piece of them."""
    reasoning = ReasoningFilter()
    for piece in pieces:
        yield reasoning.feed(piece)
    rest = reasoning.flush()
    if rest:
        yield rest


def _cost(line: ChatMessage) -> int:
    return tokens(line.content) + PER_MESSAGE


def _shortened(text: str, limit: int) -> str:
    """At most about ``limit`` tokens of the text: its beginning and its end."""
    if tokens(text) <= limit:
        return text
    size = len(text) * limit // tokens(text)
    while size > 2 and tokens(text[: size // 2] + text[-(size // 2) :]) > limit:
        size = size * 9 // 10
    half = max(size // 2, 1)
    return f"{text[:half]} … {text[-half:]}"
