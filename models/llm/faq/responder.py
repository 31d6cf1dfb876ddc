"""The embedded responder: finds the prepared answer that fits, and says so when none does.

It is no language model and does not pretend to be one; see the entry "language-model" of ``faq.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from configs.schema import Config
from models.api import Cancel, ChatMessage, EngineError, Progress
from models.llm.faq.book import Book, Entry, FaqError, questions, read
from models.llm.faq.retrieval import Index
from models.text.sentences import sentences
from models.tts.language import script_language

__all__ = ["THRESHOLD", "FaqResponder", "questions"]

THRESHOLD = 0.42
"""Where a file gives none. Tuned on ``tests/engines/test_responder_faq.py``."""
_PIECE = re.compile(
    r"[\u3400-\u9fff\uf900-\ufaff]{1,4}[，。！？；：、…”）]*|[^\s\u3400-\u9fff\uf900-\ufaff]+\s*|\s+"
)


class FaqResponder:
    """Answers from a YAML file by similarity; the same history always gives the same answer."""

    name = "faq"
    can_continue = True

    def __init__(self, config: Config) -> None:
        self._path = config.llm.faq

    def load(self, progress: Progress) -> None:
        """Read the file and build the index.

        Raises:
            EngineError: the file is wrong; the message names file and line.
        """
        progress("faq", 0, 1)
        try:
            self._book: Book = read(self._path)
        except FaqError as error:
            raise EngineError("INVALID_ARGUMENT", str(error), "Correct the file named by llm.faq") from error
        entries = self._book.entries
        self._index = Index([[text for asked in entry.questions.values() for text in asked] for entry in entries])
        self._threshold = THRESHOLD if self._book.threshold is None else self._book.threshold
        progress("faq", 1, 1)

    def close(self) -> None:
        """Nothing is held."""

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        """See ``models.api.Responder``: the answer word by word, Chinese in groups of up to four characters.

        Raises:
            EngineError: ``prefix`` is not how the answer begins (the file was changed meanwhile).
        """
        answer = self.answer(history)
        if not answer.startswith(prefix):
            raise EngineError("FAILED", "the answer has changed since its beginning was spoken", "Ask again")
        for piece in _PIECE.findall(answer[len(prefix) :]):
            if cancel.is_set():
                return
            yield piece

    def answer(self, history: Sequence[ChatMessage]) -> str:
        """The whole answer to the last user message."""
        question = next((line.content for line in reversed(history) if line.role == "user"), "")
        language = self._language(history)
        entry = self.find(question)
        said = [line.content for line in history if line.role == "assistant" and line.content.strip()]
        if entry is not None and entry.action == "repeat":
            if said:
                return self._repeat(entry, said[-1], language)
            return _pick(entry.otherwise or self._book.fallback, language, 0)
        if entry is None:
            return _pick(self._book.fallback, language, 0)
        return _pick(entry.answers, language, len(said))

    def find(self, question: str) -> Entry | None:
        """The entry that was meant; None when nothing is similar enough.

        Of several sentences ("Hello! What can you do?") the last one counts, then all of them together.
        """
        for part in dict.fromkeys([*sentences(question)[-1:], question]):
            match = self._index.best(part[:_LONGEST])
            if match.entry >= 0 and match.score >= self._threshold:
                return self._book.entries[match.entry]
        return None

    def _language(self, history: Sequence[ChatMessage]) -> str:
        """That of the last user message with any letters in it."""
        for line in reversed(history):
            if line.role == "user" and any(char.isalpha() for char in line.content):
                language = script_language(line.content)
                return language if language in self._book.languages else self._book.languages[0]
        return self._book.languages[0]

    def _repeat(self, entry: Entry, text: str, language: str) -> str:
        """The last answer again; a repetition is not repeated as one ("I said: I said: ...")."""
        for patterns in entry.answers.values():
            for pattern in patterns:
                head, _, tail = pattern.partition("{text}")
                if head and text.startswith(head) and text.endswith(tail):
                    text = text[len(head) : len(text) - len(tail)]
        return _pick(entry.answers, language, 0).replace("{text}", text.strip())


_LONGEST = 400
"""Characters of a question that are looked at."""


def _pick(texts: dict[str, tuple[str, ...]], language: str, turn: int) -> str:
    """One of the texts in this language, or in the first there is; several take turns."""
    choice = texts.get(language) or next(iter(texts.values()))
    return choice[turn % len(choice)]
