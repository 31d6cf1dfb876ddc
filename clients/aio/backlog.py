"""What waits for one viewer, and what of it a slow one does not get. Pure: ``now`` is handed in."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from clients.aio.messages import Message, skipped

MAX_AGE_S = 2.0
"""Media that waits for longer is not worth showing: the viewer goes on with what is newest."""
MAX_BYTES = 8 << 20


class _Waiting(NamedTuple):
    message: Message
    since: float


class Backlog:
    """Messages in order. Media is bounded by its age and its bytes; events are never left out.

    Args:
        sid: the session.
        max_age_s: how long media may wait.
        max_bytes: of all that waits.
    """

    def __init__(self, sid: str, max_age_s: float = MAX_AGE_S, max_bytes: int = MAX_BYTES) -> None:
        self._sid = sid
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._waiting: deque[_Waiting] = deque()
        self.bytes = 0
        self.skipped = 0
        """Segments that were left out."""
        self._held = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def overfull(self) -> bool:
        """Even without media there is too much: such a viewer cannot be served."""
        return self.bytes > 2 * self._max_bytes

    def hold(self) -> None:
        """What is older is still on its way to the viewer: what waits behind it does not age, its bytes count."""
        self._held = True

    def release(self, now: float) -> None:
        """The viewer takes what waits from now on."""
        self._held = False
        self._waiting = deque(_Waiting(message, now) for message, _ in self._waiting)

    def age(self, now: float) -> float:
        """How long the oldest media waits, in seconds; 0 without any, and while it is held."""
        if self._held:
            return 0.0
        return next((now - one.since for one in self._waiting if one.message.media), 0.0)

    def put(self, message: Message, now: float) -> None:
        """Add the next message; media before the newest turn, or all but the newest segment, may go for it."""
        self._waiting.append(_Waiting(message, now))
        self.bytes += len(message.frame)
        if self._late(now):
            self._leave_out(self._turn_begins())
            if self._late(now):
                self._leave_out(self._newest())

    def drop_void(self, flush_from: int) -> None:
        """A cut: media from there on is not to be shown any more."""
        void = [w for w in self._waiting if w.message.media and w.message.header["pts"] >= flush_from]
        if void:
            self._waiting = deque(w for w in self._waiting if w not in void)
            self.bytes -= sum(len(w.message.frame) for w in void)

    def take(self) -> Message | None:
        """The next message for the viewer."""
        if not self._waiting:
            return None
        message = self._waiting.popleft().message
        self.bytes -= len(message.frame)
        return message

    def _late(self, now: float) -> bool:
        return self.bytes > self._max_bytes or self.age(now) > self._max_age_s

    def _newest(self) -> int:
        """Number of the newest segment."""
        return next((m.header["seq"] for m, _ in reversed(self._waiting) if m.media), 0)

    def _turn_begins(self) -> int:
        """Number of the first segment that waits of the newest turn and generation."""
        first, of = 0, None
        for message, _ in reversed(self._waiting):
            if message.media:
                this = message.header["gen"], message.header["turn"]
                if of is not None and this != of:
                    break
                first, of = message.header["seq"], this
        return first

    def _leave_out(self, before: int) -> None:
        """Leave out media with lower numbers; where it was, the viewer is told so."""
        kept: deque[_Waiting] = deque()
        hole: tuple[int, int] | None = None
        at, since = 0, 0.0
        for waiting in self._waiting:
            message = waiting.message
            told = message.header["data"] if message.event == "gateway.skipped" else None
            if told is None and not (message.media and message.header["seq"] < before):
                kept.append(waiting)
                continue
            first, last = (told["from_seq"], told["to_seq"]) if told else (message.header["seq"],) * 2
            if hole is None:
                at, since = len(kept), waiting.since
                hole = first, last
            else:
                hole = min(hole[0], first), max(hole[1], last)
            self.skipped += 0 if told else 1
            self.bytes -= len(message.frame)
        if hole is not None:
            note = skipped(self._sid, *hole)
            kept.insert(at, _Waiting(note, since))
            self.bytes += len(note.frame)
        self._waiting = kept
