"""Streams that speak through the real engine and the lip-sync stage's own batches, into the delivery line.

The broker is not in this path: what it costs is in ``benchmarks.broker`` and ``benchmarks.sessions``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu_job.world import speech
from broker.ipc.messages import LipsyncItem, Output, TemplateRef, TensorAnswer
from configs.grid import QUANTUM_FRAMES, QUANTUM_US
from models.api import FRAME_SAMPLES, FUTURE_US, PAST_US, SAMPLE_RATE
from models.meter import Meter
from models.musetalk.engine import MuseTalkLipSync
from models.templates.store import Template
from stages.lipsync import Batcher

LOOP = 40
"""Quanta until the speech repeats itself."""
BEFORE = 10
"""Quanta of the turn that lie before the first one: no stream begins with silence."""


class _Quantum:
    """A ``stages.stage.Work`` that hands its crops on when it is done."""

    def __init__(self, item: LipsyncItem, pcm: np.ndarray, finished: Callable[[np.ndarray], None]) -> None:
        self.item = item
        self.buffers = [pcm.data.cast("B")]
        self.cancel = threading.Event()
        self._crops: list[np.ndarray] = []
        self._finished = finished

    def started(self) -> None: ...

    def progress(self) -> None: ...

    def emit(self, output: Output, buffers: Sequence[Any] = ()) -> None:
        self._crops.append(np.asarray(buffers[0]))

    def answer(self, number: int, timeout_s: float) -> tuple[TensorAnswer, list[memoryview]] | None:
        return None

    def done(self) -> None:
        self._finished(np.concatenate(self._crops))

    def fail(self, code: str, message: str, *, retryable: bool = False) -> None:
        raise RuntimeError(f"{code}: {message}")


class Speaker:
    """Quanta of any number of streams, batched as the stage does it.

    Args:
        engine: loaded.
        template: what all streams show.
        send: takes stream, number of the quantum and its crops u8 ``[8, 256, 256, 3]``.
    """

    def __init__(
        self, engine: MuseTalkLipSync, template: Template, send: Callable[[int, int, np.ndarray], None]
    ) -> None:
        self._engine, self._template, self._send = engine, template, send
        self.batcher = Batcher(engine, Meter())
        self.waiting = 0
        """Quanta that were added and not sent yet."""
        self._pcm = speech(LOOP * QUANTUM_US / 1e6 + (PAST_US + QUANTUM_US + FUTURE_US) / 1e6)
        self._length = (PAST_US + FUTURE_US) * SAMPLE_RATE // 1_000_000 + QUANTUM_FRAMES * FRAME_SAMPLES

    def add(self, stream: int, number: int, deadline_ns: int = 0) -> None:
        """A quantum of a stream is due; its features are computed here."""
        template = self._template
        item = LipsyncItem(
            id=f"{stream}/{number}", attempt=0, broker=0, sid=str(stream), turn=1,
            template=TemplateRef(template.id, str(template.path), template.hash),
            frame0=QUANTUM_FRAMES * (number + stream), frames=QUANTUM_FRAMES, peak=0.5,
            speech_from_us=-QUANTUM_US * (number + BEFORE), deadline_ns=deadline_ns,
        )  # fmt: skip
        at = (number + 7 * stream) % LOOP * QUANTUM_FRAMES * FRAME_SAMPLES

        def finished(crops: np.ndarray) -> None:
            self.waiting -= 1
            self._send(stream, number, crops)

        self.waiting += 1
        self.batcher.add(_Quantum(item, self._pcm[at : at + self._length], finished))

    @property
    def busy(self) -> bool:
        """Whether frames wait."""
        return self.batcher.busy

    def step(self) -> None:
        """Render one batch."""
        self.batcher.step()

    def drop(self) -> None:
        """Forget what waits."""
        self.batcher = Batcher(self._engine, Meter())
        self.waiting = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Frames generated and frames of padding so far."""
        generator = self._engine._generator
        assert generator is not None
        return generator.generated, generator.padded
