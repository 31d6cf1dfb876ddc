"""The promises of a lip-sync engine, held by MuseTalk on tiny random weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from configs.schema import Engines
from models import registry
from models.api import FRAME_SAMPLES, EngineError, EngineGoneError, EngineLostError, SpeechWindow
from models.media.paste import paster, planes
from models.musetalk import asks
from models.musetalk.engine import MuseTalkLipSync
from models.musetalk.prepared import load_prepared, own_crop
from models.registry import CROPS
from models.templates.store import Template, open_template
from stages.lipsync import LipsyncStage
from tests.engines.musetalk import scene
from tests.support.doubles import quiet
from tests.support.speaking import rendered, speech, window
from tests.support.templates import write_template


@pytest.fixture(scope="module")
def engine(small: Path) -> Iterator[MuseTalkLipSync]:
    found = registry.create("lipsync", "musetalk", scene.config(small))
    found.load(quiet)
    yield found
    found.close()


@pytest.fixture(scope="module")
def template(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return scene.write(tmp_path_factory.mktemp("templates"), scene.config(small))


def own(template: Template, first: int, count: int) -> np.ndarray:
    return np.stack([own_crop(template, (1000 + first + k) % template.frames) for k in range(count)])


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())


def test_any_cut_of_a_turn_gives_the_same_crops(engine: MuseTalkLipSync, template: Template) -> None:
    pcm, _ = speech(24)
    whole = rendered(engine, window(template, pcm, [], 0, 24))
    for plan in ([8, 16], [16, 8]):
        first, parts = 0, []
        for frames in plan:
            parts.append(rendered(engine, window(template, pcm, [], first, frames)))
            first += frames
        assert apart(np.concatenate(parts), whole) <= 1, plan


@pytest.mark.parametrize("skip", [1, 2])
def test_going_on_after_a_crash_gives_the_same_remaining_frames(
    engine: MuseTalkLipSync, template: Template, skip: int
) -> None:
    pcm, _ = speech(32)
    whole = rendered(engine, window(template, pcm, [], 8, 16, skip=skip))
    for start in (1, 9, 15, 16):
        rest = rendered(engine, window(template, pcm, [], 8, 16, start, skip=skip))
        assert rest.shape[0] == 16 - start
        if len(rest):
            assert apart(rest, whole[start:]) <= 1


def test_a_batch_of_several_sessions_changes_no_ones_pixels(engine: MuseTalkLipSync, template: Template) -> None:
    pcm, _ = speech(32)
    items = [window(template, pcm, [], 0, 8), window(template, pcm, [], 16, 8)]
    one, two = (engine.plan(item) for item in items)
    mixed = engine.render([job for pair in zip(one[4:8], two[4:8], strict=True) for job in pair])
    for jobs, part in (
        (window(template, pcm, [], 0, 8), mixed[0::2]),
        (window(template, pcm, [], 16, 8), mixed[1::2]),
    ):
        alone = np.concatenate([engine.render([job]) for job in engine.plan(jobs)[4:8]])
        assert apart(part, alone) <= 1


@pytest.mark.parametrize("place", ["features", "latents"])
def test_a_plan_for_which_memory_is_short_comes_out_the_same_with_smaller_batches(
    small: Path, template: Template, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = registry.create("lipsync", "musetalk", scene.config(small))
    assert isinstance(engine, MuseTalkLipSync)
    engine.load(quiet)
    pcm, _ = speech(24)
    item = window(template, pcm, [], 0, 16)
    wanted = rendered(engine, item)
    uploads, failures = int(engine.figures["templates"]), 3
    owner, name = {"features": (engine._stream, "windows"), "latents": (engine, "_device_latents")}[place]
    real = getattr(owner, name)

    def short(*arguments: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    monkeypatch.setattr(owner, name, short)
    with capture_logs() as logs:
        made = rendered(engine, item)
    assert [entry["event"] for entry in logs] == ["lipsync.memory_spared"] + 2 * ["lipsync.memory_short"]
    assert apart(made, wanted) <= 1
    assert (engine.figures["batch_max"], engine.figures["oom"]) == (2, 3)
    assert engine.figures["templates"] == uploads + 1, "the template's latents went first"
    engine.close()


def test_silence_shows_the_templates_own_mouth_and_costs_no_model_work(
    engine: MuseTalkLipSync, template: Template
) -> None:
    before = engine.generated
    silence = np.zeros(16 * FRAME_SAMPLES, np.int16)
    crops = rendered(engine, window(template, silence, [], 0, 16))
    assert np.array_equal(crops, own(template, 0, 16))
    assert engine.generated == before


def test_speech_changes_the_lower_face_and_nothing_else(engine: MuseTalkLipSync, template: Template) -> None:
    pcm, _ = speech(32)
    crops = rendered(engine, window(template, pcm, [], 0, 32))
    change = np.abs(crops.astype(np.int16) - own(template, 0, 32)).max(axis=(0, 3))
    assert change.max() > 60
    masks = load_prepared(template).mask.max(axis=0)
    assert change[masks == 0].max() == 0
    assert not change[[0, -1]].any()
    assert not change[:, [0, -1]].any()
    box = load_prepared(template).boxes[0]
    middle = (box[1] + box[3]) / 2 - template.boxes[0, 1]
    assert not change[: int(middle) - 30].any()


def test_a_turn_fades_in_and_out(engine: MuseTalkLipSync, template: Template) -> None:
    n = 16 * FRAME_SAMPLES
    loud = (np.sin(np.arange(n) * 0.06) * 15000).astype(np.int16)
    crops = rendered(engine, window(template, loud, [], 0, 24))
    change = np.abs(crops.astype(np.int16) - own(template, 0, 24)).mean(axis=(1, 2, 3))
    assert change[0] < 0.5 * change[5]
    assert change[0] < change[1] < change[2] < change[3]
    assert change[15] < 0.7 * change[14] < 0.6 * change[13]
    assert not change[16:].any()


def test_the_broker_learns_that_this_engine_can_skip(small: Path) -> None:
    config = msgspec.structs.replace(scene.config(small), engines=Engines(lipsync=["musetalk"]))
    stage = LipsyncStage(config, "lipsync.0")
    stage.setup(quiet)
    assert stage.info == {"skips": True, "bucket": 8}
    stage.teardown()


def test_skipping_generates_half_and_interpolates_the_rest(engine: MuseTalkLipSync, template: Template) -> None:
    pcm, _ = speech(32)
    before = engine.generated
    full = rendered(engine, window(template, pcm, [], 8, 16))
    middle = engine.generated
    skipped = rendered(engine, window(template, pcm, [], 8, 16, skip=2))
    assert engine.generated - middle <= (middle - before) // 2 + 1
    even = [0, 2, 4, 6, 8, 10, 12, 14, 15]
    assert apart(skipped[even], full[even]) <= 1


def test_a_frame_without_a_face_shows_itself(engine: MuseTalkLipSync, small: Path, tmp_path: Path) -> None:
    template = scene.write(tmp_path, scene.config(small), scene.Drawn(frozenset({3, 4})))
    assert not load_prepared(template).valid[3:5].any()
    pcm, _ = speech(32)
    crops = rendered(engine, window(template, pcm, [], 0, 24))
    poses = [(1000 + k) % 24 for k in range(24)]
    for crop, pose in zip(crops, poses, strict=True):
        if pose in (3, 4):
            assert np.array_equal(crop, own_crop(template, pose))
    assert sum(not np.array_equal(c, own_crop(template, p)) for c, p in zip(crops, poses, strict=True)) > 8


def test_a_template_box_of_another_size_gets_the_same_mouth(
    engine: MuseTalkLipSync, small: Path, tmp_path: Path
) -> None:
    template = scene.write(tmp_path, scene.config(small), box=200)
    pcm, _ = speech(16)
    crops = rendered(engine, window(template, pcm, [], 0, 16))
    change = np.abs(crops.astype(np.int16) - own(template, 0, 16)).max(axis=(0, 3))
    assert change.max() > 60
    assert change[load_prepared(template).mask.max(axis=0) == 0].max() == 0


@pytest.mark.parametrize("box", [256, 384])
def test_what_is_shown_keeps_every_byte_outside_the_mask_and_in_pauses(
    engine: MuseTalkLipSync, small: Path, tmp_path: Path, box: int
) -> None:
    template = scene.write(tmp_path, scene.config(small), box=box)
    pcm, _ = speech(16)
    tool = paster(template, "musetalk", CROPS["musetalk"])
    for spoken in (True, False):
        changed = 0
        crops = rendered(engine, window(template, pcm if spoken else np.zeros_like(pcm), [], 0, 16))
        for k, crop in enumerate(crops):
            pose = (1000 + k) % template.frames
            frame = template.i420[pose].copy()
            tool.paste(planes(frame), template.roi[pose], template.boxes[pose], crop, pose)
            now, then = planes(frame).y, planes(np.array(template.i420[pose])).y
            mask = cv2.resize(load_prepared(template).mask[pose], (box, box), interpolation=cv2.INTER_LINEAR)
            outside = np.ones(now.shape, np.bool_)
            outside[32 : 32 + box, 32 : 32 + box] = mask == 0
            assert np.array_equal(now[outside], then[outside])
            changed += int((now != then).sum())
        assert (changed > 0) is spoken


def test_numbers_that_are_not_finite_never_reach_the_picture(
    small: Path, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MuseTalkLipSync(scene.config(small, max_batch=2))
    engine.load(quiet)
    assert engine._generator is not None
    bias = dict(engine._generator._decoder.named_parameters())["conv_out.bias"]
    with torch.inference_mode():
        bias[0] = float("nan")
    pcm, _ = speech(16)
    crops = rendered(engine, window(template, pcm, [], 0, 8))
    assert np.array_equal(crops, own(template, 0, 8))
    assert engine.not_finite > 0
    engine.close()


def test_running_out_of_memory_makes_smaller_batches(
    small: Path, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MuseTalkLipSync(scene.config(small, max_batch=4))
    engine.load(quiet)
    assert engine._generator is not None
    pcm, _ = speech(16)
    wanted = rendered(engine, window(template, pcm, [], 0, 8))
    real, sizes = engine._generator._forward, []

    def forward(bucket: object) -> None:
        sizes.append(bucket.size)  # type: ignore[attr-defined]
        if bucket.size > 1:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(bucket)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._generator, "_forward", forward)
    assert apart(rendered(engine, window(template, pcm, [], 0, 8)), wanted) <= 1
    assert sizes[:2] == [4, 2]
    assert set(sizes[2:]) == {1}
    engine.close()


@pytest.mark.parametrize(
    ("error", "lost", "gone"),
    [(RuntimeError, False, False), (EngineLostError, True, False), (EngineGoneError, True, True)],
)
def test_a_device_that_is_lost_or_gone_is_told_from_work_that_goes_wrong(
    small: Path,
    template: Template,
    error: type[Exception],
    lost: bool,
    gone: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = MuseTalkLipSync(scene.config(small, max_batch=4))
    engine.load(quiet)
    assert engine._generator is not None
    assert engine._preparation is not None
    item = window(template, speech(16)[0], [], 0, 8)
    jobs = engine.plan(item)

    def fault(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("models.musetalk.engine.is_lost", lambda device: lost)
    monkeypatch.setattr("models.musetalk.engine.is_gone", lambda device: gone)
    monkeypatch.setattr(engine._generator, "_forward", fault)
    monkeypatch.setattr(engine._stream, "windows", fault)
    monkeypatch.setattr(engine._preparation, "_latents", fault)
    crops = np.zeros((1, 256, 256, 3), np.uint8)
    work: list[Any] = [lambda: engine.render(jobs), lambda: engine.plan(item)]
    work.append(lambda: engine.tensors(asks.LATENTS, [crops], quiet))
    for one in work:
        with pytest.raises(error, match="illegal memory access") as caught:
            one()
        assert type(caught.value) is error
    engine.close()


def test_tiers_agree_and_versions_differ(small: Path, template: Template) -> None:
    pcm, _ = speech(16)
    found = {}
    for key, more in {
        "lossless": {"tier": "lossless"}, "high": {}, "v10": {"version": "v10"}, "float16": {"dtype": "float16"},
    }.items():  # fmt: skip
        engine = MuseTalkLipSync(scene.config(small, max_batch=4, **more))
        engine.load(quiet)
        found[key] = rendered(engine, window(template, pcm, [], 8, 8))
        engine.close()
    assert apart(found["high"], found["lossless"]) <= 1
    assert apart(found["v10"], found["high"]) > 30
    difference = np.abs(found["float16"].astype(np.int16) - found["high"])
    assert difference.mean() <= 0.1
    assert np.percentile(difference, 99.9) <= 2
    assert difference.max() <= 8


def test_audio_of_the_wrong_length_is_refused(engine: MuseTalkLipSync, template: Template) -> None:
    item = window(template, speech(16)[0], [], 0, 8)
    broken = SpeechWindow(**{f: getattr(item, f) for f in item.__slots__} | {"pcm": item.pcm[:-1]})
    with pytest.raises(EngineError, match="samples"):
        engine.plan(broken)


def test_templates_of_other_engines_or_other_weights_are_refused(
    engine: MuseTalkLipSync, template: Template, tmp_path: Path
) -> None:
    pcm, _ = speech(16)
    ref = write_template(tmp_path / "plain")
    with pytest.raises(EngineError, match="not prepared"):
        engine.plan(window(open_template(ref.path, ref.hash), pcm, [], 0, 8))
    other = tmp_path / "other"
    shutil.copytree(template.path, other)
    meta = other / "engine" / "musetalk" / "meta.json"
    meta.write_text(meta.read_text().replace(load_prepared(template).meta["vae"], "0" * 64))
    with pytest.raises(EngineError, match="other VAE weights"):
        engine.plan(window(open_template(str(other), ""), pcm, [], 0, 8))


def test_as_a_stand_in_it_runs_where_the_stand_ins_do(small: Path) -> None:
    """A process of ``fallback`` sees the GPUs of ``stages.fallback``, here none."""
    config = msgspec.structs.replace(
        scene.config(small, max_batch=1), engines=Engines(lipsync=["warp", "musetalk"])
    )
    lipsync = msgspec.structs.replace(config.stages.lipsync, devices="cuda:0")
    config = msgspec.structs.replace(config, stages=msgspec.structs.replace(config.stages, lipsync=lipsync))
    engine = MuseTalkLipSync(config)
    engine.load(quiet)
    assert engine.device_name == "cpu"
    engine.close()


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    engine = MuseTalkLipSync(scene.config(tmp_path))
    with pytest.raises(EngineError, match="weights pull"):
        engine.load(quiet)
    engine.close()


def test_a_refused_template_names_the_frames_and_the_reason(small: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="frames 0-9: no face"):
        scene.write(tmp_path, scene.config(small), scene.Drawn(frozenset(range(10))))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
