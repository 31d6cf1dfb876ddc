"""One member's work on one item, in a thread of its own, so that nobody waits for it longer than its limit."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from models.api import Cancel, EngineError

T = TypeVar("T")

LOOK_S = 0.04
"""How often a cancel flag is looked at while waiting: it has no way to wake anybody."""
AHEAD = 64
"""Outputs that a member may be ahead of who takes them."""


class OverdueError(EngineError):
    """A member gave nothing within its limit."""


class Attempt(Generic[T]):
    """An iterator that runs in its own thread; it is itself the ``Cancel`` that the member looks at.

    Args:
        name: the member's, for messages.
        make: begins the work.
        cancel: the item's.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Cancel], Iterator[T]],
        cancel: Cancel,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._make = make
        self._cancel = cancel
        self._clock = clock
        self._abandoned = False
        self._made: deque[T] = deque()
        self._over = False
        self._error: BaseException | None = None
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"chain.{name}", daemon=True)
        self._thread.start()

    def is_set(self) -> bool:
        """See ``Cancel``: the item is cancelled, or the chain has turned to another member."""
        return self._abandoned or self._cancel.is_set()

    def abandon(self) -> None:
        """Nothing more is wanted; the member ends by itself, and what it still makes is dropped."""
        with self._moved:
            self._abandoned = True
            self._made.clear()
            self._moved.notify_all()

    def take(self, limit_s: float, key: str) -> Iterator[T]:
        """The next output: yields it, or nothing at the end of the work or when the item is cancelled.

        Args:
            limit_s: how long to wait for it.
            key: where the limit is set, for the message.

        Raises:
            OverdueError: it has not come within ``limit_s``.
            Exception: what the member raised.
        """
        until = self._clock() + limit_s
        with self._moved:
            while not self._made and not self._over:
                left = until - self._clock()
                if self.is_set():
                    return
                if left <= 0:
                    raise OverdueError("FAILED", f"{self._name} gave nothing for {limit_s:g} s ({key})")
                self._moved.wait(min(left, LOOK_S))
            if self._made:
                item = self._made.popleft()
                self._moved.notify_all()
            elif self._error is not None:
                raise self._error
            else:
                return
        yield item

    def _run(self) -> None:
        try:
            source = self._make(self)
            try:
                for item in source:
                    if not self._put(item):
                        break
            finally:
                close = getattr(source, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # whatever it is, who waits must hear of it
            self._error = error
        with self._moved:
            self._over = True
            self._moved.notify_all()

    def _put(self, item: T) -> bool:
        with self._moved:
            while len(self._made) >= AHEAD and not self.is_set():
                self._moved.wait(LOOK_S)
            if self.is_set():
                return False
            self._made.append(item)
            self._moved.notify_all()
        return True
