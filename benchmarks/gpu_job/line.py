"""The delivery line: encoder processes on this machine's cores, PUB, and a subscriber in a process of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import zmq

from benchmarks._common import cpu_s, memory_mb
from benchmarks.gpu_job.child import Child
from configs.schema import Config
from models.templates.store import Template

START_S = 120.0
SEND_MS = 10_000
"""An encoder that takes nothing for so long is dead."""
PIPE = "pipe"


class Arrival(NamedTuple):
    """A segment at the subscriber; ``at`` in seconds of CLOCK_MONOTONIC."""

    stream: int
    first: int
    frames: int
    at: float


class Line:
    """Encoders, one of them for whole pictures, and a subscriber; a context manager.

    Args:
        folder: for sockets, short.
        config: of the daemon.
        encoders: processes that take crops; by default one per core but two.
    """

    def __init__(self, folder: Path, config: Config, encoders: int = 0) -> None:
        self._folder, self._config = folder, config
        self.encoders = encoders or max(1, len(os.sched_getaffinity(0)) - 2)
        self._stack = ExitStack()
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self) -> None:
        config = self._folder / "config.json"
        config.write_bytes(msgspec.json.encode(self._config))
        ends = {name: f"ipc://{self._folder}/{name}" for name in ("crops", "pictures", "stream")}
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stack.callback(context.destroy, linger=0)
        self._crops, self._pictures = (self._push(context, ends[name]) for name in ("crops", "pictures"))
        one = {"OMP_NUM_THREADS": "1"}
        self._subscriber = self._stack.enter_context(
            Child("benchmarks.gpu_job.subscriber", ends["stream"], env=one)
        )
        for k in range(self.encoders + 1):
            name = f"encode.{k}" if k < self.encoders else PIPE
            end = ends["crops" if k < self.encoders else "pictures"]
            self._children[name] = self._stack.enter_context(
                Child("benchmarks.gpu_job.encoder", str(config), name, end, ends["stream"], env=one)
            )
        until = time.monotonic() + START_S
        for child in (self._subscriber, *self._children.values()):
            child.hear(until)
        while not set(self._report()["greeted"]) >= self._children.keys():
            if time.monotonic() > until:
                raise TimeoutError("the subscriber does not hear every encoder")
            time.sleep(0.02)  # nothing tells a publisher that a subscription has arrived

    @staticmethod
    def _push(context: zmq.Context[zmq.Socket[bytes]], end: str) -> zmq.Socket[bytes]:
        socket = context.socket(zmq.PUSH)
        for option, value in ((zmq.SNDHWM, 2), (zmq.SNDTIMEO, SEND_MS), (zmq.IMMEDIATE, 1), (zmq.LINGER, 0)):
            socket.setsockopt(option, value)
        socket.bind(end)
        return socket

    def segment(self, stream: int, first: int, template: Template, frame0: int, crops: np.ndarray) -> None:
        """Have a quantum encoded and published; waits for room."""
        head = {
            "stream": stream, "first": first, "frames": len(crops), "frame0": frame0,
            "template": [template.id, str(template.path), template.hash],
        }  # fmt: skip
        self._crops.send_multipart([json.dumps(head).encode(), np.ascontiguousarray(crops).data], copy=False)

    def picture(self, stream: int, number: int, bgr: np.ndarray) -> None:
        """Put a whole picture into the pipe; every eighth makes a segment."""
        head = {"stream": stream, "number": number, "height": bgr.shape[0], "width": bgr.shape[1]}
        self._pictures.send_multipart([json.dumps(head).encode(), np.ascontiguousarray(bgr).data], copy=False)

    def _report(self) -> dict[str, Any]:
        self._subscriber.tell("report")
        found: dict[str, Any] = self._subscriber.hear(time.monotonic() + START_S)
        return found

    def arrivals(self, enough: Callable[[list[Arrival]], bool], until: float) -> list[Arrival]:
        """What has come since the last call, as soon as it is enough, or by ``until`` (monotonic)."""
        found: list[Arrival] = []
        while True:
            found += [Arrival(*one) for one in self._report()["arrivals"]]
            if enough(found) or time.monotonic() > until:
                return found
            time.sleep(0.01)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far: of this process, of all encoders together, of the pipe, of the subscriber."""
        own = time.process_time()
        encoders = sum(cpu_s(child.pid) for name, child in self._children.items() if name != PIPE)
        return {
            "generator": own, "encoders": encoders, PIPE: cpu_s(self._children[PIPE].pid),
            "subscriber": cpu_s(self._subscriber.pid),
        }  # fmt: skip

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of each process now, MB."""
        pids = {"generator": os.getpid(), "subscriber": self._subscriber.pid}
        pids |= {name: child.pid for name, child in self._children.items()}
        return {name: round(memory_mb(pid)["rss"], 1) for name, pid in pids.items()}
