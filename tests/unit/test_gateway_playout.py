"""When a WebRTC viewer is sent what."""

from __future__ import annotations

import numpy as np
import pytest

from clients.gateway.webrtc.playout import DELAY_US, SOUND_US, Frame, Playout, Unpacked

QUANTUM = 320_000
FRAME = 40_000
MOST = 5_000_000


def segment(pts: int, *, gen: int = 0, turn: int = 1, level: int = 1000) -> Unpacked:
    frames = [Frame(pts + at * FRAME, b"%d" % (pts + at * FRAME), turn) for at in range(8)]
    return Unpacked(gen, pts, QUANTUM, frames, np.full(15_360, level, np.int16))


def shown(playout: Playout, until: int) -> list[tuple[int, int]]:
    """When each picture was due, and its pts."""
    found = []
    while (taken := playout.take(until)) is not None:
        found.append((taken[0], taken[1].pts))
    return found


def test_pictures_and_sound_are_due_by_the_clock_of_the_session() -> None:
    playout = Playout(clock=QUANTUM, now=1_000_000, most=MOST)
    assert not playout.wants(0, 0)  # what was before the viewer came
    playout.add(segment(QUANTUM), 1_000_000)
    first = 1_000_000 + DELAY_US
    assert playout.next_due == first
    assert playout.take(first - 1) is None
    assert shown(playout, first + QUANTUM) == [(first + at * FRAME, QUANTUM + at * FRAME) for at in range(8)]
    assert not playout.sound(first - SOUND_US).any()
    assert (playout.sound(first) == 1000).all()
    half = playout.sound(first + QUANTUM - SOUND_US // 2)
    assert (half[:480] == 1000).all()
    assert not half[480:].any()


def test_consecutive_segments_have_no_gap_and_late_ones_move_the_clock_on() -> None:
    playout = Playout(0, 0, MOST)
    playout.add(segment(0), 0)
    playout.add(segment(QUANTUM), 100_000)
    dues = [due for due, _ in shown(playout, 10_000_000)]
    assert np.diff(dues).tolist() == [FRAME] * 15
    late = 2_000_000
    playout.add(segment(2 * QUANTUM), late)
    assert playout.next_due == late + DELAY_US
    assert (playout.sound(late + DELAY_US) == 1000).all()


def test_a_cut_is_silence_at_once_and_the_picture_goes_on_to_where_it_is() -> None:
    playout = Playout(0, 0, MOST)
    for pts in (0, QUANTUM, 2 * QUANTUM):
        playout.add(segment(pts), 0)
    playout.cut(QUANTUM)
    fading = playout.sound(DELAY_US + 100_000)
    assert fading[0] == 1000
    assert fading[-1] == 0
    assert not playout.sound(DELAY_US + 120_000).any()
    playout.add(segment(QUANTUM, gen=1, turn=2, level=500), 150_000)
    assert not playout.wants(0, 2 * QUANTUM)
    seen = shown(playout, 10_000_000)
    assert [pts for _, pts in seen] == list(range(0, 2 * QUANTUM, FRAME))
    assert np.diff([due for due, _ in seen]).tolist() == [FRAME] * 15
    assert playout.turn == 2
    assert (playout.sound(DELAY_US + QUANTUM) == 500).all()


@pytest.mark.parametrize("told", [3 * QUANTUM, 4 * QUANTUM])
def test_a_cut_of_what_is_not_yet_published_changes_nothing(told: int) -> None:
    playout = Playout(0, 0, MOST)
    for pts in (0, QUANTUM, 2 * QUANTUM):
        playout.add(segment(pts), 0)
    playout.cut(told)
    assert (playout.sound(DELAY_US) == 1000).all()
    assert len(shown(playout, 10_000_000)) == 24


def test_a_cut_that_no_event_told_is_seen_by_the_generation() -> None:
    playout = Playout(0, 0, MOST)
    playout.add(segment(0), 0)
    playout.add(segment(QUANTUM), 0)
    playout.add(segment(QUANTUM, gen=1, turn=2, level=500), 0)
    assert [pts for _, pts in shown(playout, 10_000_000)] == list(range(0, 2 * QUANTUM, FRAME))


def test_more_than_is_allowed_is_never_held() -> None:
    playout = Playout(0, 0, MOST)
    for number in range(100):
        playout.add(segment(number * QUANTUM), 0)
    assert playout.skipped
    pictures = shown(playout, 1 << 40)
    assert len(pictures) * FRAME <= MOST
    assert pictures[-1][1] == 100 * QUANTUM - FRAME
    assert pictures[0][0] == DELAY_US
