"""Who of a chain is asked, with a clock of the test's own."""

from __future__ import annotations

from models.chain.policy import LONGEST_RETRY_S, Limits, Roster, State

LIMITS = Limits(first_output_s=8, next_output_s=10, break_after=2, probe_s=15, last_s=16)


def roster(*names: str) -> Roster:
    made = Roster(names, LIMITS)
    for name in names:
        made.loaded(name)
    return made


def states(made: Roster) -> dict[str, State]:
    return {one.engine: one.state for one in made.standings()}


def test_the_first_serves_and_the_others_stand_by() -> None:
    made = roster("a", "b", "c")
    assert made.order() == ["a", "b", "c"]
    assert states(made) == {"a": State.SERVING, "b": State.STANDBY, "c": State.STANDBY}
    assert made.wake is None


def test_one_failure_is_forgiven_and_two_in_a_row_open_the_breaker() -> None:
    made = roster("a", "b")
    made.failed("a", "slow", 100)
    assert made.order() == ["a", "b"]
    made.succeeded("a")
    made.failed("a", "slow", 101)
    assert made.sound("a")
    made.failed("a", "slow again", 102)
    assert made.order() == ["b", "a"]
    assert states(made) == {"a": State.BROKEN, "b": State.SERVING}
    assert made.reason("a") == "slow again"


def test_a_failure_in_the_middle_opens_it_at_once() -> None:
    made = roster("a", "b")
    made.failed("a", "gone", 0, at_once=True)
    assert made.order() == ["b", "a"]


def test_a_broken_one_is_tried_after_probe_s_and_serves_again_when_it_passes() -> None:
    made = roster("a", "b")
    made.failed("a", "gone", 100, at_once=True)
    assert made.wake == 115
    assert made.due(114.9) == []
    assert made.due(115) == ["a"]
    made.trying("a")
    assert made.due(200) == []
    made.failed("a", "still gone", 200, at_once=True)
    assert made.due(214) == []
    assert made.due(215) == ["a"]
    made.trying("a")
    made.succeeded("a")
    assert made.order() == ["a", "b"]
    assert made.reason("a") == ""
    assert made.wake is None


def test_what_does_not_load_is_tried_again_ever_more_seldom() -> None:
    made = Roster(["a", "b"], LIMITS)
    made.loaded("b")
    assert states(made) == {"a": State.UNAVAILABLE, "b": State.SERVING}
    waits = []
    now = 0.0
    for _ in range(8):
        made.unavailable("a", "no server", now, again=True)
        assert made.wake is not None
        waits.append(made.wake - now)
        now = made.wake
    assert waits == [15, 30, 60, 120, 240, LONGEST_RETRY_S, LONGEST_RETRY_S, LONGEST_RETRY_S]
    made.unavailable("a", "wrong name", now, again=False)
    assert made.wake is None
    made.loaded("a")
    assert made.order() == ["a", "b"]


def test_when_all_are_broken_they_are_asked_all_the_same() -> None:
    made = roster("a", "b")
    for name in ("a", "b"):
        made.failed(name, "gone", 0, at_once=True)
    assert made.order() == ["a", "b"]


def test_the_deadline_of_hearing_grows_with_the_audio_and_the_measured_speed() -> None:
    made = roster("a", "b")
    assert made.patience_s("a", 0, last=False) == 8
    assert made.patience_s("a", 10, last=False) == 18
    made.worked("a", audio_s=10, took_s=20)
    assert made.patience_s("a", 10, last=False) == 48
    for _ in range(50):
        made.worked("a", audio_s=10, took_s=1)
    assert 9.9 < made.patience_s("a", 10, last=False) < 10.1
    assert made.patience_s("b", 1, last=True) == 16
