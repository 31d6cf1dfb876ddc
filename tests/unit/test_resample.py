"""The resampler: any cut gives the same samples, clean spectra, exact positions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.media.positions import (
    HISTORY,
    OUTPUT_RATE,
    SAMPLE_BYTES,
    input_needed,
    output_length,
    output_ready,
    reach,
)
from models.media.resample import decode, resample

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 47999, 48000, 96000, 176400, 192000]


def to_mono48(
    data: bytes, rate: int, channels: int, encoding: str, start: int, out_from: int, out_to: int
) -> NDArray[np.int16]:
    return resample(decode(data, channels, encoding), start, rate, out_from, out_to)


def tone(rate: int, hertz: float, seconds: float = 0.5, level: float = 16000.0) -> NDArray[np.int16]:
    time = np.arange(int(rate * seconds)) / rate
    return np.rint(np.sin(2 * np.pi * hertz * time) * level).astype(np.int16)


def whole(pcm: NDArray[np.int16], rate: int, channels: int = 1, encoding: str = "s16le") -> NDArray[np.int16]:
    frames = pcm.nbytes // (SAMPLE_BYTES[encoding] * channels)
    return to_mono48(pcm.tobytes(), rate, channels, encoding, 0, 0, output_length(frames, rate))


def decibel(part: NDArray[np.float64], full: float) -> float:
    return float(20 * np.log10(max(np.sqrt(np.mean(part**2)), 1e-9) / (full / np.sqrt(2))))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([1, 2, 3]),
    cuts=st.lists(st.integers(0, 100_000), max_size=6),
    extra=st.integers(0, 50),
    seed=st.integers(0, 9),
)
def test_any_cut_gives_the_same_samples(rate: int, channels: int, cuts: list[int], extra: int, seed: int) -> None:
    frames = rate // 8
    rng = np.random.default_rng(seed)
    pcm = rng.integers(-32768, 32767, (frames, channels), dtype=np.int16)
    total = output_length(frames, rate)
    full = to_mono48(pcm.tobytes(), rate, channels, "s16le", 0, 0, total)
    edges = sorted({0, total, *(cut % (total + 1) for cut in cuts)})
    parts = []
    for low, high in itertools.pairwise(edges):
        first, end = input_needed(low, high, rate)
        first = max(0, first - extra)
        data = pcm[first : end + extra].tobytes()
        parts.append(to_mono48(data, rate, channels, "s16le", first, low, high))
    assert np.array_equal(np.concatenate(parts), full)


@settings(max_examples=30, deadline=None)
@given(rate=st.sampled_from(RATES), pushes=st.lists(st.integers(1, 4000), min_size=1, max_size=8))
def test_a_stream_gives_what_the_whole_gives(rate: int, pushes: list[int]) -> None:
    """What ``output_ready`` calls ready never changes when more input arrives."""
    pcm = np.random.default_rng(1).integers(-32768, 32767, sum(pushes), dtype=np.int16)
    full = whole(pcm, rate)
    have, made, parts = 0, 0, []
    for index, push in enumerate(pushes):
        have += push
        ready = output_ready(have, rate, ended=index == len(pushes) - 1)
        assert ready >= made
        first, end = input_needed(made, ready, rate)
        parts.append(to_mono48(pcm[first : min(end, have)].tobytes(), rate, 1, "s16le", first, made, ready))
        made = ready
    assert np.array_equal(np.concatenate(parts), full)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_level_and_phase(rate: int) -> None:
    out = whole(tone(rate, 997.0), rate).astype(np.float64)
    wanted = 16000 * np.sin(2 * np.pi * 997.0 * np.arange(len(out)) / OUTPUT_RATE)
    middle = slice(1000, -1000)
    assert decibel(out[middle] - wanted[middle], 16000) < -75


@pytest.mark.parametrize("rate", [96000, 176400, 192000])
def test_what_48_khz_cannot_hold_is_rejected_by_60_db(rate: int) -> None:
    for hertz in np.linspace(24_500, rate / 2 - 500, 12):
        assert decibel(whole(tone(rate, hertz), rate)[500:-500].astype(np.float64), 16000) < -60


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100])
def test_images_above_the_input_band_are_rejected_by_60_db(rate: int) -> None:
    for hertz in np.linspace(100, rate / 2 * 0.95, 12):
        out = whole(tone(rate, hertz), rate)[1000:-1000].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(out * np.blackman(len(out)))) / (0.42 * len(out) / 2)
        above = np.fft.rfftfreq(len(out), 1 / OUTPUT_RATE) > rate - hertz - 200
        if above.any():
            assert 20 * np.log10(spectrum[above].max() / 16000) < -60, hertz


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_the_pass_band_is_flat(rate: int) -> None:
    for hertz in np.linspace(200, rate / 2 * 0.82, 8):
        level = decibel(whole(tone(rate, hertz), rate)[1000:-1000].astype(np.float64), 16000)
        assert abs(level) < 0.1, hertz


def test_48_khz_mono_comes_through_bit_for_bit() -> None:
    pcm = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(whole(pcm, 48000), pcm)


@pytest.mark.parametrize("rate", RATES)
def test_silence_stays_silence_and_a_constant_stays_constant(rate: int) -> None:
    assert not whole(np.zeros(rate // 4, np.int16), rate).any()
    middle = whole(np.full(rate // 4, 12345, np.int16), rate)[2000:-2000]
    assert (middle == 12345).all()


def test_full_scale_clips_instead_of_wrapping() -> None:
    square = np.where(np.arange(4000) // 40 % 2, 32767, -32768).astype(np.int16)
    out = whole(square, 16000).astype(np.int64)
    period = np.repeat(square, 3).astype(np.int64)
    assert (np.sign(out) == np.sign(period))[100:-100].mean() > 0.9


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        ("u8", np.array([0, 64, 128, 192], np.uint8).tobytes()),
        ("s16le", np.array([-32768, -16384, 0, 16384], "<i2").tobytes()),
        (
            "s24le",
            b"".join(int(v).to_bytes(3, "little", signed=True) for v in (-8388608, -4194304, 0, 4194304)),
        ),
        ("s32le", np.array([-(2**31), -(2**30), 0, 2**30], "<i4").tobytes()),
        ("f32le", np.array([-1.0, -0.5, 0.0, 0.5], "<f4").tobytes()),
    ],
)
def test_every_encoding_has_the_same_scale(encoding: str, raw: bytes) -> None:
    wanted = np.array([-8388608, -4194304, 0, 4194304])
    assert np.abs(decode(raw, 1, encoding) - wanted).max() <= 1
    stereo = decode(raw, 2, encoding)
    assert np.abs(stereo - wanted.reshape(2, 2).mean(axis=1)).max() <= 1


def test_floats_that_are_not_numbers_are_silence_and_loud_ones_clip() -> None:
    raw = np.array([np.nan, np.inf, -np.inf, 7.0], "<f4").tobytes()
    assert decode(raw, 1, "f32le").tolist() == [0, 8388607, -8388607, 8388607]


def test_the_end_of_a_turn_is_exact() -> None:
    assert output_length(16000, 16000) == 48000
    assert output_length(1, 44100) == 2
    assert output_ready(16000, 16000, ended=True) == 48000
    assert output_ready(16000, 16000, ended=False) == 48000 - 3 * reach(16000)
    assert output_ready(10, 16000, ended=False) == 0
    assert all(reach(rate) <= HISTORY for rate in range(8000, 192001, 500))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: decode(b"", 1, "mp3"), "mp3"),
        (lambda: decode(b"", 9, "s16le"), "9 channels"),
        (lambda: resample(np.zeros(9), 0, 7000, 0, 9), "7000"),
        (lambda: resample(np.zeros(9), 0, 16000, 9, 0), "range"),
    ],
)
def test_a_wrong_argument_is_named(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=words):
        call()
