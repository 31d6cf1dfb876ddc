"""The conformance suite of lip-sync engines; ``ENGINES`` lists those that run anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from configs.schema import Config
from models import registry
from models.api import (
    FRAME_SAMPLES,
    EngineError,
    LipSync,
    Span,
    SpeechWindow,
)
from models.templates.store import Template
from models.warp.warmup import synthetic_template
from tests.support.doubles import quiet
from tests.support.speaking import FRAMES, rendered, speech, window
from tests.support.templates import write_template

ENGINES = ("warp",)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[LipSync]:
    found: LipSync = registry.create("lipsync", request.param, Config())
    found.load(quiet)
    yield found
    found.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return synthetic_template(tmp_path_factory.mktemp("templates"), frames=24)


@pytest.mark.parametrize("with_phonemes", [True, False])
def test_any_cut_of_the_same_audio_gives_the_same_crops(
    engine: LipSync, template: Template, with_phonemes: bool
) -> None:
    pcm, spans = speech()
    spans = spans if with_phonemes else []
    whole = rendered(engine, window(template, pcm, spans, 0, FRAMES))
    for plan in ([8] * 8, [8, 8, 16, 32], [24, 40]):
        first, parts = 0, []
        for k, frames in enumerate(plan):
            parts.append(rendered(engine, window(template, pcm, spans, first, frames, peak=0.1 * (k + 1))))
            first += frames
        assert np.array_equal(np.concatenate(parts), whole), plan


def test_going_on_after_a_crash_gives_the_same_remaining_frames(engine: LipSync, template: Template) -> None:
    pcm, spans = speech()
    whole = rendered(engine, window(template, pcm, spans, 16, 32))
    for start in (0, 1, 13, 31, 32):
        rest = rendered(engine, window(template, pcm, spans, 16, 32, start))
        assert np.array_equal(rest, whole[start:])


def own_pixels(template: Template, first: int, frames: int) -> np.ndarray:
    """The crops of a template that says nothing, s16 ``[frames, 256, 256, 3]``."""
    return np.stack([template.roi[(1000 + first + k) % template.frames] for k in range(frames)]).astype(np.int16)


@pytest.mark.parametrize("skip", [2, 4])
def test_skipped_frames_lie_between_the_drawn_ones(engine: LipSync, template: Template, skip: int) -> None:
    pcm, spans = speech()
    full = rendered(engine, window(template, pcm, spans, 16, 32)).astype(np.int16)
    skipped = rendered(engine, window(template, pcm, spans, 16, 32, skip=skip)).astype(np.int16)
    drawn = [*range(0, 32, skip), 31]
    assert np.array_equal(skipped[drawn], full[drawn])
    assert not np.array_equal(skipped, full)
    change = full - own_pixels(template, 16, 32)
    between = skipped - own_pixels(template, 16, 32)
    for before, after in itertools.pairwise(drawn):
        for frame in range(before + 1, after):
            share = (frame - before) / (after - before)
            wanted = (1 - share) * change[before] + share * change[after]
            assert np.abs(between[frame] - wanted).max() <= 0.5 + 1e-4
    untouched = (change[drawn] == 0).all(axis=0)
    assert (between[:, untouched] == 0).all(), "what no mouth moves is the template's own"


@pytest.mark.parametrize("skip", [2, 4])
def test_a_skipping_item_goes_on_after_a_crash_with_the_same_frames(
    engine: LipSync, template: Template, skip: int
) -> None:
    pcm, spans = speech()
    whole = rendered(engine, window(template, pcm, spans, 16, 32, skip=skip))
    for start in (1, 2, 13, 31, 32):
        rest = rendered(engine, window(template, pcm, spans, 16, 32, start, skip=skip))
        assert np.array_equal(rest, whole[start:])


def test_frames_of_several_sessions_share_a_batch(engine: LipSync, template: Template) -> None:
    pcm, spans = speech()
    one = engine.plan(window(template, pcm, spans, 0, 8))
    two = engine.plan(window(template, pcm, [], 8, 8))
    mixed = engine.render([job for pair in zip(one[:4], two[:4], strict=True) for job in pair])
    assert np.array_equal(mixed[0::2], engine.render(one[:4]))
    assert np.array_equal(mixed[1::2], engine.render(two[:4]))


def test_silence_shows_the_templates_own_mouth(engine: LipSync, template: Template) -> None:
    silence = np.zeros(16 * FRAME_SAMPLES, np.int16)
    crops = rendered(engine, window(template, silence, [], 0, 16))
    for k, crop in enumerate(crops):
        assert np.array_equal(crop, template.roi[(1000 + k) % template.frames])


def test_speech_moves_the_mouth_and_only_inside_the_crop(engine: LipSync, template: Template) -> None:
    pcm, spans = speech()
    crops = rendered(engine, window(template, pcm, spans, 0, FRAMES)).astype(np.int16)
    own = own_pixels(template, 0, FRAMES)
    change = np.abs(crops - own).max(axis=-1)
    assert change.max() > 60
    border = np.concatenate([change[:, [0, -1], :].ravel(), change[:, :, [0, -1]].ravel()])
    assert border.max() == 0


def test_a_turn_begins_and_ends_with_the_templates_mouth(engine: LipSync, template: Template) -> None:
    n = 16 * FRAME_SAMPLES
    loud = (np.sin(np.arange(n) * 0.06) * 15000).astype(np.int16)
    crops = rendered(engine, window(template, loud, [Span("a", 0, 640_000)], 0, 16)).astype(np.int16)
    own = own_pixels(template, 0, 16)
    change = np.abs(crops - own).mean(axis=(1, 2, 3))
    assert change[0] < 0.7 * change[4]
    assert change[-1] < 0.5 * change[8]


def test_audio_of_the_wrong_length_is_refused(engine: LipSync, template: Template) -> None:
    pcm, spans = speech()
    item = window(template, pcm, spans, 0, 8)
    broken = SpeechWindow(**{f: getattr(item, f) for f in item.__slots__} | {"pcm": item.pcm[:-1]})
    with pytest.raises(EngineError, match="samples"):
        engine.plan(broken)


def test_a_template_not_prepared_for_the_engine_is_refused(engine: LipSync, tmp_path: Path) -> None:
    from models.templates.store import open_template

    ref = write_template(tmp_path / "plain")
    pcm, spans = speech()
    with pytest.raises(EngineError, match="not prepared"):
        engine.plan(window(open_template(ref.path, ref.hash), pcm, spans, 0, 8))
