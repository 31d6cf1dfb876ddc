from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from broker.ipc.messages import LipsyncCrops, LipsyncItem, PrepareItem, PrepareProgress, TemplateReady, TemplateRef
from configs.schema import Config, Stages
from configs.schema import Stage as StageConfig
from models.api import (
    CROP,
    FRAME_SAMPLES,
    FUTURE_US,
    PASSAGE_MARGIN,
    PAST_US,
    SAMPLE_RATE,
    EngineError,
    EngineLostError,
    FrameJob,
    SpeechWindow,
)
from models.warp.engine import WarpLipSync
from models.warp.warmup import synthetic_template
from stages.lipsync import LipsyncStage, speech_window
from stages.prepare import PrepareStage
from stages.stage import serve
from tests.support.doubles import RecordedWork, quiet


class Watched(RecordedWork):
    """Keeps one common diary, so that the order across items shows."""

    def __init__(self, diary: list[tuple[str, str]], item: LipsyncItem, *buffers: bytes) -> None:
        super().__init__(item, *buffers)
        self.diary = diary

    def started(self) -> None:
        self.diary.append(("started", self.item.id))

    def emit(self, output: object, buffers: object = ()) -> None:
        self.diary.append(("crops", self.item.id))
        super().emit(output, buffers)  # type: ignore[arg-type]

    def done(self) -> None:
        self.diary.append(("done", self.item.id))
        super().done()


class ListFeed:
    """Hands out what it has, then says that the process is stopping once nothing is left to render."""

    def __init__(self, works: list[Watched]) -> None:
        self.works = deque(works)
        self.stopping = False

    def get(self, timeout_s: float | None = None, *, start: bool = True) -> Watched | None:
        if self.works:
            return self.works.popleft()
        if timeout_s is None:
            self.stopping = True
        return None


@pytest.fixture(scope="module")
def stage() -> Iterator[LipsyncStage]:
    made = LipsyncStage(Config(), "lipsync.0")
    made.setup(quiet)
    yield made
    made.teardown()


@pytest.fixture(scope="module")
def ref(tmp_path_factory: pytest.TempPathFactory) -> TemplateRef:
    template = synthetic_template(tmp_path_factory.mktemp("templates"))
    return TemplateRef(template.id, str(template.path), template.hash)


def item(name: str, ref: TemplateRef, frames: int = 8, deadline_ns: int = 0, start: int = 0) -> LipsyncItem:
    return LipsyncItem(
        id=name, attempt=0, broker=1, sid="s", turn=1, template=ref, frame0=0, frames=frames, start=start,
        deadline_ns=deadline_ns, peak=0.5,
    )  # fmt: skip


def audio(frames: int) -> bytes:
    n = (PAST_US + FUTURE_US) * SAMPLE_RATE // 1_000_000 + frames * FRAME_SAMPLES
    return (np.sin(np.arange(n) * 0.05) * 9000).astype(np.int16).tobytes()


def test_the_most_urgent_item_is_first_and_every_frame_comes_once_in_order(
    stage: LipsyncStage, ref: TemplateRef
) -> None:
    diary: list[tuple[str, str]] = []
    late = Watched(diary, item("late", ref, 16, 900), audio(16))
    soon = Watched(diary, item("soon", ref, 12, 100), audio(12))
    stage.run(ListFeed([late, soon]))  # type: ignore[arg-type]
    assert diary.index(("done", "soon")) < diary.index(("done", "late"))
    for work, frames in ((late, 16), (soon, 12)):
        assert work.finished
        assert work.failure is None
        at = 0
        for output, buffers in work.outputs:
            assert isinstance(output, LipsyncCrops)
            assert output.start == at
            assert memoryview(buffers[0]).nbytes == output.frames * CROP * CROP * 3
            at += output.frames
        assert at == frames
        assert diary.index(("started", work.item.id)) < diary.index(("crops", work.item.id))


