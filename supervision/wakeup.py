"""Signals as something to poll."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Mapping


@contextlib.contextmanager
def signal_pipe(handlers: Mapping[signal.Signals, Callable[..., None]]) -> Iterator[socket.socket]:
    """What becomes readable with every signal; main thread only. SIGCHLD matters for adopted orphans, which have
    no pidfd.

    Args:
        handlers: what else is done, in the main thread, at each of these.
    """
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    every = {**handlers, signal.SIGCHLD: lambda *_: None}
    old = {number: signal.signal(number, handler) for number, handler in every.items()}
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old_fd)
        for number, handler in old.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
