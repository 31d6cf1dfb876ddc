"""How the stages with a chain of engines tell which of them does an item."""

from __future__ import annotations

from collections.abc import Iterator

from broker.ipc.messages import Serving
from stages.stage import Result


def serving(engine: str, reason: str) -> Result:
    """The output that says so."""
    return Serving(src="", ep=0, id="", attempt=0, index=0, engine=engine, reason=reason), ()


def taken(waiting: list[Result]) -> Iterator[Result]:
    """All that waits, oldest first; nothing waits afterwards."""
    while waiting:
        yield waiting.pop(0)
