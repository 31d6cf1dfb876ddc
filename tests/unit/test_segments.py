"""Segments: whole quanta, short ones first, nothing left over."""

from hypothesis import given
from hypothesis import strategies as st

from broker.media.segment_plan import quanta_ready, segment_quanta
from configs.grid import QUANTUM_SAMPLES

AHEAD = 3_840


def test_the_first_segment_is_one_quantum_and_they_grow() -> None:
    lengths = [segment_quanta(i, 100, 4, flush=False) for i in range(6)]
    assert lengths == [1, 1, 2, 4, 4, 4]


def test_a_steady_segment_waits_for_three_quanta_unless_flushed() -> None:
    assert segment_quanta(5, 2, 4, flush=False) == 0
    assert segment_quanta(5, 2, 4, flush=True) == 2
    assert segment_quanta(5, 3, 4, flush=False) == 3


def test_a_quantum_is_ready_only_with_its_look_ahead_until_the_turn_ends() -> None:
    assert quanta_ready(QUANTUM_SAMPLES + AHEAD - 1, 0, AHEAD, ended=False) == 0
    assert quanta_ready(QUANTUM_SAMPLES + AHEAD, 0, AHEAD, ended=False) == 1
    assert quanta_ready(1, 0, AHEAD, ended=True) == 1
    assert quanta_ready(0, 0, AHEAD, ended=True) == 0


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=40), st.integers(1, 4))
def test_any_arrival_of_audio_is_cut_without_gap_and_padded_by_less_than_a_quantum(
    pieces: list[int], longest: int
) -> None:
    end = planned = index = 0
    for k, piece in enumerate(pieces):
        end += piece
        ended = k == len(pieces) - 1
        while True:
            ready = quanta_ready(end, planned, AHEAD, ended=ended)
            quanta = segment_quanta(index, ready, longest, flush=ended)
            assert quanta <= longest
            if not quanta:
                break
            planned += quanta * QUANTUM_SAMPLES
            index += 1
            assert ended or planned + AHEAD <= end
    assert end <= planned < end + QUANTUM_SAMPLES