def test_the_first_crops_do_not_wait_for_the_plans_of_what_comes_later(
    stage: LipsyncStage, ref: TemplateRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary: list[tuple[str, str]] = []
    plan = WarpLipSync.plan

    def planned(engine: WarpLipSync, window: SpeechWindow) -> list[FrameJob]:
        diary.append(("planned", str(window.frames)))
        return plan(engine, window)

    monkeypatch.setattr(WarpLipSync, "plan", planned)
    works = [Watched(diary, item(name, ref, n, n), audio(n)) for name, n in (("first", 8), ("next", 16))]
    stage.run(ListFeed(works))  # type: ignore[arg-type]
    assert diary.index(("crops", "first")) < diary.index(("planned", "16"))
    assert diary.index(("planned", "16")) < diary.index(("crops", "next"))


def test_an_item_that_cannot_be_planned_does_not_take_its_batch_with_it(
    stage: LipsyncStage, ref: TemplateRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = WarpLipSync.plan

    def planned(engine: WarpLipSync, window: SpeechWindow) -> list[FrameJob]:
        if window.frames == 3:
            raise EngineError("FAILED", "no plan for three")
        return plan(engine, window)

    monkeypatch.setattr(WarpLipSync, "plan", planned)
    bad, good = Watched([], item("bad", ref, 3), audio(3)), Watched([], item("good", ref, 5), audio(5))
    stage.run(ListFeed([bad, good]))  # type: ignore[arg-type]
    assert bad.failure is not None
    assert bad.failure[0] == "FAILED"
    assert "no plan for three" in bad.failure[1]
    assert good.finished
    assert sum(o.frames for o, _ in good.outputs) == 5  # type: ignore[attr-defined]


PASSAGE = 30 * SAMPLE_RATE


@pytest.mark.parametrize(
    "lengths", [[0], [PASSAGE + 1], [PASSAGE - 1, 5], [PASSAGE, PASSAGE, 5], [PASSAGE, 0]], ids=str
)
def test_passages_of_a_wrong_length_fail_their_item_alone(
    stage: LipsyncStage, ref: TemplateRef, lengths: list[int]
) -> None:
    passages = [bytes(2 * (n + 2 * PASSAGE_MARGIN)) for n in lengths]
    wrong = Watched([], item("wrong", ref), audio(8), *passages)
    right = Watched([], item("right", ref), audio(8), *(bytes(2 * (n + 96)) for n in (PASSAGE, 1)))
    stage.run(ListFeed([wrong, right]))  # type: ignore[arg-type]
    assert wrong.failure is not None
    assert wrong.failure[0] == "INVALID_ARGUMENT"
    assert "passages" in wrong.failure[1]
    assert right.finished


def test_the_engine_is_given_the_passages_and_whether_a_stand_in_will_do(ref: TemplateRef) -> None:
    pcm = np.arange(700 + 2 * PASSAGE_MARGIN, dtype=np.int16)
    best = item("best", ref)
    best.quality, best.passage = "max", 3
    window, _ = speech_window(Watched([], best, audio(8), bytes(2 * (PASSAGE + 96)), pcm.tobytes()))
    assert [passage.number for passage in window.passages] == [3, 4]
    assert np.array_equal(window.passages[1].pcm, pcm)
    assert window.exact
    plain, _ = speech_window(Watched([], item("plain", ref), audio(8)))
    assert not plain.passages
    assert not plain.exact


def test_a_resumed_item_sends_the_rest(stage: LipsyncStage, ref: TemplateRef) -> None:
    whole, rest = Watched([], item("w", ref), audio(8)), Watched([], item("r", ref, start=5), audio(8))
    stage.run(ListFeed([whole]))  # type: ignore[arg-type]
    stage.run(ListFeed([rest]))  # type: ignore[arg-type]
    all_crops = b"".join(bytes(b[0]) for _, b in whole.outputs)
    last_crops = b"".join(bytes(b[0]) for _, b in rest.outputs)
    assert rest.outputs[0][0].start == 5  # type: ignore[attr-defined]
    assert all_crops[5 * CROP * CROP * 3 :] == last_crops


def test_a_bad_item_fails_alone(stage: LipsyncStage, ref: TemplateRef) -> None:
    gone = TemplateRef("gone", "/nowhere/gone", "")
    works = [
        Watched([], item("good", ref), audio(8)),
        Watched([], item("short", ref), audio(7)),
        Watched([], item("gone", gone), audio(8)),
        Watched([], item("start", ref, start=9), audio(8)),
    ]
    stage.run(ListFeed(works))  # type: ignore[arg-type]
    assert works[0].finished
    codes = [w.failure[0] if w.failure else None for w in works]
    assert codes == [None, "INVALID_ARGUMENT", "NOT_FOUND", "INVALID_ARGUMENT"]


@pytest.mark.parametrize("where", ["plan", "render"])
def test_an_engine_that_is_lost_ends_the_handler_and_fails_no_item(
    stage: LipsyncStage, ref: TemplateRef, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that fails whatever it is given would be given everything: it must end, and its items go back."""

    def lost(*_: object) -> None:
        raise EngineLostError("cuda:0 is lost to this process")

    diary: list[tuple[str, str]] = []
    work = Watched(diary, item("a", ref), audio(8))
    monkeypatch.setattr(stage._engine, where, lost)
    with pytest.raises(EngineLostError):
        stage.run(ListFeed([work]))  # type: ignore[arg-type]
    assert diary == [("started", "a")]
    assert work.failure is None


def test_a_cancelled_item_stops_between_batches(stage: LipsyncStage, ref: TemplateRef) -> None:
    diary: list[tuple[str, str]] = []

    class CancelsItself(Watched):
        def emit(self, output: object, buffers: object = ()) -> None:
            super().emit(output, buffers)
            self.cancel.set()

    work = CancelsItself(diary, item("c", ref, 64), audio(64))
    other = Watched(diary, item("o", ref, 8, 1 << 60), audio(8))
    stage.run(ListFeed([work, other]))  # type: ignore[arg-type]
    assert len(work.outputs) == 1
    assert work.finished
    assert sum(o.frames for o, _ in other.outputs) == 8  # type: ignore[attr-defined]


def test_what_is_in_hand_at_the_end_is_finished(stage: LipsyncStage, ref: TemplateRef) -> None:
    class Ending(ListFeed):
        def get(self, timeout_s: float | None = None, *, start: bool = True) -> Watched | None:
            work = super().get(timeout_s, start=start)
            self.stopping = not self.works
            return work

    works = [Watched([], item("a", ref, 16), audio(16)), Watched([], item("b", ref), audio(8))]
    stage.run(Ending(works))  # type: ignore[arg-type]
    assert [work.finished for work in works] == [True, True]


def test_an_engine_for_one_thread_is_not_given_to_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WarpLipSync, "reentrant", False)
    two = LipsyncStage(Config(stages=Stages(lipsync=StageConfig(concurrency=2))), "lipsync.0")
    with pytest.raises(EngineError, match="frames of other sessions could be shown") as caught:
        two.setup(quiet)
    assert caught.value.code == "INVALID_ARGUMENT", "ends with 78: the configuration is wrong"
    two.teardown()


def test_the_stage_tells_what_its_engine_can(stage: LipsyncStage) -> None:
    assert stage.info == {"skips": True, "bucket": 8}
    assert stage.credit == Config().stages.lipsync.credit
    unset = LipsyncStage(Config(stages=Stages(lipsync=StageConfig(credit=0))), "lipsync.0")
    unset._engine = stage._engine
    assert unset.credit == 16


def prepare(state_dir: Path, template_id: str, kind: str) -> RecordedWork:
    work = RecordedWork(
        PrepareItem(id="p", attempt=0, broker=1, sid="", turn=0, template_id=template_id, kind=kind)
    )
    stage = PrepareStage(Config(state_dir=str(state_dir)), "prepare.0")
    stage.setup(quiet)
    serve(stage, work)
    return work


@pytest.mark.slow
def test_prepare_draws_a_builtin_with_progress_and_then_finds_it(tmp_path: Path) -> None:
    work = prepare(tmp_path, "default", "builtin")
    assert work.finished
    *steps, (ready, _) = work.outputs
    assert all(isinstance(step, PrepareProgress) for step, _ in steps)
    assert len(steps) > 10
    assert isinstance(ready, TemplateReady)
    assert (ready.width, ready.height, ready.frames, ready.cached) == (512, 512, 248, False)
    assert ready.engines == ["warp"]
    again = prepare(tmp_path, "default", "builtin").outputs[-1][0]
    assert isinstance(again, TemplateReady)
    assert again.cached
    assert again.template == ready.template


@pytest.mark.parametrize(
    ("name", "kind", "code"), [("x", "image", "INVALID_ARGUMENT"), ("x", "builtin", "NOT_FOUND")]
)
def test_what_prepare_cannot_do_it_says(tmp_path: Path, name: str, kind: str, code: str) -> None:
    failure = prepare(tmp_path, name, kind).failure
    assert failure is not None
    assert failure[0] == code
