"""Fault points for the kill tests: a process kills itself at a named moment, as a crash would.

``MUSECAST_FAULT=<stage or instance>:<point>:<n>[:*]`` kills the process with SIGKILL when it passes ``point``
the ``n``-th time; only its first incarnation, or with ``:*`` every one. Several are separated by commas.
Points: ``before_done`` (between an item's last output and its DONE). Unset, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping

VARIABLE = "MUSECAST_FAULT"


class Faults:
    """The armed points of one process."""

    def __init__(self, stage: str, instance: str, epoch: int, environ: Mapping[str, str] | None = None) -> None:
        """Raises ValueError when the variable does not have the form above."""
        self._armed: dict[str, int] = {}
        self._passed: Counter[str] = Counter()
        for text in filter(None, (os.environ if environ is None else environ).get(VARIABLE, "").split(",")):
            parts = text.strip().split(":")
            if len(parts) not in (3, 4) or not parts[2].isdigit() or parts[3:] not in ([], ["*"]):
                raise ValueError(f"{VARIABLE}={text!r} is not of the form stage:point:n[:*]")
            if parts[0] in (stage, instance) and (epoch == 1 or len(parts) == 4):
                self._armed[parts[1]] = int(parts[2])

    def passing(self, point: str) -> None:
        """The program passes ``point``; does not return when this is the moment."""
        if not self._armed:
            return
        self._passed[point] += 1
        if self._passed[point] == self._armed.get(point):
            os.kill(os.getpid(), signal.SIGKILL)
