"""Passages of 30 s: which are complete, which a segment is made from, what of them is carried."""

from __future__ import annotations

import pytest

from broker.media.passages import PASSAGE, REACH, bounds, complete, needed_from, touched
from broker.media.segment_plan import quanta_ready
from configs.grid import QUANTUM_SAMPLES

MARGIN = 48


def test_a_passage_is_complete_with_its_margin() -> None:
    assert PASSAGE == 30 * 48_000
    assert [complete(n) for n in (0, PASSAGE, PASSAGE + MARGIN - 1)] == [0, 0, 0]
    assert [complete(n) for n in (PASSAGE + MARGIN, 2 * PASSAGE + MARGIN)] == [PASSAGE, 2 * PASSAGE]


@pytest.mark.parametrize("end", [1, PASSAGE, PASSAGE + 1, 61 * 48_000])
def test_every_frame_finds_all_that_its_window_covers(end: int) -> None:
    """Windows are the steps [2f - 4, 2f + 6) of 960 samples; what lies outside the turn is not carried."""
    for first in range(0, end, QUANTUM_SAMPLES):
        low, high = max(0, first - 4 * 960), min(first + QUANTUM_SAMPLES + 4 * 960, end)
        assert list(touched(first, QUANTUM_SAMPLES, end)) == sorted({at // PASSAGE for at in (low, high - 1)})


def test_only_segments_whose_passages_are_complete_are_ready() -> None:
    known = complete(PASSAGE + MARGIN)
    ready = quanta_ready(known, 0, REACH, ended=False)
    assert touched(0, ready * QUANTUM_SAMPLES, 1 << 40) == range(1)
    assert touched(0, (ready + 1) * QUANTUM_SAMPLES, 1 << 40) == range(2)
    assert quanta_ready(complete(PASSAGE), 0, REACH, ended=False) == 0


def test_what_is_carried_ends_with_the_turn_and_is_kept_until_nothing_needs_it() -> None:
    assert bounds(0, 5) == (-MARGIN, 5 + MARGIN)
    assert bounds(1, 1 << 40) == (PASSAGE - MARGIN, 2 * PASSAGE + MARGIN)
    for first in range(0, 3 * PASSAGE, QUANTUM_SAMPLES):
        assert needed_from(first) == bounds(touched(first, QUANTUM_SAMPLES, 1 << 40).start, 1 << 40)[0]
