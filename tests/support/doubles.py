"""What the daemon's runtime would hand to a stage, as plain objects."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from broker.ipc.messages import Item, Output, TensorAnswer


class RecordedWork:
    """A ``stages.stage.Work`` that keeps what the stage says."""

    def __init__(self, item: Item, *buffers: bytes) -> None:
        self.item = item
        self.buffers = [memoryview(buffer) for buffer in buffers]
        self.cancel = threading.Event()
        self.outputs: list[tuple[Output, Sequence[Any]]] = []
        self.failure: tuple[str, str, bool] | None = None
        self.finished = False

    def started(self) -> None: ...

    def progress(self) -> None: ...

    def emit(self, output: Output, buffers: Sequence[Any] = ()) -> None:
        self.outputs.append((output, buffers))

    def answer(self, number: int, timeout_s: float) -> tuple[TensorAnswer, list[memoryview]] | None:
        """Nobody answers here."""
        return None

    def done(self) -> None:
        self.finished = True

    def fail(self, code: str, message: str, *, retryable: bool = False) -> None:
        self.failure = (code, message, retryable)


class CancelAfter:
    """A cancel flag that is set from the n-th look on, and counts the looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        self.left -= 1
        return self.left < 0


def quiet(phase: str, done: int, total: int) -> None:
    """A progress callback that nobody listens to."""
