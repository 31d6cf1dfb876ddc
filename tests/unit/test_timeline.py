"""The media clock keeps contract 3's rules for pacing, lateness and cuts."""

from hypothesis import given
from hypothesis import strategies as st

from broker.media.timeline import Timeline
from configs.grid import QUANTUM_US

LEAD = 1_000_000


def test_nothing_is_published_ahead_of_the_clock_by_more_than_the_lead() -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    now = 5_000_000
    first = line.publish(QUANTUM_US, now, first=True)
    assert (first.seq, first.pts, first.late) == (0, 0, False)
    for _ in range(40):
        now += line.wait(line.end, now)
        assert line.end <= line.clock(now) + LEAD
        assert not line.publish(QUANTUM_US, now, first=False).late
    assert line.end == 41 * QUANTUM_US


def test_wait_is_exactly_until_the_segment_is_within_the_lead() -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    line.publish(1_280_000, 0, first=True)
    assert line.wait(line.end, 0) == 280_000
    assert line.wait(line.end, 280_000) == 0


def test_a_segment_after_its_time_is_late_and_anchors_the_clock_anew() -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    line.publish(QUANTUM_US, 0, first=True)
    late = line.publish(QUANTUM_US, 900_000, first=False)
    assert late.late
    assert late.pts == QUANTUM_US
    assert line.clock(900_000) == QUANTUM_US
    assert line.late == 1


def test_the_clock_stands_still_between_turns_and_the_next_turn_is_not_late() -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    line.publish(QUANTUM_US, 0, first=True)
    assert line.clock(60_000_000) == QUANTUM_US
    assert not line.publish(QUANTUM_US, 60_000_000, first=True).late
    assert line.clock(60_100_000) == QUANTUM_US + 100_000


def test_flush_from_is_the_next_quantum_beyond_a_frame_of_the_clock_or_the_end() -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    line.publish(1_280_000, 0, first=True)
    assert line.cut(290_000) == 640_000
    assert line.end == 640_000
    assert line.gen == 1
    again = Timeline(paced=True, lead_us=LEAD)
    again.publish(QUANTUM_US, 0, first=True)
    assert again.cut(310_000) == QUANTUM_US


def test_offline_is_not_paced_and_cuts_at_the_end() -> None:
    line = Timeline(paced=False, lead_us=LEAD)
    for _ in range(100):
        assert line.wait(line.end, 0) == 0
        assert not line.publish(QUANTUM_US, 0, first=False).late
    assert line.cut(0) == 100 * QUANTUM_US


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 3_000_000), st.booleans(), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_pts_are_contiguous_and_cuts_never_reach_behind_the_clock(
    steps: list[tuple[int, int, bool, bool]],
) -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    now = 0
    for quanta, pause, first, cut in steps:
        now += pause
        if cut:
            clock = line.clock(now)
            flush = line.cut(now)
            assert flush == min(line.end, flush)
            assert flush >= min(line.end, clock)
            assert flush % QUANTUM_US == 0
        before = line.end
        now += line.wait(before, now)
        place = line.publish(quanta * QUANTUM_US, now, first=first)
        assert place.pts == before
        assert line.end == before + quanta * QUANTUM_US
        assert line.clock(now) <= line.end


def test_a_play_head_that_is_told_lags_and_moves_on_with_the_clock() -> None:
    line = Timeline(paced=True, lead_us=LEAD)
    for _ in range(10):
        line.publish(QUANTUM_US, 0, first=True)
    assert line.shown(1_000_000) == line.clock(1_000_000) == 1_000_000
    assert line.heard_by(1_280_000, 1_000_000) == 1_280_000, "nobody has told: it plays on to the cut"
    line.played(600_000, 1_000_000)
    assert line.shown(1_100_000) == 700_000
    assert line.heard_by(1_280_000, 1_100_000) == 700_000
    line.played(10**15, 1_200_000)
    assert line.shown(1_300_000) == 1_300_000, "never beyond the clock"
    line.played(0, 2_000_000)
    assert line.heard_by(3_200_000, 12_000_000) == 3_200_000
    assert line.heard_by(3_200_000, 12_000_001) == 3_200_000, "nobody has told for a while"
    assert line.shown(12_000_001) == line.clock(12_000_001) == 3_200_000
