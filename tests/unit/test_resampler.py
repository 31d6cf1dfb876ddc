"""Microphone rates to 16 kHz."""

from __future__ import annotations

import numpy as np
import pytest

from configs.grid import ASR_RATE as RATE
from models.media.resample import Resampler
from tests.support.hearing import Pcm

RATES = [8000, 11025, 12345, 16000, 22050, 32000, 44100, 48000, 96000]


def tone(hz: float, rate: int, seconds: float = 1.0) -> Pcm:
    return (8000 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def whole(pcm: Pcm, rate: int) -> Pcm:
    resampler = Resampler(rate, RATE)
    return np.concatenate([resampler.feed(pcm), resampler.flush(len(pcm))])


@pytest.mark.parametrize("rate", RATES)
def test_positions_are_exact(rate: int) -> None:
    made = whole(tone(1000, rate), rate)
    assert abs(len(made) - RATE) <= 1
    wanted = tone(1000, RATE)
    inner = slice(400, RATE - 400)
    assert np.abs(made[inner].astype(int) - wanted[inner]).max() <= 8  # of 8000


@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_what_16_khz_cannot_hold_is_gone(rate: int) -> None:
    made = whole(tone(10_000, rate), rate)[400:-400]
    assert np.abs(made.astype(int)).max() < 80


@pytest.mark.parametrize("rate", RATES)
def test_the_cut_of_the_audio_changes_nothing(rate: int) -> None:
    pcm = np.random.default_rng(1).integers(-9000, 9000, rate).astype(np.int16)
    resampler, pieces, at = Resampler(rate, RATE), [], 0
    for size in np.random.default_rng(2).integers(0, 900, 10_000):
        pieces.append(resampler.feed(pcm[at : at + size]))
        at += int(size)
        if at >= len(pcm):
            break
    pieces.append(resampler.flush(len(pcm)))
    assert np.array_equal(np.concatenate(pieces), whole(pcm, rate))


@pytest.mark.parametrize("rate", RATES)
def test_a_flush_in_the_middle_keeps_the_positions(rate: int) -> None:
    pcm = tone(500, rate)
    resampler, half = Resampler(rate, RATE), rate // 2
    pieces = [resampler.feed(pcm[:half]), resampler.flush(half)]
    assert sum(map(len, pieces)) == -(-half * RATE // rate)
    pieces += [resampler.feed(pcm[half:]), resampler.flush(rate)]
    made = np.concatenate(pieces)
    wanted = whole(pcm, rate)
    assert len(made) == len(wanted)
    middle = RATE // 2
    assert np.array_equal(made[: middle - 200], wanted[: middle - 200])
    assert np.array_equal(made[middle + 200 :], wanted[middle + 200 :])


@pytest.mark.parametrize("rate", [0, -16000, 7999, 200_000])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="Hz"):
        Resampler(rate, RATE)
