"""Batch sizes, the gate and the boxes: pure policy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.musetalk.batching import RETRY_S, BucketLimit, split
from models.musetalk.engine import sources
from models.musetalk.gate import HOLD, schmitt, weights
from tests.engines.musetalk.test_audio import item, turn

BUCKETS = (1, 2, 4, 8, 16, 32)


@given(st.integers(0, 200), st.sampled_from([BUCKETS, (1,), (1, 4, 16)]))
def test_every_frame_is_in_one_batch_and_little_is_padding(count: int, buckets: tuple[int, ...]) -> None:
    parts = split(count, buckets)
    assert sum(frames for frames, _ in parts) == count
    assert all(0 < frames <= size and size in buckets for frames, size in parts)
    assert sum(size for _, size in parts) <= count * 4 / 3


def test_a_batch_is_filled_up_rather_than_cut_into_crumbs() -> None:
    assert split(7, BUCKETS) == [(7, 8)]
    assert split(17, BUCKETS) == [(16, 16), (1, 1)]
    assert split(25, BUCKETS) == [(25, 32)]


def test_out_of_memory_shrinks_the_batch_and_the_larger_one_is_tried_again_later() -> None:
    limit = BucketLimit(BUCKETS)
    assert limit.usable(0)[-1] == 32
    assert limit.failed(32, 0) == 16
    assert limit.failed(16, 1) == 8
    assert limit.usable(2)[-1] == 8
    assert limit.usable(1 + RETRY_S)[-1] == 16
    assert limit.usable(2 + RETRY_S)[-1] == 16
    assert limit.usable(1 + 2 * RETRY_S)[-1] == 32
    assert limit.failed(1, 0) == 0


@pytest.mark.parametrize("frames", [8, 32])
@pytest.mark.parametrize("skip", [2, 4])
def test_every_other_or_fourth_frame_is_generated_and_the_rest_lies_between_two(frames: int, skip: int) -> None:
    plan = [sources(k, frames, skip) for k in range(frames)]
    generated = {k for k in range(frames) if plan[k] == (k,)}
    assert len(generated) == frames // skip + 1
    for k in set(range(frames)) - generated:
        before, after = plan[k]
        assert {before, after} <= generated
        assert k // skip * skip == before < k < after <= before + skip
    assert [sources(k, frames, 1) for k in range(frames)] == [(k,) for k in range(frames)]


def test_the_gate_opens_at_once_and_shuts_after_a_pause() -> None:
    loud = np.zeros(100, bool)
    loud[10:20] = loud[35:40] = True
    quiet = ~loud
    gate = schmitt(loud, quiet, HOLD)
    assert np.array_equal(np.flatnonzero(gate), np.arange(10, 40 + HOLD))
    between = np.zeros(100, bool)
    assert not schmitt(between, between, HOLD).any()
    assert schmitt(loud, between, HOLD)[10:].all()


def slow_gate(loud: np.ndarray, quiet: np.ndarray, hold: int) -> list[bool]:
    opened, run, out = False, 0, []
    for a, b in zip(loud, quiet, strict=True):
        run = run + 1 if b else 0
        opened = True if a else opened and run <= hold
        out.append(opened)
    return out


@given(st.lists(st.sampled_from([0, 1, 2]), max_size=80), st.integers(0, 5))
def test_the_gate_is_the_loop_that_it_stands_for(levels: list[int], hold: int) -> None:
    values = np.array(levels, int)
    loud, quiet = values == 2, values == 0
    assert schmitt(loud, quiet, hold).tolist() == slow_gate(loud, quiet, hold)


def test_weights_rest_in_pauses_and_do_not_depend_on_the_cut() -> None:
    pcm = turn(5.1)
    pcm[48_000 : int(2.2 * 48_000)] = 0
    whole = weights(item(pcm, 0, 136))
    for plan in ([8] * 17, [8, 8, 16, 32, 32, 40]):
        first, parts = 0, []
        for frames in plan:
            parts.append(weights(item(pcm, first, frames)))
            first += frames
        assert np.array_equal(np.concatenate(parts), whole)
    assert whole[0] < 0.5
    assert whole[8:20].min() == 1
    pause = np.flatnonzero(whole[20:60] == 0) + 20
    assert 25 < pause[0] <= 25 + 9
    assert pause[-1] >= 52
    assert (whole[128:] == 0).all()
    ramps = np.abs(np.diff(whole))
    assert ramps.max() < 0.4
    assert ((whole > 0) & (whole < 1)).sum() >= 3 * 3
    assert (weights(item(np.zeros(48_000, np.int16), 0, 24)) == 0).all()
