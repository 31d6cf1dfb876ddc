"""Timed calls."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import torch

WARM, WARM_S = 20, 0.3
TIMED_S = 0.4
"""Calls and seconds of one measurement in one round, whichever ends first; at least 3 to warm up and 10 timed."""


def timed(action: Callable[[], object], cuda: bool, until: float, most: int) -> list[float]:
    """Milliseconds of each call, after warm-up; fewer calls when ``until`` (monotonic) is near.

    On a GPU the time between two events around the work, without a wait between calls.
    """
    return _by_events(action, until, most) if cuda else _by_clock(action, until, min(most, 3))


def _by_clock(action: Callable[[], object], until: float, most: int) -> list[float]:
    times: list[float] = []
    action()
    while len(times) < most and (not times or time.monotonic() < until):
        begin = time.perf_counter()
        action()
        times.append((time.perf_counter() - begin) * 1000)
    return times


def _by_events(action: Callable[[], object], until: float, most: int) -> list[float]:
    times: list[float] = []
    begin = time.monotonic()
    for k in range(WARM):
        action()
        if k >= 2:
            torch.cuda.synchronize()
            if time.monotonic() - begin > WARM_S:
                break
    torch.cuda.synchronize()
    begin = time.monotonic()
    while len(times) < most:
        count = min(10, most - len(times))
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        marks[0].record()
        for mark in marks[1:]:
            action()
            mark.record()
        torch.cuda.synchronize()
        times += [a.elapsed_time(b) for a, b in itertools.pairwise(marks)]
        if time.monotonic() - begin > TIMED_S or time.monotonic() > until:
            break
    return times


def cpu_ms(action: Callable[[], object], calls: int = 50) -> float:
    """Median CPU milliseconds of this thread per call."""
    times = []
    for _ in range(calls):
        begin = time.thread_time()
        action()
        times.append((time.thread_time() - begin) * 1000)
    return float(np.median(times))
