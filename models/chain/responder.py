"""A chain of language models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.api import Cancel, ChatMessage, EngineError, Progress, Responder
from models.chain.chain import Chain, Told, exhausted, nobody

_PROBE = [ChatMessage("user", "Say OK.")]


class ChainResponder:
    """See ``models.api.Responder``.

    A member that fails before its first piece is followed by the next one. After it, the answer is given to a
    member that can continue it; where there is none, the answer ends there and the next turn is the next member's.
    """

    name = "chain"

    def __init__(self, chain: Chain[Responder]) -> None:
        self.chain = chain

    @property
    def can_continue(self) -> bool:
        """Whether any member that is loaded can."""
        return any(engine.can_continue for _, engine in self.chain.order())

    def load(self, progress: Progress) -> None:
        """See ``Chain.load``."""
        self.chain.load(progress)

    def close(self) -> None:
        """Release all members."""
        self.chain.close()

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        """See ``models.api.Responder``.

        Raises:
            EngineError: nobody is left who could answer, or go on with the answer.
        """
        return self.reply_via(history, prefix, cancel, nobody)

    def reply_via(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel, told: Told) -> Iterator[str]:
        """``reply``; ``told`` hears who answers, before the piece that it says first."""
        said = prefix
        failures: dict[str, EngineError] = {}
        for name, engine in self.chain.order():
            if said and not engine.can_continue:
                continue
            begun = False
            reason = "; ".join(f"{failed}: {error}" for failed, error in failures.items())
            reason = reason or self.chain.reason(name, self.chain.names)

            def make(stop: Cancel, engine: Responder = engine, said: str = said) -> Iterator[str]:
                return engine.reply(history, said, stop)

            try:
                for piece in self.chain.outputs(name, make, cancel):
                    if not begun:
                        told(name, reason)
                        begun = True
                    said += piece
                    yield piece
                return
            except EngineError as error:
                going_on = not begun and bool(said)
                if going_on:  # it may well be able to answer: what it cannot do is to take up another's words
                    self.chain.meter.count(f"failed.{name}")
                else:
                    self.chain.failed(name, error, at_once=bool(said))
                failures[name] = error
        if said and not failures:
            asked = self.chain.serving
            raise EngineError("FAILED", f"{asked} cannot go on with a reply that was cut off", "Ask again")
        raise exhausted("llm", failures)


def probe(engine: Responder, cancel: Cancel) -> Iterator[object]:
    """Whether it answers at all: its first piece will do."""
    return iter(engine.reply(_PROBE, "", cancel))
