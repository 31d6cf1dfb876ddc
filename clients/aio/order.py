"""Events and segments that were read back, in one order as a subscriber would have seen them. Pure.

The daemon numbers both, each for itself. What a player relies on is kept: a sentence comes before the first
segment that contains it, the end of a turn after its last segment, and ``turn.interrupted`` between the last
segment of the old generation and the first of the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from clients.aio.messages import Header, Message

TERMINAL = ("turn.ended", "turn.interrupted", "turn.failed")
PLACED = ("sentence", "speech.started", "speech.ended")


class Merged:
    """Takes all events at once and segments as they are read.

    Args:
        events: by ``n``.
        gen: of the segment before the first one; None where there is none.
    """

    def __init__(self, events: Iterable[Message], gen: int | None) -> None:
        self._events = deque(events)
        self._gen = gen
        self._turn = 0

    def add(self, segment: Message) -> Iterable[Message]:
        """The events that come before this segment, and it."""
        header = segment.header
        if self._gen is not None and header["gen"] > self._gen:
            yield from self._cut(header["pts"])
        while self._events and self._precedes(self._events[0].header, header):
            yield self._events.popleft()
        self._gen = header["gen"]
        self._turn = header["turn"] or self._turn
        yield segment

    def _cut(self, flush_from: int) -> Iterable[Message]:
        """Everything up to the last event that says this cut."""
        of_it = [
            index
            for index, event in enumerate(self._events)
            if event.event == "turn.interrupted" and event.header["data"]["flush_from"] == flush_from
        ]
        for _ in range(of_it[-1] + 1 if of_it else 0):
            yield self._events.popleft()

    def rest(self) -> Iterable[Message]:
        """The events behind the last segment."""
        while self._events:
            yield self._events.popleft()

    def _precedes(self, event: Header, media: Header) -> bool:
        """Whether the next event was published before this segment was."""
        name, turn = event["event"], event["turn"]
        if media["turn"] > turn > 0:
            return True
        if name in PLACED:
            pts = event.get("pts", event["data"].get("pts"))
            return pts is None or bool(pts < media["pts"] + media["dur"])
        if name in TERMINAL:
            shown = media["turn"] == 0 and self._turn == turn
            return bool(shown) and name != "turn.interrupted"
        return bool(name != "session.ended")
