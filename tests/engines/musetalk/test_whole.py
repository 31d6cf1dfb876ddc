"""Quality "max": the features of a segment are those of the whole recording, bit for bit, in any cut."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from broker.media.passages import bounds, touched
from broker.media.speech_track import SpeechTrack
from models.api import FRAME_SAMPLES, SAMPLE_RATE, EngineError, Passage, SpeechWindow
from models.musetalk.audio import one_shot, windows
from models.musetalk.engine import MuseTalkLipSync
from models.musetalk.stream import to_16k
from models.musetalk.whisper import Encoder
from models.musetalk.whole import KEPT, WholeFeatures
from models.templates.store import Template
from tests.engines.musetalk import scene
from tests.engines.musetalk.checkpoints import tiny
from tests.support.doubles import quiet
from tests.support.speaking import rendered, window

FPS = Fraction(25)
PASSAGE = 30 * SAMPLE_RATE
QUANTUM = 8


def turn(samples: int) -> np.ndarray:
    """Syllables of harmonics whose loudness drifts, so that every passage has a floor of its own."""
    random = np.random.default_rng(7)
    t = np.arange(samples) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 9))
    level = np.clip(np.sin(2 * np.pi * 2.7 * t) + 0.4, 0, 1) * (0.3 + 0.7 * np.abs(np.sin(t / 19)))
    return (level * voice * 4000 + random.normal(0, 60, samples)).astype(np.int16)


def passages(pcm: np.ndarray, first: int, frames: int) -> list[Passage]:
    """As the broker cuts them, out of its own track."""
    track = SpeechTrack()
    track.append(pcm.tobytes())
    found = touched(first * FRAME_SAMPLES, frames * FRAME_SAMPLES, len(pcm))
    return [Passage(k, np.frombuffer(track.window(*bounds(k, len(pcm))), np.int16)) for k in found]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.set_num_threads(1)
    module = tiny("whisper", 2)
    assert isinstance(module, Encoder)
    return module


@pytest.mark.parametrize(
    "samples", [2400, 3 * SAMPLE_RATE + 3361, PASSAGE, PASSAGE + 1, 61 * SAMPLE_RATE], ids=str
)
def test_features_are_those_of_the_whole_recording(encoder: Encoder, samples: int) -> None:
    pcm = turn(samples)
    quanta = -(-samples // (QUANTUM * FRAME_SAMPLES))
    wanted = windows(one_shot(encoder, to_16k(pcm)), FPS, 0, quanta * QUANTUM)
    for longest in (1, 4, 16):
        whole = WholeFeatures(encoder)
        for first in range(0, quanta, longest):
            begin, count = first * QUANTUM, min(longest, quanta - first) * QUANTUM
            found = whole.windows(passages(pcm, begin, count), begin, count)
            assert torch.equal(found, wanted[begin : begin + count]), (first, longest)
        assert whole.encoded == -(-samples // PASSAGE), "once for each passage"


def test_the_recording_of_another_session_is_not_mixed_up_and_memory_is_bounded(encoder: Encoder) -> None:
    whole = WholeFeatures(encoder)
    sounds = [turn(4000 + k) for k in range(KEPT + 1)]
    made = [whole.windows(passages(pcm, 0, 8), 0, 8) for pcm in sounds]
    assert whole.encoded == KEPT + 1
    assert torch.equal(whole.windows(passages(sounds[-1], 0, 8), 0, 8), made[-1])
    assert whole.encoded == KEPT + 1
    assert torch.equal(whole.windows(passages(sounds[0], 0, 8), 0, 8), made[0])
    assert whole.encoded == KEPT + 2, "the least recently used one was given up"


@pytest.fixture(scope="module")
def engine(small: Path) -> Iterator[MuseTalkLipSync]:
    found = MuseTalkLipSync(scene.config(small))
    found.load(quiet)
    yield found
    found.close()


@pytest.fixture(scope="module")
def template(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return scene.write(tmp_path_factory.mktemp("templates"), scene.config(small))


def item(template: Template, pcm: np.ndarray, first: int, frames: int, start: int = 0) -> SpeechWindow:
    more = {"passages": passages(pcm, first, frames), "exact": True}
    return window(template, pcm, [], first, frames, start, **more)


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())


def test_any_cut_gives_the_same_crops_also_across_a_border(engine: MuseTalkLipSync, template: Template) -> None:
    pcm = turn(31 * SAMPLE_RATE)
    first = 736  # the border is at frame 750
    whole = rendered(engine, item(template, pcm, first, 32))
    streamed = rendered(engine, window(template, pcm, [], first, 32))
    assert apart(whole, streamed) > 1, "the features are others"
    for plan in ([8, 8, 8, 8], [16, 16], [8, 24]):
        at, parts = first, []
        for frames in plan:
            parts.append(rendered(engine, item(template, pcm, at, frames)))
            at += frames
        assert apart(np.concatenate(parts), whole) <= 1, plan
    rest = rendered(engine, item(template, pcm, first, 32, start=13))
    assert apart(rest, whole[13:]) <= 1


def test_a_face_that_is_not_finite_is_an_error_for_quality_max_alone(small: Path, template: Template) -> None:
    engine = MuseTalkLipSync(scene.config(small, max_batch=2))
    engine.load(quiet)
    assert engine._generator is not None
    bias = dict(engine._generator._decoder.named_parameters())["conv_out.bias"]
    with torch.inference_mode():
        bias[0] = float("nan")
    pcm = turn(SAMPLE_RATE)
    rendered(engine, window(template, pcm, [], 0, 8))
    with pytest.raises(EngineError, match="not finite"):
        rendered(engine, item(template, pcm, 0, 8))
    engine.close()
