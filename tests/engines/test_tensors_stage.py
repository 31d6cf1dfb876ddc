"""A preparation's network work between the stages: who waits for whom, and what a failure costs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from broker.ipc.messages import (
    ArrayHead,
    LipsyncCrops,
    PrepareAsk,
    PrepareItem,
    TemplateRef,
    TensorAnswer,
    TensorItem,
    TensorResult,
)
from configs.schema import Config
from models.api import EngineError, FrameJob, Progress, SpeechWindow
from models.warp.warmup import synthetic_template
from stages.lipsync import LipsyncStage
from stages.tensors import REST_S, Asker, Background, arrays_of, heads_of
from tests.engines.test_lipsync_stage import audio, item
from tests.support.doubles import RecordedWork, quiet

PICTURES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


class Engine:
    """Draws black faces, adds one to every picture, and keeps a diary."""

    name = "double"
    buckets: Sequence[int] = (1, 2, 4, 8)
    skips = reentrant = False
    device_name, gpu = "cpu", None
    figures: ClassVar[dict[str, float]] = {}

    def __init__(self) -> None:
        self.diary: list[str] = []

    def load(self, progress: Progress) -> None: ...

    def close(self) -> None: ...

    def plan(self, window: SpeechWindow) -> list[FrameJob]:
        return [FrameJob(window.template, k, None) for k in range(window.frames)]

    def render(self, jobs: Sequence[FrameJob]) -> np.ndarray:
        self.diary.append(f"render {len(jobs)}")
        return np.zeros((len(jobs), 256, 256, 3), np.uint8)

    def tensors(self, kind: str, arrays: Sequence[np.ndarray], progress: Progress) -> list[np.ndarray]:
        self.diary.append(kind)
        if kind == "impossible":
            raise EngineError("FAILED", "it cannot be done", "do not ask")
        if kind == "defect":
            raise ZeroDivisionError
        progress(kind, 1, 1)
        return [array + 1 for array in arrays]

    def rest(self) -> None:
        self.diary.append("rest")


class Feed:
    """Hands out works one after another, and says that the process is stopping once it would have to wait."""

    def __init__(self, *works: RecordedWork) -> None:
        self.works = deque(works)
        self.stopping = False

    def get(self, timeout_s: float | None = None, *, start: bool = True) -> RecordedWork | None:
        if self.works:
            return self.works.popleft()
        self.stopping = timeout_s != 0.0
        return None


def ask(kind: str = "plus", engine: str = "double", *buffers: Any) -> RecordedWork:
    heads = heads_of([PICTURES])
    made = TensorItem(id=kind, attempt=0, broker=1, sid="", turn=0, engine=engine, kind=kind, heads=heads)
    return RecordedWork(made, *(buffers or (PICTURES.tobytes(),)))


@pytest.fixture(scope="module")
def ref(tmp_path_factory: pytest.TempPathFactory) -> TemplateRef:
    template = synthetic_template(tmp_path_factory.mktemp("templates"))
    return TemplateRef(template.id, str(template.path), template.hash)


def run(*works: RecordedWork) -> Engine:
    stage = LipsyncStage(Config(), "lipsync.0")
    stage._engine = engine = Engine()
    stage.run(Feed(*works))  # type: ignore[arg-type]
    return engine


def test_an_ask_is_done_while_no_frame_waits(ref: TemplateRef) -> None:
    first, second = ask("one"), ask("two")
    speech = [RecordedWork(item(name, ref, 16), audio(16)) for name in ("a", "b")]
    engine = run(first, speech[0], second, speech[1])
    assert engine.diary[-2:] == ["one", "two"]
    assert engine.diary[:-2] == ["render 8"] * 4
    for work in (first, second):
        ((result, buffers),) = work.outputs
        assert isinstance(result, TensorResult)
        assert np.array_equal(
            arrays_of(result.heads, [memoryview(one).cast("B") for one in buffers])[0], PICTURES + 1
        )
        assert work.finished
    assert all(isinstance(output, LipsyncCrops) for work in speech for output, _ in work.outputs)


def test_frames_that_come_between_two_asks_are_next(ref: TemplateRef) -> None:
    class Interrupting(Engine):
        def tensors(self, kind: str, arrays: Sequence[np.ndarray], progress: Progress) -> list[np.ndarray]:
            if kind == "one":
                feed.works.append(RecordedWork(item("a", ref, 8), audio(8)))
            return super().tensors(kind, arrays, progress)

    stage = LipsyncStage(Config(), "lipsync.0")
    stage._engine = engine = Interrupting()
    feed = Feed(ask("one"), ask("two"))
    stage.run(feed)  # type: ignore[arg-type]
    assert engine.diary == ["one", "render 8", "two"]


@pytest.mark.parametrize(
    ("work", "code", "retryable"),
    [
        (ask("impossible"), "FAILED", False),
        (ask("defect"), "FAILED", True),
        (ask("plus", "other"), "UNSUPPORTED", False),
        (ask("plus", "double", b"short"), "INVALID_ARGUMENT", False),
    ],
    ids=["refused", "defect", "another engine", "wrong size"],
)
def test_an_ask_fails_alone(ref: TemplateRef, work: RecordedWork, code: str, retryable: bool) -> None:
    other, speech = ask("fine"), RecordedWork(item("a", ref, 8), audio(8))
    run(work, other, speech)
    assert work.failure is not None
    assert (work.failure[0], work.failure[2]) == (code, retryable)
    assert other.finished
    assert speech.finished


def test_an_engine_without_networks_says_so() -> None:
    stage = LipsyncStage(Config(), "lipsync.0")
    stage.setup(quiet)
    work = ask("plus", "warp")
    stage.run(Feed(work))  # type: ignore[arg-type]
    stage.teardown()
    assert work.failure is not None
    assert work.failure[0] == "UNSUPPORTED"


def test_a_cancelled_ask_is_dropped() -> None:
    work = ask("plus")
    work.cancel.set()
    engine = run(work)
    assert engine.diary == []
    assert work.finished


def test_the_networks_are_released_when_nobody_has_asked_for_a_while() -> None:
    now, engine = 100.0, Engine()
    background = Background(engine, lambda: now)
    assert background.wait_s is None, "nothing is loaded: nothing to wait for"
    background.add(ask("one"))
    assert background.wait_s == 0
    background.step()
    assert background.wait_s == REST_S
    now += REST_S - 1
    background.tidy()
    assert background.wait_s == 1
    background.add(ask("impossible"))
    now += 1
    background.tidy()
    assert engine.diary == ["one"], "somebody waits for them"
    background.step()
    assert background.wait_s == REST_S
    now += REST_S
    background.step()
    assert engine.diary == ["one", "impossible", "rest"]
    assert background.wait_s is None


# --- the side that asks --------------------------------------------------------------------------------------


class Answered(RecordedWork):
    """Gets one answer per ask, after as many empty waits as it is told."""

    def __init__(self, *answers: TensorAnswer | int, arrays: Sequence[np.ndarray] = ()) -> None:
        super().__init__(PrepareItem(id="p", attempt=0, broker=1, sid="", turn=0, template_id="t", kind="source"))
        self.answers = deque(answers)
        self.arrays = arrays

    def answer(self, number: int, timeout_s: float) -> tuple[TensorAnswer, list[memoryview]] | None:
        found = self.answers.popleft()
        return None if isinstance(found, int) else (found, [memoryview(array).cast("B") for array in self.arrays])


def answer(number: int = 0, code: str = "", message: str = "", arrays: Sequence[np.ndarray] = ()) -> TensorAnswer:
    return TensorAnswer(
        broker=1, id="p", attempt=0, number=number, code=code, message=message, heads=heads_of(arrays)
    )


def test_the_one_who_asks_gets_arrays_and_says_that_it_waits() -> None:
    wanted = [np.ones((2, 4), np.float32), np.zeros(0, np.int32)]
    work = Answered(0, 0, answer(arrays=wanted), arrays=wanted)
    said: list[tuple[str, int, int]] = []
    found = Asker(work, "musetalk", 9).tensors("points", [PICTURES[:, ::2]], lambda *step: said.append(step))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert said == [("waits for musetalk", 1, 9), ("waits for musetalk", 2, 9)]
    ((sent, buffers),) = work.outputs
    assert isinstance(sent, PrepareAsk)
    assert (sent.number, sent.engine, sent.kind) == (0, "musetalk", "points")
    assert sent.heads == [ArrayHead("uint8", [2, 2, 4])]
    assert bytes(buffers[0]) == PICTURES[:, ::2].tobytes()


def test_a_refusal_is_passed_on_in_its_own_words() -> None:
    work = Answered(answer(code="FAILED", message="lipsync was given up: no weights"))
    with pytest.raises(EngineError, match="given up: no weights"):
        Asker(work, "musetalk", 9).tensors("points", [PICTURES], quiet)


def test_waiting_has_a_limit_and_ends_with_a_cancel() -> None:
    with pytest.raises(EngineError, match="has not answered within 3 s"):
        Asker(Answered(0, 0, 0, 0), "musetalk", 3).tensors("points", [PICTURES], quiet)
    work = Answered(0)
    work.cancel.set()
    with pytest.raises(EngineError, match="cancelled") as caught:
        Asker(work, "musetalk", 3).tensors("points", [PICTURES], quiet)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "head",
    [
        ArrayHead("uint8", [2, 3, 5]),
        ArrayHead("object", [3]),
        ArrayHead("uint8", [-24, -1]),
        ArrayHead("float32", [24]),
    ],
)
def test_a_head_that_does_not_fit_is_refused(head: ArrayHead) -> None:
    with pytest.raises(EngineError, match="buffer of 24 bytes"):
        arrays_of([head], [memoryview(PICTURES.tobytes())])
    with pytest.raises(EngineError, match="1 arrays in 0 buffers"):
        arrays_of([head], [])
