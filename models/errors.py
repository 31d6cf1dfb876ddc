"""What engines raise, and what the stage around them does with it."""

from __future__ import annotations

from configs.wording import two_sentences


class EngineError(Exception):
    """An engine cannot do what was asked.

    Attributes:
        code: one of the contract's error codes (``FAILED``, ``UNSUPPORTED``, ``INVALID_ARGUMENT``, ...).
        hint: the next step for a person, one sentence; may be empty.
        retryable: whether the same item may succeed when tried again.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return two_sentences(self.message, self.hint)


class EngineLostError(Exception):
    """An engine cannot go on in this process, whatever it is given: the process ends and is started anew."""


class EngineGoneError(EngineError, EngineLostError):
    """What an engine runs on is gone, such as a GPU that fell off the bus: the process ends, none follows it."""
