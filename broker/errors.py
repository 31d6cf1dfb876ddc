"""What a client is told when something is not done: the closed set of codes, and the error that carries one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import structlog

log = structlog.get_logger()


class ErrorCode(StrEnum):
    """The error codes of docs/protocol.md; no other ever reaches a client."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    TOO_LARGE = "TOO_LARGE"
    BUSY = "BUSY"
    NOT_READY = "NOT_READY"
    UNSUPPORTED = "UNSUPPORTED"
    FAILED = "FAILED"
    INTERNAL = "INTERNAL"

    @classmethod
    def of(cls, text: str) -> ErrorCode:
        """The code that a stage sent; one that is unknown is logged and counts as FAILED."""
        try:
            return cls(text)
        except ValueError:
            log.warning("error.unknown", code=text, instead=cls.FAILED.value)
            return cls.FAILED


class ControlError(Exception):
    """An answer that is not ok.

    Args:
        message: the fact, the limit and the next step, for whoever asked.
        retry_after_ms: with BUSY and NOT_READY, when to try again.
    """

    def __init__(self, code: ErrorCode, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms

    def body(self) -> dict[str, Any]:
        """The reply's ``error``."""
        error: dict[str, Any] = {"code": self.code.value, "message": self.message}
        if self.retry_after_ms is not None:
            error["retry_after_ms"] = self.retry_after_ms
        return error


def contained(where: str, action: Callable[[], None]) -> None:
    """Run a step of the daemon; a defect in it is logged and costs that step, not the daemon."""
    try:
        action()
    except Exception:
        log.exception("broker.defect", where=where)
