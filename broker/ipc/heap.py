"""Memory of this process: how much it is, and that what is freed goes back to the system."""

from __future__ import annotations

import ctypes
import os

MMAP_BYTES = 4 << 20
"""A buffer of at least this is mapped by itself, and unmapped when it is freed."""
TRIM_BYTES = 32 << 20
"""So much that is free at the end of the heap is kept."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def give_back() -> None:
    """Let freed messages go back to the system.

    glibc raises its threshold for mappings with every mapped buffer that is freed: after one message of 30 MiB the
    next ones lie in the heap, and a small block behind them keeps hundreds of MB. Nothing with other allocators.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)


class Growth:
    """Whether the private memory of this process has grown; asking costs a few microseconds.

    Args:
        step: bytes.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._least = self._private()

    def _private(self) -> int:
        _, resident, shared, *_ = os.pread(self._file, 128, 0).split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")

    def noticed(self) -> bool:
        """Whether it is a step more than when it was last noticed, or than the least since."""
        now = self._private()
        self._least = min(self._least, now)
        if now - self._least < self._step:
            return False
        self._least = now
        return True

    def close(self) -> None:
        """At the end."""
        os.close(self._file)
