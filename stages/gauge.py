"""Looks at the GPU now and then, in a thread of its own: a driver that answers late delays nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from configs import logs
from models.meter import GpuUse

PERIOD_S = 1.0
STALE_S = 5.0
"""An older reading is none: the driver has stopped answering."""
UNKNOWN = GpuUse()

_log = logs.get()
_cooldown = logs.Cooldown()


class Gauge:
    """The latest reading of ``read``, which may be slow, hang or raise.

    Args:
        read: called from the gauge's thread only.
        clock: monotonic seconds.
    """

    def __init__(
        self, read: Callable[[], GpuUse], period_s: float = PERIOD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._period_s = period_s
        self._clock = clock
        self._reading: tuple[float, GpuUse] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauge", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; does not wait for a reading that hangs."""
        self._over.set()

    @property
    def latest(self) -> GpuUse:
        """The newest reading; all None when there is none or it is stale."""
        reading = self._reading
        return reading[1] if reading is not None and self._clock() - reading[0] <= STALE_S else UNKNOWN

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._reading = self._clock(), self._read()
            except Exception as error:  # no figure is worth a process
                self._reading = None
                if _cooldown.ready("gpu.unreadable") is not None:
                    _log.warning("gpu.unreadable", reason=f"{type(error).__name__}: {error}")
            self._over.wait(self._period_s)
