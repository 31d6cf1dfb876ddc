"""Parity of the audio side: A1 to A5, with transformers as the oracle where it is installed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from models.api import (
    FRAME_SAMPLES,
    FRAME_US,
    FUTURE_US,
    PASSAGE_MARGIN,
    PAST_US,
    SAMPLE_RATE,
    Passage,
    SpeechWindow,
)
from models.musetalk.audio import (
    log_mel,
    mel_filters,
    one_shot,
    positional_encoding,
    window_start,
    windows,
)
from models.musetalk.stream import FeatureStream, quanta, to_16k
from models.musetalk.whisper import Encoder
from models.musetalk.whole import WholeFeatures
from tests.engines.musetalk.checkpoints import TINY_WHISPER, tiny

FPS = Fraction(25)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of coloured noise and harmonics at 16 kHz."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16_000)) / 16_000
    voice = sum(np.sin(2 * np.pi * (120 + 25 * np.sin(2 * np.pi * 0.7 * t)) * k * t) / k for k in range(1, 20))
    level = np.clip(np.sin(2 * np.pi * 3.1 * t) + 0.3, 0, 1) * (t % 1.7 < 1.4)
    return (level * (0.1 * voice + 0.02 * random.standard_normal(len(t)))).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    module = tiny("whisper", 2)
    assert isinstance(module, Encoder)
    return module


@pytest.mark.parametrize("seconds", [0.0, 0.5, 7.3, 30.0])
def test_a1_log_mel_is_whispers(seconds: float) -> None:
    oracle = pytest.importorskip("transformers").WhisperFeatureExtractor()
    samples = noise(seconds) if seconds else np.zeros(1600, np.float32)
    wanted = oracle(samples, sampling_rate=16_000, return_tensors="np").input_features
    found = log_mel(samples).numpy()
    assert found.shape == (1, 80, 3000)
    assert np.abs(found - wanted).max() <= 2e-5
    assert np.abs(found - wanted).mean() <= 6e-7
    if not seconds:
        assert np.all(found == -1.5)


def test_the_filters_are_slaneys() -> None:
    filters = mel_filters().astype(np.float64)
    assert filters.shape == (80, 201)
    # Unit area: each triangle's height is 2 over its width in Hz.
    assert filters.sum(axis=1)[30:] * 40 == pytest.approx(1, abs=0.08)
    assert (np.diff(filters.argmax(axis=1)) >= 0).all()


def test_a2_hidden_states_are_whispers(encoder: Encoder) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(**TINY_WHISPER, decoder_layers=1, vocab_size=16, pad_token_id=0)
    oracle = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    oracle.load_state_dict(encoder.state_dict())
    mel = log_mel(noise(3.0))
    with torch.inference_mode():
        wanted = torch.stack(oracle(mel, output_hidden_states=True).hidden_states, dim=2)
        found = encoder(mel)
    assert found.shape == (1, 1500, 5, 384)
    assert (found - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("samples", [16_000, 480_000, 480_001, 976_000])
def test_a3_windows_at_25_fps(samples: int) -> None:
    steps = samples * 50 // 16_000
    states = torch.arange(steps * 5, dtype=torch.float32).reshape(steps, 5, 1)
    count = samples * 25 // 16_000
    found = windows(states, FPS, 0, count)
    assert found.shape == (count, 50, 1)
    # The published recipe: 4 zero steps before, 12 after, ten steps from 2f.
    padded = torch.cat([torch.zeros(4, 5, 1), states, torch.zeros(12, 5, 1)])
    wanted = torch.stack([padded[2 * f : 2 * f + 10].reshape(50, 1) for f in range(count)])
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(30), Fraction(60), FPS])
def test_windows_stay_centred_at_any_rate(fps: Fraction) -> None:
    for frame in (0, 1, 999, 100_000):
        middle = window_start(frame, fps) + 5
        assert abs(middle - (frame + Fraction(1, 2)) * 50 / fps) <= Fraction(1, 2)
    assert [window_start(f, FPS) for f in range(4)] == [-4, -2, 0, 2]


def test_a4_positional_encoding() -> None:
    found = positional_encoding(384)
    position = np.arange(50)[:, None]
    angle = position * 10000 ** (-np.arange(0, 384, 2) / 384)
    wanted = np.empty((50, 384))
    wanted[:, 0::2], wanted[:, 1::2] = np.sin(angle), np.cos(angle)
    assert np.abs(found.numpy() - wanted).max() <= 1e-5
    assert found.dtype == torch.float32


# --- streaming ----------------------------------------------------------------------------------------------


def turn(seconds: float) -> np.ndarray:
    """48 kHz s16."""
    at16 = noise(seconds).astype(np.float64)
    n = int(seconds * SAMPLE_RATE)
    return (np.interp(np.arange(n) / 3, np.arange(len(at16)), at16) * 32767).astype(np.int16)


def item(pcm: np.ndarray, first: int, frames: int, start: int = 0, peak: float | None = None) -> SpeechWindow:
    """As the broker makes it; ``peak`` overrules the loudest sample before the segment."""
    past, future = PAST_US * 48 // 1000, FUTURE_US * 48 // 1000
    padded = np.concatenate([np.zeros(past, np.int16), pcm, np.zeros(future + 64 * FRAME_SAMPLES, np.int16)])
    begin = first * FRAME_US
    end = len(pcm) * 1000 // 48 - begin
    at = first * FRAME_SAMPLES
    if peak is None:
        peak = float(np.abs(pcm[:at].astype(np.int32)).max(initial=0)) / 32768
    return SpeechWindow(
        template=None,  # type: ignore[arg-type]
        frame0=first, frames=frames, start=start, phonemes=[], words=[], peak=peak,
        pcm=padded[at : at + past + frames * FRAME_SAMPLES + future],
        speech_from_us=-begin, speech_to_us=end if end <= frames * FRAME_US + FUTURE_US else None,
    )  # fmt: skip


def streamed(stream: FeatureStream, pcm: np.ndarray, plan: list[int], peak: float | None = None) -> torch.Tensor:
    first, parts = 0, []
    for frames in plan:
        parts.append(stream.windows(quanta(item(pcm, first, frames, peak=peak)))[:frames])
        first += frames
    return torch.cat(parts)


def test_any_cut_of_a_turn_gives_the_same_features(encoder: Encoder) -> None:
    pcm = turn(3.9)
    pcm[:SAMPLE_RATE] //= 4  # it grows louder, so the floor moves within the turn
    stream = FeatureStream(encoder, 160)
    whole = streamed(stream, pcm, [96])
    for plan in ([8] * 12, [8, 8, 16, 64], [24, 40, 32]):
        assert (streamed(stream, pcm, plan) - whole).abs().max() <= 1e-5


def test_going_on_inside_a_segment_plans_only_what_is_left(encoder: Encoder) -> None:
    pcm = turn(2.0)
    stream = FeatureStream(encoder, 160)
    whole = stream.windows(quanta(item(pcm, 8, 32)))
    rest = stream.windows(quanta(item(pcm, 8, 32, start=13)))
    assert (rest - whole[8:]).abs().max() <= 1e-5


def one_shot_windows(encoder: Encoder, pcm: np.ndarray, frames: int) -> torch.Tensor:
    return windows(one_shot(encoder, to_16k(pcm)), FPS, 0, frames)


def test_a5_streamed_features_follow_those_of_the_whole_turn(encoder: Encoder) -> None:
    pcm = turn(2.6)
    frames = 64
    wanted = one_shot_windows(encoder, pcm, frames)
    found = streamed(FeatureStream(encoder), pcm, [8, 8, 16, 32])
    cosine = torch.nn.functional.cosine_similarity(found.flatten(1), wanted.flatten(1))
    # Random weights attend to everything alike, so what a stream cannot know yet weighs more than it should.
    assert cosine[4:-4].min() >= 0.95
    assert cosine.mean() >= 0.97


def test_a_click_moves_only_the_frames_whose_window_covers_it(encoder: Encoder) -> None:
    quiet = (turn(1.28) // 8).astype(np.int16)
    clicked = quiet.copy()
    at = int(0.6 * SAMPLE_RATE)
    clicked[at : at + 48] += 20_000
    stream = FeatureStream(encoder)
    layer0 = [
        streamed(stream, pcm, [8] * 4, peak=0.8).reshape(32, 10, 5, -1)[:, :, 0] for pcm in (quiet, clicked)
    ]  # the embedded input alone has no attention, so its reach is exact
    moved = torch.nonzero((layer0[0] - layer0[1]).abs().amax(dim=(1, 2)) > 1e-4).flatten().tolist()
    # Step 30 is at 0.6 s; its convolutions reach two steps either way; windows are [2f - 4, 2f + 6).
    expected = [f for f in range(32) if any(2 * f - 4 <= s < 2 * f + 6 for s in range(29, 32))]
    assert set(expected) <= set(moved)
    assert set(moved) <= {f for f in range(32) if 2 * f - 4 <= 32 and 2 * f + 6 > 28}


def test_segment_joints_are_no_rougher_than_the_inside(encoder: Encoder) -> None:
    found = streamed(FeatureStream(encoder, 320), turn(6.4), [8] * 20)
    change = (found[1:] - found[:-1]).abs().mean(dim=(1, 2))
    joints = torch.zeros(len(change), dtype=torch.bool)
    joints[7::8] = True
    ratio = change[joints].mean() / change[~joints].mean()
    assert ratio <= 1.1


def test_sound_is_exact_whatever_the_networks_are_set_to() -> None:
    """TF32 would put noise 60 dB below the speech into a log-mel that reaches down to 80 dB."""
    backends = torch.backends
    before = backends.cudnn.benchmark, backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    seen: list[tuple[bool, bool, bool]] = []
    encoder = tiny("whisper")

    def flags(*_: object) -> None:
        seen.append((backends.cudnn.benchmark, backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32))

    encoder.register_forward_pre_hook(flags)
    assert isinstance(encoder, Encoder)
    pcm = turn(0.32)
    passage = Passage(0, np.pad(pcm, PASSAGE_MARGIN))
    try:
        backends.cudnn.benchmark = backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = True
        FeatureStream(encoder, 160).windows(quanta(item(pcm, 0, 8)))
        WholeFeatures(encoder).windows([passage], 0, 8)
        flags()
    finally:
        backends.cudnn.benchmark, backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before
    assert seen == [(False, False, False), (False, False, False), (True, True, True)]
