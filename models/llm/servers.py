"""What the engines have in common that ask a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar
from urllib.parse import urlsplit

from models.api import EngineError

T = TypeVar("T")
CONNECT_S = 3.0
LOAD_S = 240.0
"""For a model to be loaded by its server, within the stage's ``load_timeout_s``."""
TELL_S = 5.0
"""How often loading tells that it goes on."""
PROBE_CHARS = 24
"""Of the beginning of an answer: a model that says it again begins anew instead of going on."""


def loopback(url: str) -> bool:
    """Whether an address is this machine's own, to which no proxy leads."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def first_answer(asked: Future[T], waited: Callable[[int], None], late: EngineError) -> T:
    """What a server answers that has its model to load; ``waited`` is told the seconds meanwhile.

    Raises:
        EngineError: ``late``, after ``LOAD_S``; what was asked is cancelled.
        Exception: what asking raised.
    """
    began = time.monotonic()
    while True:
        try:
            return asked.result(TELL_S)
        except TimeoutError:
            if asked.done():  # its own
                raise
            waited_s = int(time.monotonic() - began)
            waited(waited_s)
            if waited_s >= LOAD_S:
                asked.cancel()
                raise late from None


class Repetition:
    """Sees to it that a model that is to go on with an answer does not begin it anew.

    Args:
        engine: for the message.
        prefix: the answer so far; "" lets everything through.
    """

    def __init__(self, engine: str, prefix: str) -> None:
        self._engine = engine
        self._head = prefix.strip()[:PROBE_CHARS]
        self._held = ""
        self._passed = len(self._head) < PROBE_CHARS

    def feed(self, piece: str) -> str:
        """More text; returns what may be said of it.

        Raises:
            EngineError: the text is the answer's beginning again.
        """
        if self._passed:
            return piece
        self._held += piece
        begun = self._held.lstrip()
        if begun.startswith(self._head):
            raise EngineError("FAILED", f"{self._engine} begins the answer anew instead of going on with it")
        if self._head.startswith(begun):
            return ""
        return self.flush()

    def flush(self) -> str:
        """The text has ended: what was held back."""
        held, self._held, self._passed = self._held, "", True
        return held
