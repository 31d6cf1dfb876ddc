"""Media that waits to be shown by a framework, and what of it is void. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from clients.aio.messages import Message

MAX_US = 3_000_000
"""So much waits at most; a framework that has not taken it by then has stood still, or has nobody who looks."""
IDLE_MAX_US, IDLE_KEPT_US = 960_000, 320_000
"""Idle motion that waits for longer makes every answer late for nothing: the oldest is left out. A daemon
publishes 640 ms of it ahead (``timeline.idle_lead_ms``), of which half are decoded at once."""


class Ended(NamedTuple):
    """Stands behind the last media of a turn."""

    turn: int
    """As ``Speech`` counts them; one that it does not know says only that there is something to look at."""
    reason: str


Item = Message | Ended


class Waiting:
    """Media and ends of turns in their order."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self.us = 0
        """Length of the media."""
        self.left_out_us = 0
        """What was spoken and was left out because nobody took it."""
        self._gen = -1
        self._void: tuple[int, int] = (-1, 0)
        self._cut_turn = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add the next one."""
        if isinstance(item, Message):
            header = item.header
            if header["gen"] > self._gen >= 0:
                self.flush(header["pts"])
            self._gen = header["gen"]
            if self._is_void(item):
                return
            self.us += _us(item)
        self._items.append(item)
        if self.us > IDLE_MAX_US and self._idle_first():
            self._leave_out(IDLE_KEPT_US, idle=True)
        if self.us > MAX_US:
            self._leave_out(MAX_US, idle=False)

    def take(self) -> Item | None:
        """The oldest."""
        if not self._items:
            return None
        item = self._items.popleft()
        self.us -= _us(item)
        return item

    def flush(self, flush_from: int) -> None:
        """A cut: what has come so far is void from there on."""
        self._void = (self._gen, flush_from)
        self._drop_void()

    def cut(self, turn: int) -> None:
        """Nothing is to be shown any more of this turn and those before."""
        self._cut_turn = max(self._cut_turn, turn)
        self._drop_void()

    def cut_all(self) -> None:
        """Nothing that is spoken and waits is to be shown."""
        self.cut(max((one.header["turn"] for one in self._items if isinstance(one, Message)), default=0))

    def void(self, gen: int, turn: int, pts: int) -> bool:
        """Whether media of this place is not to be shown any more."""
        return (gen <= self._void[0] and pts >= self._void[1]) or 0 < turn <= self._cut_turn

    def another_session(self) -> None:
        """Numbers begin anew; what waits is still shown, and its turns are lost already."""
        self._items = deque(one for one in self._items if not (isinstance(one, Ended) and one.turn > 0))
        self._gen, self._void, self._cut_turn = -1, (-1, 0), 0

    def _idle_first(self) -> bool:
        first = next((one for one in self._items if _us(one)), None)
        return isinstance(first, Message) and first.header["turn"] == 0

    def _drop_void(self) -> None:
        self._items = deque(one for one in self._items if not self._is_void(one))
        self.us = sum(map(_us, self._items))

    def _is_void(self, item: Item) -> bool:
        if not isinstance(item, Message) or not item.media:
            return False
        return self.void(item.header["gen"], item.header["turn"], item.header["pts"])

    def _leave_out(self, down_to_us: int, *, idle: bool) -> None:
        kept: deque[Item] = deque()
        while self._items and self.us > down_to_us:
            item = self._items.popleft()
            if not isinstance(item, Message) or not item.media:
                kept.append(item)
                continue
            if idle and item.header["turn"]:
                self._items.appendleft(item)
                break
            self.us -= _us(item)
            self.left_out_us += _us(item) if item.header["turn"] else 0
        self._items.extendleft(reversed(kept))


def _us(item: Item) -> int:
    """Length of media; 0 for everything else."""
    return int(item.header["dur"]) if isinstance(item, Message) and item.media else 0
