"""The requests of one connection that have no reply yet, also when another broker takes over. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

LOST_S = 1.0
"""From the notice that another broker serves until what has no reply by then counts as lost: a request that had
not left yet reaches the new one.
"""
REPEATED = frozenset(
    {
        "health", "status", "initialize", "list_templates", "list_voices", "preprocess_template", "start_session",
        "update_session", "keep_alive", "interrupt", "played", "segments", "events", "end_session", "drain",
    }
)  # fmt: skip
"""Operations that do no harm when they are asked for twice."""


class _Asked(NamedTuple):
    op: str
    packed: bytes
    start: int
    broker: int


class Pending:
    """Requests by id. ``start`` and ``broker`` are the daemon's, as ``Liveness`` counts them."""

    def __init__(self) -> None:
        self._asked: dict[int, _Asked] = {}
        self._replies: dict[int, dict[str, Any]] = {}
        self._lost_from: float | None = None

    def sent(self, number: int, op: str, packed: bytes, start: int, broker: int) -> None:
        """A request has been sent."""
        self._asked[number] = _Asked(op, packed if op in REPEATED else b"", start, broker)

    def start(self, number: int) -> int:
        """Of the daemon that was asked."""
        return self._asked[number].start

    def replied(self, reply: dict[str, Any]) -> None:
        """A reply has come; one that nobody waits for any more is dropped."""
        if reply["id"] in self._asked:
            self._replies[reply["id"]] = reply

    def answered(self, number: int) -> bool:
        """Whether the request has its reply."""
        return number in self._replies

    def drop(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._asked.pop(number, None)

    def take(self, number: int) -> tuple[str, dict[str, Any] | None]:
        """The operation and its reply, None when there is none; it is over with both."""
        return self._asked.pop(number).op, self._replies.pop(number, None)

    def restarted(self, broker: int, now: float) -> Iterator[bytes]:
        """Another broker serves: what is to be sent again."""
        self._lost_from = now + LOST_S
        for number, asked in self._asked.items():
            if number not in self._replies and asked.op in REPEATED:
                self._asked[number] = asked._replace(broker=broker)
                yield asked.packed

    def look(self, broker: int, now: float) -> None:
        """Refuse what another broker was asked and did not answer, once that is certain."""
        if self._lost_from is None or now < self._lost_from:
            return
        self._lost_from = None
        for number, asked in self._asked.items():
            if number not in self._replies and asked.broker != broker:
                message = (
                    f"the daemon's broker was restarted before it answered {asked.op!r}, which may have been "
                    "accepted or not: the session goes on and its events tell; then ask again"
                )
                error = {"code": "FAILED", "message": message}
                self._replies[number] = {"id": number, "ok": False, "error": error}
