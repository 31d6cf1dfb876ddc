"""Both ends of a preparation's network work: ``Asker`` in ``prepare``, ``Background`` in ``lipsync``."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from broker.ipc.messages import ArrayHead, PrepareAsk, TensorItem, TensorResult
from models.api import EngineError, EngineLostError, LipSync, Progress, TensorEngine
from stages.stage import Work

log = structlog.get_logger(__name__)

TICK_S = 1.0
"""How often a preparation that waits says so: live sessions go first, which may take a while."""
REST_S = 30.0
"""Networks that prepare templates are released when nobody has asked for this long."""
DTYPES = frozenset({"uint8", "int32", "float32"})


def heads_of(arrays: Sequence[NDArray[Any]]) -> list[ArrayHead]:
    """What a receiver needs to know of these arrays."""
    return [ArrayHead(str(array.dtype), list(array.shape)) for array in arrays]


def arrays_of(heads: Sequence[ArrayHead], buffers: Sequence[memoryview]) -> list[NDArray[Any]]:
    """The arrays in these buffers, not copied.

    Raises:
        EngineError: INVALID_ARGUMENT when a head does not fit its buffer.
    """
    found: list[NDArray[Any]] = []
    if len(heads) != len(buffers):
        raise EngineError("INVALID_ARGUMENT", f"{len(heads)} arrays in {len(buffers)} buffers")
    for head, buffer in zip(heads, buffers, strict=True):
        known = head.dtype in DTYPES and all(side >= 0 for side in head.shape)
        if not known or math.prod(head.shape) * np.dtype(head.dtype).itemsize != buffer.nbytes:
            raise EngineError(
                "INVALID_ARGUMENT", f"{head.dtype} {head.shape} in a buffer of {buffer.nbytes} bytes"
            )
        found.append(np.frombuffer(buffer, head.dtype).reshape(head.shape))
    return found


class Asker:
    """The networks of ``engine``, which run in another process: a ``models.api.TensorSource``.

    Args:
        work: the preparation that asks.
        engine: whose networks.
        limit_s: how long one ask may take, loading and live sessions included.
    """

    def __init__(self, work: Work, engine: str, limit_s: float) -> None:
        self._work, self._engine, self._limit_s = work, engine, limit_s
        self._numbers = count()

    def tensors(self, kind: str, arrays: Sequence[NDArray[Any]], progress: Progress) -> list[NDArray[Any]]:
        """See ``models.api.TensorSource``."""
        number = next(self._numbers)
        flat = [np.ascontiguousarray(array) for array in arrays]
        ask = PrepareAsk(
            src="", ep=0, id="", attempt=0, index=0,
            number=number, engine=self._engine, kind=kind, heads=heads_of(flat),
        )  # fmt: skip
        self._work.emit(ask, flat)
        waited = 0.0
        while (answer := self._work.answer(number, TICK_S)) is None:
            waited += TICK_S
            if self._work.cancel.is_set():
                raise EngineError("FAILED", "the preparation was cancelled", "ask for it again", retryable=True)
            if waited >= self._limit_s:
                raise EngineError(
                    "FAILED",
                    f"{self._engine} has not answered within {self._limit_s:.0f} s ({kind})",
                    "see `status` for the lipsync processes, then prepare it again",
                )
            progress(f"waits for {self._engine}", int(waited), int(self._limit_s))
        message, buffers = answer
        if message.code:
            raise EngineError(message.code, message.message)
        return arrays_of(message.heads, buffers)


class Background:
    """What a lip-sync process does when no frame waits; used by one thread.

    Args:
        engine: of the process.
        clock: monotonic seconds.
    """

    def __init__(self, engine: LipSync, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._waiting: deque[Work] = deque()
        self._rest_at: float | None = None
        """When the networks are released; None: they are."""

    @property
    def wait_s(self) -> float | None:
        """How long the process may sleep: not at all, until the networks are released, or for ever."""
        if self._waiting:
            return 0.0
        return None if self._rest_at is None else max(0.0, self._rest_at - self._clock())

    def add(self, work: Work) -> None:
        """Take an ask up."""
        self._waiting.append(work)

    def step(self) -> None:
        """Do the next ask, or release the networks when it is time."""
        if self._waiting:
            self._serve(self._waiting.popleft())
        else:
            self.tidy()

    def tidy(self) -> None:
        """Release the networks when nobody has asked for long; also while frames keep the process busy."""
        due = self._rest_at is not None and not self._waiting and self._clock() >= self._rest_at
        if due and isinstance(self._engine, TensorEngine):
            self._engine.rest()
            self._rest_at = None

    def _serve(self, work: Work) -> None:
        work.started()
        if work.cancel.is_set():
            work.done()
            return
        try:
            made = self._made(work)
        except EngineLostError:
            raise
        except EngineError as error:
            work.fail(error.code, str(error), retryable=error.retryable)
        except Exception as error:  # an ask that fails costs nobody else anything
            work.fail("FAILED", f"{type(error).__name__}: {error}", retryable=True)
        else:
            work.emit(TensorResult(src="", ep=0, id="", attempt=0, index=0, heads=heads_of(made)), made)
            work.done()

    def _made(self, work: Work) -> list[NDArray[Any]]:
        item = work.item
        assert isinstance(item, TensorItem)
        engine = self._engine
        if item.engine != engine.name or not isinstance(engine, TensorEngine):
            raise EngineError("UNSUPPORTED", f"this process runs {engine.name}, not {item.engine}")
        arrays = arrays_of(item.heads, work.buffers)
        try:
            made = engine.tensors(item.kind, arrays, lambda phase, done, total: work.progress())
        finally:
            self._rest_at = self._clock() + REST_S
        return [np.ascontiguousarray(array) for array in made]
