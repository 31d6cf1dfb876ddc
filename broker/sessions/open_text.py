"""Text that a client sends piece by piece, such as a language model of its own writes it."""

from __future__ import annotations

from collections.abc import Callable

from broker.context import Context
from broker.sessions.reply import Reply
from broker.timers import Timer
from models.text.sentences import SentenceCutter

MORE_S = 10.0
"""The text ends when none has come for so long."""


class OpenText:
    """Its sentences are spoken as soon as they are complete, from the beginning of the turn on.

    Args:
        reply: of the turn, which speaks it.
        ended: called when no more has come in time.
    """

    def __init__(self, context: Context, reply: Reply, ended: Callable[[], None]) -> None:
        self._context = context
        self._reply = reply
        self._ended = ended
        self._cutter = SentenceCutter()
        self._waiting = ""
        """What has come before the turn began."""
        self._begun = False
        self._timer: Timer | None = None
        self.chars = 0
        """Of all pieces so far."""
        self.open = True
        """Whether more may come."""

    def add(self, text: str, *, end: bool) -> None:
        """One more piece; after the last one no more may come."""
        self.chars += len(text)
        self.close()
        self.open = not end
        if self.open:
            self._timer = self._context.timers.at(self._context.now() + int(MORE_S * 1_000_000), self._late)
        if self._begun:
            self._speak(text)
        else:
            self._waiting += text

    def begin(self) -> None:
        """The turn has begun."""
        self._begun = True
        text, self._waiting = self._waiting, ""
        self._speak(text)

    def close(self) -> None:
        """No more may come: the turn is over, or its text is."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> None:
        self.add("", end=True)
        self._ended()

    def _speak(self, text: str) -> None:
        if text:
            self._reply.add(text)
        for sentence in self._cutter.feed(text) + ([] if self.open else self._cutter.flush()):
            self._reply.speak(sentence)
        if not self.open:
            self._reply.close()
