"""The line that goes with every number: which machine, how busy, when."""

from __future__ import annotations

import os
import platform
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROUNDS = 5
"""The cheapest of so many runs counts: other programs on the machine only add."""


def cpu_model() -> str:
    """The CPU's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def reference_ms() -> float:
    """CPU time of a fixed piece of work: what the interpreter, numpy and OpenCV do in a frame, about equally.

    Figures of two days or machines are comparable as multiples of it.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return min(_reference_s() for _ in range(ROUNDS)) * 1000
    finally:
        cv2.setNumThreads(threads)


def _reference_s() -> float:
    picture: Any = np.arange(256 * 256 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 256, 3)
    x, y = np.meshgrid(np.arange(256, dtype=np.float32), np.arange(256, dtype=np.float32))
    began = time.thread_time()
    total = 0
    for k in range(120_000):
        total += k & 7
    for _ in range(60):
        x = np.minimum(x * np.float32(1.0001), 255) + y * np.float32(1e-4)
    for _ in range(12):
        picture = cv2.GaussianBlur(cv2.remap(picture, x, y, cv2.INTER_LINEAR), (0, 0), 0.8)
    return time.thread_time() - began


def describe() -> str:
    """One line: CPU model, usable cores, its own speed, load average over 1 and 5 minutes, Python, date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    one, five, _ = os.getloadavg()
    date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
    return (
        f"{cpu_model()}, {cores} cores, machine {reference_ms():.1f} ms, "
        f"load {one:.2f} (1 min) {five:.2f} (5 min), Python {platform.python_version()}, {date}"
    )


if __name__ == "__main__":
    print(describe())
