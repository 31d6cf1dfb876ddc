"""The ``lipsync`` stage: audio windows to face crops, several sessions in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from broker.ipc.messages import LipsyncCrops, LipsyncItem, TensorItem
from configs.grid import MAX_ITEM_FRAMES
from configs.schema import Config
from models import registry
from models.api import (
    FRAME_SAMPLES,
    FUTURE_US,
    PASSAGE_MARGIN,
    PASSAGE_US,
    PAST_US,
    SAMPLE_RATE,
    EngineError,
    EngineLostError,
    FrameByFrame,
    FrameJob,
    LipSync,
    Passage,
    Progress,
    Span,
    SpeechWindow,
)
from models.lipsync_batch import BatchPolicy, Slice
from models.meter import GpuUse, Meter
from models.templates.store import open_template
from stages.stage import Feed, Stage, Work
from stages.tensors import Background

PASSAGE = PASSAGE_US * SAMPLE_RATE // 1_000_000
MAX_PASSAGES = 2
"""An item is shorter than a passage, so it reaches into one or two."""


@dataclass(slots=True)
class _Open:
    """An item in hand; its frames are planned when the first of them is due, not before more urgent ones."""

    work: Work
    window: SpeechWindow
    jobs: list[FrameJob] | None = None
    rendered: int = 0


class LipsyncStage(Stage):
    """Batches across items; every frame of an item is rendered once, in order."""

    name: ClassVar[str] = "lipsync"

    @property
    def chain(self) -> list[str]:
        """Engines this process may run: the chosen one only; the rest of the chain stands by as ``fallback``."""
        return self.config.engines.lipsync[:1]

    def __init__(self, config: Config, instance: str) -> None:
        super().__init__(config, instance)
        self._engine: LipSync | None = None

    @property
    def credit(self) -> int:
        """Frames; two of the engine's largest batches unless configured. After ``setup``."""
        return self.settings.credit or 2 * max(self._loaded.buckets)

    @property
    def info(self) -> dict[str, str | int | float | bool | list[str]]:
        """``skips``: the engine honours ``skip``; ``bucket``: its largest batch. After ``setup``."""
        return {"skips": self._loaded.skips, "bucket": max(self._loaded.buckets)}

    @property
    def figures(self) -> dict[str, float]:
        """What stage and engine have counted and timed."""
        return {**self.meter.figures(), **(self._engine.figures if self._engine else {})}

    @property
    def gpu(self) -> Callable[[], GpuUse] | None:
        """The engine's own way to read its GPU."""
        return self._engine.gpu if self._engine else None

    @property
    def _loaded(self) -> LipSync:
        assert self._engine is not None, "setup comes first"
        return self._engine

    def setup(self, progress: Progress) -> None:
        """Load the first engine of the chain that loads."""
        cv2.setNumThreads(self.settings.threads)
        self._engine = registry.load_first("lipsync", self.chain, self.config, progress)
        if self.settings.concurrency > 1 and not self._engine.reentrant:
            raise EngineError(
                "INVALID_ARGUMENT",
                f"stages.{self.name}.concurrency is {self.settings.concurrency}, but {self._engine.name} is not "
                "re-entrant: frames of other sessions could be shown",
                "leave it at 1",
            )
        self.engine = self._engine.name
        self.device = self._engine.device_name

    def teardown(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()

    def run(self, feed: Feed) -> None:
        """Take items as they come, render batch after batch, earliest deadline first; a preparation's asks only
        while no frame waits. What is to be rendered when the process is told to end is finished.
        """
        batcher, background = Batcher(self._loaded, self.meter), Background(self._loaded)
        while batcher.busy or not feed.stopping:
            # Waits for an event only when there is nothing to do.
            work = feed.get(0.0 if batcher.busy else background.wait_s, start=False)
            if work is not None:
                (background if isinstance(work.item, TensorItem) else batcher).add(work)
            elif batcher.busy:
                batcher.step()
                background.tidy()
            elif not feed.stopping:
                background.step()


class Batcher:
    """The items in hand and their batches; used by one thread."""

    def __init__(self, engine: LipSync, meter: Meter) -> None:
        self._engine = engine
        self._meter = meter
        self._policy = BatchPolicy(engine.buckets, engine.piece if isinstance(engine, FrameByFrame) else 0)
        self._open: dict[int, _Open] = {}
        self._next_key = 0

    @property
    def busy(self) -> bool:
        """Whether frames wait to be rendered."""
        return bool(self._open)

    def add(self, work: Work) -> None:
        """Take up an item. One that does not fit its own description, or has no template, fails alone."""
        try:
            window, deadline_ns = speech_window(work)
        except Exception as error:  # one bad item never ends the process
            work.started()
            _fail(work, error)
            return
        if window.start >= window.frames:
            work.started()
            work.done()
            return
        key, self._next_key = self._next_key, self._next_key + 1
        self._open[key] = _Open(work, window)
        self._policy.add(key, window.frames - window.start, deadline_ns)

    def _plan(self, batch: Sequence[Slice]) -> list[Slice]:
        """Plan the items that have their first frames in the batch; returns what is left of it.

        Raises:
            EngineLostError: nothing can be done in this process any more.
        """
        for piece in batch:
            item = self._open[_key(piece)]
            if item.jobs is not None:
                continue
            item.work.started()  # whoever looks for the item to blame must find it
            frames = item.window.frames - item.window.start
            try:
                with self._meter.timed("plan", frames):
                    item.jobs = self._engine.plan(item.window)
                if len(item.jobs) != frames:
                    raise EngineError("FAILED", f"{self._engine.name} planned {len(item.jobs)} of {frames} frames")
            except EngineLostError:
                raise
            except Exception as error:
                self._policy.drop(piece.key)
                del self._open[_key(piece)]
                _fail(item.work, error)
        return [piece for piece in batch if _key(piece) in self._open]

    def step(self) -> None:
        """Drop what was cancelled, render one batch, send its crops.

        Raises:
            EngineLostError: nothing can be done in this process any more.
        """
        for key in [key for key, item in self._open.items() if item.work.cancel.is_set()]:
            self._policy.drop(key)
            self._open.pop(key).work.done()
        chosen = self._policy.next_batch()
        batch = self._plan(chosen)
        if not batch:
            return
        self._meter.count("batches")
        if len({self._open[_key(piece)].work.item.sid for piece in batch}) > 1:
            self._meter.count("batches.shared")
        for piece in batch:
            self._open[_key(piece)].work.progress()  # all are in hand from here on, none has an output of it yet
        if len(batch) < len(chosen):
            self._render_apart(batch)  # what is left of it need not be a size that the engine takes
            return
        try:
            with self._meter.timed("render", sum(piece.frames for piece in batch)):
                crops = self._engine.render([job for piece in batch for job in self._jobs(piece)])
        except EngineLostError:
            raise
        except Exception:
            self._render_apart(batch)
            return
        at = 0
        for piece in batch:
            self._send(piece, crops[at : at + piece.frames])
            at += piece.frames

    def _jobs(self, piece: Slice) -> Sequence[FrameJob]:
        jobs = self._open[_key(piece)].jobs
        assert jobs is not None, "planned before it is rendered"
        return jobs[piece.first : piece.first + piece.frames]

    def _render_apart(self, batch: Sequence[Slice]) -> None:
        """An item of a batch failed, or one may be to blame that it did: each frame is rendered alone."""
        for piece in batch:
            try:
                crops = np.concatenate([self._engine.render([job]) for job in self._jobs(piece)])
            except EngineLostError:
                raise
            except Exception as own:
                item = self._open.pop(_key(piece))
                self._policy.drop(piece.key)
                _fail(item.work, own)
            else:
                self._send(piece, crops)

    def _send(self, piece: Slice, crops: np.ndarray) -> None:
        item = self._open[_key(piece)]
        item.work.progress()
        output = LipsyncCrops(
            src="", ep=0, id="", attempt=0, index=0,
            start=item.window.start + piece.first, frames=piece.frames, engine=self._engine.name,
        )  # fmt: skip
        item.work.emit(output, [np.ascontiguousarray(crops)])
        item.rendered += piece.frames
        self._meter.count("frames", piece.frames)
        if item.rendered == item.window.frames - item.window.start:
            del self._open[_key(piece)]
            item.work.done()


class FallbackStage(LipsyncStage):
    """The next engine of the chain, standing by: the same work while no process of the first is ready."""

    name: ClassVar[str] = "fallback"

    @property
    def chain(self) -> list[str]:
        """All engines but the chosen one, in order."""
        return self.config.engines.lipsync[1:]


def _fail(work: Work, error: Exception) -> None:
    if isinstance(error, EngineError):
        work.fail(error.code, str(error), retryable=error.retryable)
    else:
        work.fail("FAILED", f"{type(error).__name__}: {error}", retryable=True)


def _key(piece: Slice) -> int:
    assert isinstance(piece.key, int)
    return piece.key


def speech_window(work: Work) -> tuple[SpeechWindow, int]:
    """The item as an engine sees it, and its deadline (monotonic ns; 0: none).

    Raises:
        EngineError: INVALID_ARGUMENT when the item does not fit its own description; NOT_FOUND or FAILED when
            its template is not there.
    """
    item = work.item
    if not isinstance(item, LipsyncItem):
        raise EngineError("INVALID_ARGUMENT", f"lipsync got {type(item).__name__}, not LipsyncItem")
    if not 0 < item.frames <= MAX_ITEM_FRAMES or not 0 <= item.start <= item.frames or item.frame0 < 0:
        raise EngineError(
            "INVALID_ARGUMENT",
            f"a segment of {item.frames} frames from frame {item.frame0}, starting at {item.start}",
            f"1 to {MAX_ITEM_FRAMES} frames, start inside them, frame0 not negative",
        )
    samples = (PAST_US + FUTURE_US) * SAMPLE_RATE // 1_000_000 + item.frames * FRAME_SAMPLES
    got = memoryview(work.buffers[0]).nbytes if work.buffers else 0
    if got != 2 * samples:
        raise EngineError(
            "INVALID_ARGUMENT",
            f"{got} bytes of PCM for {item.frames} frames",
            f"send {2 * samples}: 2 s before the segment, the segment, 80 ms after, s16",
        )
    template = open_template(item.template.path, item.template.hash)
    window = SpeechWindow(
        template=template,
        frame0=item.frame0,
        frames=item.frames,
        start=item.start,
        pcm=np.frombuffer(work.buffers[0], np.int16),
        phonemes=[Span(*entry) for entry in item.phonemes],
        words=[Span(*entry) for entry in item.words],
        peak=item.peak,
        speech_from_us=item.speech_from_us,
        speech_to_us=item.speech_to_us,
        skip=item.skip,
        passages=_passages(item, work.buffers[1:]),
        exact=item.quality == "max",
    )
    return window, item.deadline_ns


def _passages(item: LipsyncItem, buffers: Sequence[Any]) -> list[Passage]:
    """The item's passages: all whole but the last, which has at least one sample.

    Raises:
        EngineError: INVALID_ARGUMENT when there are more than an item reaches, or one has a wrong length.
    """
    found = [Passage(item.passage + k, np.frombuffer(pcm, np.int16)) for k, pcm in enumerate(buffers)]
    lengths = [len(passage.pcm) - 2 * PASSAGE_MARGIN for passage in found]
    whole = [n == PASSAGE for n in lengths[:-1]] + [0 < n <= PASSAGE for n in lengths[-1:]]
    if len(found) > MAX_PASSAGES or not all(whole):
        raise EngineError(
            "INVALID_ARGUMENT",
            f"passages of {lengths} samples",
            f"at most {MAX_PASSAGES}, {PASSAGE} samples each but for the last, {PASSAGE_MARGIN} more on each side",
        )
    return found
