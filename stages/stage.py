"""What a stage author writes: ``setup``, ``handle`` (or ``run``), ``teardown``. No sockets in sight.

``stages/runtime.py`` owns everything that is the same for all stages: signals, sockets, beats, credit,
cancel flags, draining. A stage can be driven by a unit test with a list of ``Work`` doubles of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

from broker.ipc.messages import FromStage, Item, Message, Output, TensorAnswer
from configs.schema import Config
from configs.schema import Stage as StageConfig
from models.api import Cancel, Progress
from models.chain.chain import Chain
from models.meter import GpuUse, Histogram, Meter

Result = tuple[Output, Sequence[Any]]
"""An output and its buffers; the runtime fills in src, ep, id, attempt and index."""


class Work(Protocol):
    """One dispatched item in this process."""

    @property
    def item(self) -> Item:
        """What is to be done."""
        ...

    @property
    def buffers(self) -> list[memoryview]:
        """The item's raw frames."""
        ...

    @property
    def cancel(self) -> Cancel:
        """Set when the item is no longer wanted."""
        ...

    def started(self) -> None:
        """Tell the broker that this item is being worked on. ``Feed.get`` does it for single items."""
        ...

    def progress(self) -> None:
        """Tell the supervisor's hang detection that the item moves."""
        ...

    def emit(self, output: Output, buffers: Sequence[Any] = ()) -> None:
        """Send the next output. Blocks (bounded) while the outbox is full."""
        ...

    def answer(self, number: int, timeout_s: float) -> tuple[TensorAnswer, list[memoryview]] | None:
        """The broker's answer to the ask ``number`` of this item, once; None when it has not come within
        ``timeout_s`` or the item was cancelled.
        """
        ...

    def done(self) -> None:
        """Finished: after the last output. A cancelled item is reported as such instead."""
        ...

    def fail(self, code: str, message: str, *, retryable: bool = False) -> None:
        """The item cannot be done."""
        ...


class Feed(Protocol):
    """Where a handler thread takes its work from."""

    def get(self, timeout_s: float | None = None, *, start: bool = True) -> Work | None:
        """The next item; None after ``timeout_s`` or when the process is stopping.

        ``start=False`` leaves ``Work.started`` to the caller (a stage that batches several items).
        """
        ...

    def messages(self, timeout_s: float | None = None) -> Message | tuple[Message, list[memoryview]] | None:
        """The next message that is not an ``Item`` (ASR streams), with its buffers."""
        ...

    def send(self, message: FromStage, buffers: Sequence[Any] = ()) -> None:
        """Send a message that belongs to no item (ASR events); src and ep are filled in."""
        ...

    def working(self, label: str) -> AbstractContextManager[None]:
        """While the context is open the calling thread counts as busy with ``label``: for one piece of work of a
        thread that the stage runs beside its handlers. ``send`` inside is progress.
        """
        ...

    def fail(self, error: BaseException) -> None:
        """A thread of the stage's own has ended by ``error``: ``get`` and ``messages`` raise it from now on, which
        ends the process.
        """
        ...

    @property
    def stopping(self) -> bool:
        """The process has been told to end."""
        ...


class Stage(ABC):
    """One process's job."""

    name: ClassVar[str]
    engine: str = ""
    """Name of the engine in use, once known. ``serving`` is what is shown: a chain has several."""
    device: str = "cpu"

    def __init__(self, config: Config, instance: str) -> None:
        self.config = config
        self.instance = instance
        self.meter = Meter()
        """What the stage counts and times; the runtime adds ``items`` and ``ms.item``."""

    @property
    def settings(self) -> StageConfig:
        """This stage's section."""
        section: StageConfig = getattr(self.config.stages, self.name)
        return section

    @property
    def credit(self) -> int:
        """How much the broker may have outstanding here, in the stage's unit."""
        return self.settings.credit

    @property
    def info(self) -> dict[str, str | int | float | bool | list[str]]:
        """What else the broker should know of this process once it is warm; goes into ``Ready``."""
        return {}

    @property
    def figures(self) -> dict[str, float]:
        """For ``status``: what the stage has counted and timed. Asked by the I/O thread at each beat."""
        return self.meter.figures()

    @property
    def histograms(self) -> dict[str, Histogram]:
        """For ``status``: how long things took."""
        return self.meter.histograms()

    @property
    def engine_chain(self) -> Chain[Any] | None:
        """The chain of engines, after ``setup``; None for a stage that has none."""
        return None

    @property
    def serving(self) -> str:
        """Name of the engine that does the next item, "" while none is loaded."""
        return self.engine if self.engine_chain is None else self.engine_chain.serving

    @property
    def gpu(self) -> Callable[[], GpuUse] | None:
        """How to read the GPU that is in use, after ``setup``; None without one. May be slow: it is called from a
        thread of its own.
        """
        return None

    @abstractmethod
    def setup(self, progress: Progress) -> None:
        """Load and warm the engine; raises ``models.api.EngineError`` when it cannot run here."""

    def handle(self, work: Work) -> Iterator[Result]:
        """Yield the item's outputs in order. An ``EngineError`` raised here fails the item, any other
        exception fails it as retryable; neither ends the process.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides run() instead")

    def run(self, feed: Feed) -> None:
        """A handler thread's loop; ``settings.concurrency`` of them run. Override to batch across items."""
        while not feed.stopping:
            work = feed.get()
            if work is not None:
                serve(self, work)

    def teardown(self) -> None:  # noqa: B027 - most stages have nothing to release
        """Release the engine."""


def serve(stage: Stage, work: Work) -> None:
    """Run one item through ``stage.handle``, turning exceptions into the item's failure."""
    from models.api import EngineError

    try:
        for output, buffers in stage.handle(work):
            if work.cancel.is_set():
                break
            work.emit(output, buffers)
        work.done()
    except EngineError as error:
        work.fail(error.code, str(error), retryable=error.retryable)
    except Exception as error:  # one bad item never ends the process
        work.fail("FAILED", f"{type(error).__name__}: {error}", retryable=True)
