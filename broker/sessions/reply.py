"""The answer of a chat turn: one llm item, its text and sentences, and what of it was heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from broker.errors import ErrorCode
from broker.ipc.messages import Item, Line, LlmDelta, LlmItem, LlmSentence, Output
from broker.media.speech_track import to_us
from broker.sessions.voices import Sentence

if TYPE_CHECKING:
    from broker.sessions.turn import Turn


class LlmJob:
    """A reply in the making; a retry goes on from the accepted text."""

    media_ms = 0

    def __init__(self, turn: Turn, history: list[Line]) -> None:
        self._turn = turn
        self._history = history
        self._text = ""
        self._sentences = 0

    def build(self) -> tuple[Item, Sequence[Any]]:
        """History and what is accepted of the answer."""
        turn = self._turn
        item = LlmItem(
            sid=turn.session.id,
            turn=turn.number,
            history=self._history,
            prefix=self._text,
            sentences=self._sentences,
            language=turn.session.language,
        )
        return item, ()

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """A delta or a complete sentence."""
        if isinstance(message, LlmDelta):
            self._text += message.text
            self._turn.mark("llm_first_token")
            self._turn.said(message.text)
        elif isinstance(message, LlmSentence):
            self._sentences += 1
            self._turn.mark("llm_first_sentence")
            self._turn.speak(message.text)

    def done(self) -> None:
        """The answer is complete."""
        self._turn.close_text()

    def failed(self, code: ErrorCode, message: str) -> None:
        """No answer, no turn."""
        self._turn.fail(code, f"the language model failed: {message}")


def heard_text(sentences: list[Sentence], words: Sequence[tuple[str, int, int]], until_us: int) -> str:
    """What a listener has heard when the turn is cut ``until_us`` after its start.

    Whole sentences whose audio ends by then, and of the sentence being spoken the words that end by then,
    found again in its text so that spelling and punctuation stay.
    """
    parts: list[str] = []
    for sentence in sentences:
        if sentence.start is None:
            break
        start_us, end_us = to_us(sentence.start), to_us(sentence.start + sentence.length)
        if sentence.done and end_us <= until_us:
            parts.append(sentence.text)
            continue
        position = 0
        for text, t0_us, t1_us in words:
            if start_us <= t0_us and t1_us <= until_us and t0_us < end_us:
                found = sentence.text.find(text, position)
                if found >= 0:
                    position = found + len(text)
        if position:
            parts.append(sentence.text[:position])
        break
    return join_sentences(parts)


def join_sentences(parts: Sequence[str]) -> str:
    """Sentences joined as their script wants it: no space after a CJK stop."""
    text = ""
    for part in parts:
        glue = "" if not text or ord(text[-1]) > 0x2E80 else " "
        text += glue + part
    return text
