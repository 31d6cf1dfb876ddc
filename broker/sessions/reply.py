"""What a turn says: given text or a language model's answer, its sentences, and what of it was heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.errors import ErrorCode
from broker.ipc.messages import Item, Line, LlmDelta, LlmItem, LlmSentence, Output, Serving
from broker.media.speech_track import to_us
from broker.sessions.output import Output as SessionOutput
from broker.sessions.spoken_text import Sentence, SpokenText
from broker.sessions.task import Task
from broker.stream.events import ReplyDelta
from broker.workers.ledger import Entry
from models.text.sentences import sentences


class Reply:
    """Text that is published as it comes, and spoken sentence by sentence."""

    def __init__(self, task: Task, output: SessionOutput, speech: SpokenText) -> None:
        self._task = task
        self._output = output
        self._speech = speech
        self._parts: list[str] = []
        self._item: Entry | None = None
        self.broken: tuple[ErrorCode, str] | None = None
        """Why its text has ended too early, when it has."""

    @property
    def text(self) -> str:
        """All that has come so far."""
        return "".join(self._parts)

    def say(self, text: str) -> None:
        """Speak this text."""
        self.add(text)
        for sentence in sentences(text):
            self.speak(sentence)
        self.close()

    def ask(self, history: list[Line], language: str) -> None:
        """Let the language model answer."""
        job = LlmJob(self._task, self, history, language)
        self._item = self._task.submit("llm", 0, job, at=0)

    def add(self, text: str) -> None:
        """More text."""
        self._parts.append(text)
        self._output.event(ReplyDelta(text), self._task.number)

    def speak(self, sentence: str) -> None:
        """One more sentence of the text is complete."""
        self._speech.add(sentence)

    def close(self) -> None:
        """No more text will come."""
        self._item = None
        self._speech.close()

    def break_off(self, code: ErrorCode, message: str) -> None:
        """No more text can come: the turn fails once what there is was shown, at once where there is nothing."""
        if self._speech.sentences:
            self.broken = code, message
            self.close()
        else:
            self._task.fail(code, message)

    def cancel(self) -> None:
        """What has not come is not wanted any more."""
        self._task.cancel(self._item)
        self._item = None


class LlmJob:
    """A reply in the making; a retry goes on from the accepted text."""

    media_ms = 0

    def __init__(self, task: Task, reply: Reply, history: list[Line], language: str) -> None:
        self._task = task
        self._reply = reply
        self._history = history
        self._language = language
        self._text = ""
        self._sentences = 0

    def build(self) -> tuple[Item, Sequence[Any]]:
        """History and what is accepted of the answer."""
        item = LlmItem(
            sid=self._task.sid,
            turn=self._task.number,
            history=self._history,
            prefix=self._text,
            sentences=self._sentences,
            language=self._language,
        )
        return item, ()

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """A delta or a complete sentence."""
        if isinstance(message, LlmDelta):
            self._text += message.text
            self._task.mark("llm_first_token")
            self._reply.add(message.text)
        elif isinstance(message, Serving):
            self._task.served("llm", message.engine, message.reason)
        elif isinstance(message, LlmSentence):
            self._sentences += 1
            self._task.mark("llm_first_sentence")
            self._reply.speak(message.text)

    def done(self) -> None:
        """The answer is complete."""
        self._reply.close()

    def failed(self, code: ErrorCode, message: str) -> None:
        """No answer, no turn; what there is of one is still spoken."""
        self._reply.break_off(code, f"the language model failed: {message}")


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
