"""Ctrl-C, SIGTERM and SIGHUP while PyAV works.

Python raises a signal's exception wherever the main thread happens to be. Inside PyAV that may be the making of an
exception that PyAV itself catches (``err_check`` for EAGAIN, many times a second), and the signal is lost. So here
it is noted, and acted on between two calls.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def unbroken() -> Iterator[Callable[[], None]]:
    """Let no signal cut what stands in this block; what came is acted on at its end.

    Yields:
        A function that acts on it at once: to be called where the work may be cut off. It raises what the
        handler raises that was in force before the block.

    Outside of the main thread, where Python runs no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}

    def act() -> None:
        while noted:
            number = noted.pop(0)
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, None)
            elif handler == signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

    try:
        yield act
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        act()


def each_unbroken(items: Iterator[T]) -> Iterator[T]:
    """The same items; a signal that comes while one is made is acted on before it is given out."""
    while True:
        with unbroken():
            found = list(itertools.islice(items, 1))
        if not found:
            return
        yield found[0]
