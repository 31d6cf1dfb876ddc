"""Native libraries that speak to the terminal, whatever is done about it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

_ONE_AT_A_TIME = threading.Lock()
"""The descriptor is the whole process's."""


@contextlib.contextmanager
def without_line(words: bytes) -> Iterator[None]:
    """Hold standard error back during the block; pass it on afterwards without the lines that have ``words``."""
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        terminal = os.dup(2)
        stack.callback(os.close, terminal)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            held.seek(0)
            rest = b"".join(line for line in held if words not in line)
            if rest:
                os.write(2, rest)
