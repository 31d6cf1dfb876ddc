"""Restarts, giving up, and hangs, decided without a process or a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Supervisor
from supervision import policy
from supervision.policy import LIVE, PUBLIC, TRANSITIONS, Limits, RestartPolicy, State, Vitals

LIMITS = Limits(beat_s=1.0, beats_missed=5, item_timeout_s=20.0, load_timeout_s=300.0, drain_s=10.0)


def vitals(state: State, *, at: float = 0.0, busy_ms: int = 0) -> Vitals:
    return Vitals(spawned=at, beat=at, phase_since=at, state=state, state_since=at, busy_ms=busy_ms, item="i")


def test_waits_grow_with_failures_in_a_row_and_the_last_holds() -> None:
    restart = RestartPolicy([0, 0.5, 1], intensity=100, window_s=60)
    assert [restart.ended(t, 1.0, ready=True) for t in range(5)] == [0, 0.5, 1, 1, 1]


def test_a_process_that_lived_for_the_window_begins_anew() -> None:
    restart = RestartPolicy([0, 0.5, 1], intensity=100, window_s=60)
    restart.ended(0, 1.0, ready=True)
    restart.ended(10, 1.0, ready=True)
    assert restart.ended(100, 60.0, ready=True) == 0
    assert restart.ended(101, 1.0, ready=True) == 0.5


def test_one_end_more_than_the_intensity_within_the_window_is_final() -> None:
    restart = RestartPolicy([0], intensity=5, window_s=60)
    assert [restart.ended(t, 1.0, ready=True) for t in range(6)] == [0, 0, 0, 0, 0, None]


def test_the_same_number_of_ends_spread_over_more_than_the_window_is_not() -> None:
    restart = RestartPolicy([0], intensity=5, window_s=60)
    assert all(restart.ended(t * 13, 1.0, ready=True) == 0 for t in range(100))


def test_ends_before_the_first_readiness_count_however_far_apart_they_are() -> None:
    restart = RestartPolicy([0], intensity=2, window_s=60)
    assert [restart.ended(t * 90, 80.0, ready=False) for t in range(2)] == [0, 0]
    assert restart.ended(200, 10.0, ready=True) == 0, "it was ready once: what came before is forgiven"
    assert [restart.ended(300 + t * 90, 80.0, ready=False) for t in range(3)] == [0, 0, None]
    assert restart.never_ready


def test_adopted_settings_hold_from_the_next_end_on() -> None:
    restart = RestartPolicy([0], intensity=5, window_s=60)
    assert [restart.ended(t, 1.0, ready=True) for t in range(2)] == [0, 0]
    restart.adopt([3.0], 2, 60)
    assert [restart.ended(t, 1.0, ready=True) for t in (2, 3)] == [None, None], "what has ended so far counts"


def test_a_forgotten_record_counts_for_nothing() -> None:
    restart = RestartPolicy([0, 0.5], intensity=1, window_s=60)
    assert [restart.ended(t, 1.0, ready=True) for t in range(2)] == [0, None]
    restart.forget()
    assert [restart.ended(t, 1.0, ready=True) for t in range(2, 4)] == [0, None]


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 6), st.floats(1, 100))
def test_given_up_exactly_when_the_window_holds_more_ends_than_the_intensity(
    gaps: list[float], intensity: int, window_s: float
) -> None:
    restart = RestartPolicy([0, 1], intensity, window_s)
    now, ends = 0.0, []
    for gap in gaps:
        now += gap
        ends.append(now)
        recent = sum(1 for end in ends if now - end <= window_s)
        assert (restart.ended(now, gap, ready=True) is None) == (recent > intensity)


def test_silence_is_a_hang_only_after_all_missed_beats() -> None:
    idle = vitals(State.IDLE)
    assert policy.verdict(5.0, idle, LIMITS) is None
    assert policy.verdict(5.1, idle, LIMITS) == "no beat for 5 s"
    assert policy.next_look(idle, LIMITS) == 5.0


def test_an_idle_process_never_ages_and_a_busy_one_does_by_its_item() -> None:
    assert policy.verdict(1.0, vitals(State.BUSY, busy_ms=20_000), LIMITS) is None
    assert policy.verdict(1.0, vitals(State.BUSY, busy_ms=20_001), LIMITS) == "no progress on i for 20 s"


def test_loading_has_a_budget_of_its_own_and_needs_no_beats() -> None:
    loading = vitals(State.LOADING)
    assert policy.verdict(policy.PHASE_S - 1, loading, LIMITS) is None
    assert "change of phase" in str(policy.verdict(policy.PHASE_S + 0.1, loading, LIMITS))
    loading.phase_since = 290.0
    assert policy.verdict(299.0, loading, LIMITS) is None
    assert "not ready 300 s" in str(policy.verdict(300.1, loading, LIMITS))
    assert policy.next_look(loading, LIMITS) == 300.0


def test_draining_has_an_end() -> None:
    draining = vitals(State.DRAINING)
    draining.beat = 11.0
    assert "draining" in str(policy.verdict(11.0, draining, LIMITS))
    assert policy.next_look(draining, LIMITS) == 10.0


@pytest.mark.parametrize("state", sorted(LIVE))
def test_the_next_look_is_never_later_than_the_verdict(state: State) -> None:
    patient = vitals(state)
    due = policy.next_look(patient, LIMITS)
    assert policy.verdict(due, patient, LIMITS) is None
    assert policy.verdict(due + 0.001, patient, LIMITS) is not None


def test_a_supervisor_that_stood_still_awaits_one_more_beat() -> None:
    idle = vitals(State.IDLE)
    policy.forgive(100.0, idle, LIMITS)
    assert policy.verdict(100.0, idle, LIMITS) is None
    assert policy.verdict(104.1, idle, LIMITS) is not None


def test_who_says_again_and_again_that_it_goes_on_is_deaf() -> None:
    told, before = 100.0, 50
    broker = vitals(State.IDLE)
    broker.beat, broker.ready_beats = 104.0, before + 4
    assert policy.deaf(told, before, broker, 1.0)
    broker.state = State.DRAINING
    assert not policy.deaf(told, before, broker, 1.0), "it has heard"


def test_who_stood_still_when_it_was_told_to_stop_is_not_deaf() -> None:
    told, before = 100.0, 50
    broker = vitals(State.IDLE)
    broker.beat, broker.ready_beats = 100.1, before + 9
    assert not policy.deaf(told, before, broker, 1.0), "beats from before, heard late"
    broker.beat, broker.ready_beats = 110.0, before + 1
    assert not policy.deaf(told, before, broker, 1.0), "one more, just before it hears"


def test_every_state_can_end_and_has_a_public_name() -> None:
    public = {"starting", "loading", "idle", "busy", "draining", "backoff", "fatal"}
    assert set(PUBLIC) == set(State) == set(TRANSITIONS)
    assert set(PUBLIC.values()) <= public
    for state in State:
        reached, edge = {state}, {state}
        while edge:
            edge = {after for before in edge for after in TRANSITIONS[before]} - reached
            reached |= edge
        assert State.STOPPED in reached


def test_the_stages_keep_a_part_of_the_time_to_stop() -> None:
    assert policy.broker_stop_s(Supervisor()) == 8.0
    assert policy.broker_stop_s(Supervisor(stop_s=2.0)) == 1.5
