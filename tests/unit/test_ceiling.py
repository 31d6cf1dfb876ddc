"""The ceiling over any second, and when an encoder takes the lighter way: policy alone."""

from __future__ import annotations

import math
import random

import pytest

from models.media.ceiling import OPENING, RATE, Allowance, fit, steps
from models.media.headroom import BUSY, FREE, HOLD_S, WINDOW_S, Headroom

KBPS = 800
SECOND = KBPS * 1000 // 8
FRAMES_A_SECOND = 25


def segment(random_: random.Random, frames: int) -> list[int] | None:
    """Sizes as an encoder would give them, None where they do not fit."""
    scale = random_.choice((0.2, 0.5, 0.8, 1.0, 1.2))
    allowance = Allowance(KBPS, [0] * frames)
    sizes = []
    for k in range(frames):
        mean = OPENING * SECOND if k == 0 else RATE * SECOND
        sizes.append(int(mean * scale * random_.uniform(0.3, 1.6)))
        if allowance.excess(sizes[-1]):
            return None
    return sizes


def test_whatever_segments_follow_each_other_no_second_is_above_the_ceiling() -> None:
    random_ = random.Random(3)
    made = [segment(random_, random_.choice((8, 8, 16, 24, 32))) for _ in range(4000)]
    fitting = [sizes for sizes in made if sizes]
    assert 200 < len(fitting) < 3800, "both kinds are there"
    heaviest = sorted(fitting, key=lambda sizes: -sum(sizes) / len(sizes))[:200]
    for _ in range(20):
        stream = [size for sizes in random_.choices(heaviest, k=12) for size in sizes]
        most = max(sum(stream[at : at + FRAMES_A_SECOND]) for at in range(len(stream) - FRAMES_A_SECOND))
        assert most <= SECOND
    assert max(sum(sizes) / len(sizes) for sizes in fitting) > 0.6 * SECOND / FRAMES_A_SECOND, "and it is used"


def test_a_key_frame_that_is_too_large_is_told_at_once() -> None:
    allowance = Allowance(KBPS, [0] * 8)
    assert allowance.excess(2 * round((OPENING + RATE) * SECOND)) == pytest.approx(2, rel=0.01)


def test_a_segment_that_cannot_give_back_what_it_took_is_told_before_its_end() -> None:
    frames = 32
    allowance = Allowance(KBPS, [0] * frames)
    sizes = [round(OPENING * SECOND), *[round(1.2 * RATE * SECOND)] * (frames - 1)]
    told = [allowance.excess(size) > 1 for size in sizes]
    assert not told[0]
    assert told[:-1].index(True) < frames - 1


def test_sound_and_boxes_count() -> None:
    with_sound = Allowance(KBPS, [round(RATE * SECOND / 2)] * 8)
    without = Allowance(KBPS, [0] * 8)
    key, rest = round(0.1 * SECOND), [round(0.6 * RATE * SECOND)] * 7
    assert not any(without.excess(size) for size in (key, *rest))
    assert any(with_sound.excess(size) for size in (key, *rest))


def test_a_ceiling_below_the_sound_alone_is_infinitely_exceeded() -> None:
    assert Allowance(KBPS, [SECOND] * 8).excess(1) == math.inf


@pytest.mark.parametrize("size_of", [1, 30, 10_000])
def test_the_search_ends_with_what_fits_or_with_the_coarsest(size_of: int) -> None:
    """Pictures that become 13 % smaller with each step."""
    tried = []

    def attempt(quantiser: int, anyway: bool) -> list[bytes] | float:
        tried.append(quantiser)
        ratio = size_of * 0.87 ** (quantiser - 20)
        return ratio if ratio > 1 and not anyway else [b""]

    made = fit(20, 56, attempt)
    assert made is not None
    assert made.fits == (size_of * 0.87**36 <= 1)
    assert made.quantiser == (56 if not made.fits else tried[-1])
    assert len(tried) <= 10
    assert tried == sorted(tried)


def test_a_cancelled_attempt_is_the_end_of_the_search() -> None:
    assert fit(20, 56, lambda *_: None) is None


def test_steps_are_at_least_one_and_never_without_end() -> None:
    assert steps(1.0001) == 1
    assert steps(2.0) == 6
    assert steps(math.inf) <= 60


# --- the lighter way ----------------------------------------------------------------------------------------


def work(headroom: Headroom, begin: float, seconds: float, share: float) -> float:
    """A segment every 0.32 s that takes this share of the time."""
    now = begin
    while now < begin + seconds:
        now += 0.32
        headroom.worked(0.32 * share, now)
    return now


def test_it_gives_in_when_it_is_busy_and_takes_it_back_when_it_has_time() -> None:
    headroom = Headroom(0.0)
    now = work(headroom, 0.0, HOLD_S - 1, 0.95)
    assert not headroom.short, "not before it has been looked at for some time"
    now = work(headroom, now, 2, 0.95)
    assert headroom.short
    now = work(headroom, now, HOLD_S - 3, 0.1)
    assert headroom.short, "it stays with what it has chosen"
    work(headroom, now, 4, 0.1)
    assert not headroom.short


def test_between_the_two_shares_nothing_changes() -> None:
    between = (BUSY + FREE) / 2
    headroom = Headroom(0.0)
    now = work(headroom, 0.0, 3 * HOLD_S, between)
    assert not headroom.short
    now = work(headroom, now, 2 * HOLD_S, 0.95)
    work(headroom, now, 3 * HOLD_S, between)
    assert headroom.short


def test_one_long_segment_after_a_quiet_time_is_no_lack_of_time() -> None:
    headroom = Headroom(0.0)
    headroom.worked(2.0, 10 * WINDOW_S)
    assert not headroom.short
