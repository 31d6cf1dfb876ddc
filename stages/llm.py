"""The llm stage: a conversation in, text and speakable sentences out."""

from __future__ import annotations

from collections.abc import Iterator

from broker.ipc.messages import LlmDelta, LlmItem, LlmSentence
from models.api import ChatMessage, EngineError, Progress, Responder
from models.chain.build import responders
from models.chain.chain import Chain
from models.text.sentences import SentenceCutter
from stages.serving import serving, taken
from stages.stage import Result, Stage, Work

DELTA_CHARS = 24
"""Smaller pieces of text are sent together, unless a sentence is complete."""


class LlmStage(Stage):
    """Handles ``LlmItem``: ``LlmDelta`` as text comes, ``LlmSentence`` as soon as a sentence is complete."""

    name = "llm"

    def setup(self, progress: Progress) -> None:
        """Load the engines of ``engines.llm``."""
        self._responder = responders(self.config, self.meter)
        self._responder.load(progress)

    @property
    def engine_chain(self) -> Chain[Responder] | None:
        """See ``Stage.engine_chain``."""
        return self._responder.chain if hasattr(self, "_responder") else None

    def teardown(self) -> None:
        """Release the engine."""
        if hasattr(self, "_responder"):
            self._responder.close()

    def handle(self, work: Work) -> Iterator[Result]:
        """Answer. An item with a ``prefix`` goes on after it: the same cutter reads the prefix first, so the
        sentences are those of an answer that was never interrupted, and the accepted ones are left out.

        The deltas before a sentence's output always cover its text.

        Raises:
            EngineError: the engine failed, cannot go on after a prefix, or the item is not an ``LlmItem``.
        """
        item = work.item
        if not isinstance(item, LlmItem):
            raise EngineError("UNSUPPORTED", f"the llm stage has no use for a {type(item).__name__}")
        history = [ChatMessage(role, content) for role, content in item.history]
        return self._answer(work, item, history)

    def _answer(self, work: Work, item: LlmItem, history: list[ChatMessage]) -> Iterator[Result]:
        cutter = SentenceCutter()
        count = 0
        waiting = ""

        def numbered(found: list[str]) -> Iterator[Result]:
            nonlocal count
            for sentence in found:
                if count >= item.sentences and not work.cancel.is_set():
                    yield _sentence(count, sentence)
                count += 1

        yield from numbered(cutter.feed(item.prefix))
        served: list[Result] = []
        several = len(self._responder.chain.names) > 1

        def told(engine: str, reason: str) -> None:
            if several:
                served.append(serving(engine, reason))

        try:
            for text in self._responder.reply_via(history, item.prefix, work.cancel, told):
                yield from taken(served)
                if work.cancel.is_set():
                    return
                work.progress()
                waiting += text
                complete = cutter.feed(text)
                if complete or len(waiting) >= DELTA_CHARS:
                    yield _delta(waiting)
                    waiting = ""
                yield from numbered(complete)
        except EngineError as error:
            if error.retryable:  # another attempt goes on from the text that was sent
                raise
            # What is said of the sentence in hand is spoken, up to its last whole word.
            if waiting:
                yield _delta(waiting)
            yield from numbered(cutter.cut_off())
            raise
        if work.cancel.is_set():
            return
        if waiting:
            yield _delta(waiting)
        yield from numbered(cutter.flush())


def _delta(text: str) -> Result:
    return LlmDelta(src="", ep=0, id="", attempt=0, index=0, text=text), ()


def _sentence(number: int, text: str) -> Result:
    return LlmSentence(src="", ep=0, id="", attempt=0, index=0, sentence=number, text=text), ()
