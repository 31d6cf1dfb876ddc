"""Fault points for the tests: a process fails at a named moment, as a defect would make it, or is slow.

``MUSECAST_FAULT=<stage or instance>:<point>[@<items>]:<n>[:<kind>][:*]`` makes the process fail when it passes
``point`` the ``n``-th time, counting only items whose id matches the pattern ``items`` (``*`` is anything); only
in its first incarnation, or with ``:*`` in every one. Several are separated by commas.

Points of stages: ``progress`` (an item moves; all of a lip-sync batch do before one of them has an output),
``before_output`` (an output is made and not sent), ``before_done`` (between an item's last output and its DONE).
Of the broker, whose items are sessions: ``journaled`` (a segment or an event is written and not sent),
``published`` (sent). The name of a signal, such as ``SIGUSR2``, is a point, too: it arrives. So a test chooses the
moment itself. Kinds: ``kill`` (SIGKILL, where none is named), ``exit`` (with code 0), ``abort``, ``spin``
(no other thread runs any more), ``deaf`` (goes on, and SIGTERM means nothing to it). With the point ``slow``
nothing fails: each output comes ``n`` milliseconds later for every frame in it. Unset, a point costs next to
nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

VARIABLE = "MUSECAST_FAULT"
SLOW = "slow"
FOREVER_S = 1e6


def _spin() -> None:
    sys.setswitchinterval(FOREVER_S)
    while True:
        pass


def _deaf() -> None:
    # From whichever thread passes here. Python's own handler is not called any more.
    ctypes.CDLL(None).signal(int(signal.SIGTERM), ctypes.c_void_p(1))  # SIG_IGN


KINDS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(0),
    "abort": os.abort,
    "spin": _spin,
    "deaf": _deaf,
}


@dataclass(slots=True)
class _Armed:
    point: str
    items: str
    left: int
    fail: Callable[[], None]


class Faults:
    """The armed points of one process."""

    def __init__(self, stage: str, instance: str, epoch: int, environ: Mapping[str, str] | None = None) -> None:
        """Raises ValueError when the variable does not have the form above. A signal needs the main thread."""
        self._armed: list[_Armed] = []
        for text in filter(None, (os.environ if environ is None else environ).get(VARIABLE, "").split(",")):
            name, point, count, kind, always = _parts(text)
            if name in (stage, instance) and (epoch == 1 or always):
                point, _, items = point.partition("@")
                self._armed.append(_Armed(point, items or "*", count, KINDS[kind]))
        for point in {armed.point for armed in self._armed} & signal.Signals.__members__.keys():
            signal.signal(signal.Signals[point], lambda *_, point=point: self.passing(point, ""))

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
                    armed.fail()


def _parts(text: str) -> tuple[str, str, int, str, bool]:
    parts = text.strip().split(":")
    rest = parts[3:]
    always = rest[-1:] == ["*"]
    kinds = rest[:-1] if always else rest
    if len(parts) < 3 or not parts[2].isdigit() or len(kinds) > 1 or any(kind not in KINDS for kind in kinds):
        raise ValueError(
            f"{VARIABLE}={text!r} is not of the form stage:point[@items]:n[:kind][:*] (kinds: {', '.join(KINDS)})"
        )
    return parts[0], parts[1], int(parts[2]), kinds[0] if kinds else "kill", always
