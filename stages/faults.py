"""Fault points for the tests: a process kills itself at a named moment, as a crash would, or is slow.

``MUSECAST_FAULT=<stage or instance>:<point>[@<items>]:<n>[:*]`` kills the process with SIGKILL when it passes
``point`` the ``n``-th time, counting only items whose id matches the pattern ``items`` (``*`` is anything); only
its first incarnation, or with ``:*`` every one. Several are separated by commas. Points: ``progress`` (an item
moves; all of a lip-sync batch do before one of them has an output), ``before_output`` (an output is made and not
sent), ``before_done`` (between an item's last output and its DONE). With the point ``slow`` nothing dies: each
output comes ``n`` milliseconds later for every frame in it. Unset, a point costs next to nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

VARIABLE = "MUSECAST_FAULT"
SLOW = "slow"


@dataclass(slots=True)
class _Armed:
    point: str
    items: str
    left: int


class Faults:
    """The armed points of one process."""

    def __init__(self, stage: str, instance: str, epoch: int, environ: Mapping[str, str] | None = None) -> None:
        """Raises ValueError when the variable does not have the form above."""
        self._armed: list[_Armed] = []
        for text in filter(None, (os.environ if environ is None else environ).get(VARIABLE, "").split(",")):
            parts = text.strip().split(":")
            if len(parts) not in (3, 4) or not parts[2].isdigit() or parts[3:] not in ([], ["*"]):
                raise ValueError(f"{VARIABLE}={text!r} is not of the form stage:point[@items]:n[:*]")
            if parts[0] in (stage, instance) and (epoch == 1 or len(parts) == 4):
                point, _, items = parts[1].partition("@")
                self._armed.append(_Armed(point, items or "*", int(parts[2])))

    def delay(self, item: str, frames: int) -> None:
        """An output with so many frames is made: wait as a slower machine would have taken."""
        for armed in self._armed:
            if armed.point == SLOW and fnmatchcase(item, armed.items):
                time.sleep(armed.left * frames / 1000)

    def passing(self, point: str, item: str) -> None:
        """The program passes ``point`` with this item; does not return when this is the moment."""
        for armed in self._armed:
            if armed.point == point and fnmatchcase(item, armed.items):
                armed.left -= 1
                if armed.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
