"""A live turn is refused when the stages are measured to be behind, until enough of the others have ended."""

import pytest

from broker.media.capacity import BEHIND_US, RETRY_MOST_US, Cost, Load, Owed, behind, retry_after


def speaking(frames: int = 72, *, rest: int = 0, due_us: int = 0) -> Load:
    """A session whose next segments of 8 frames are on their way, one after the other from ``due_us`` on."""
    owed = [Owed(due_us + k * 320_000, 8, 8) for k in range(frames // 8)]
    return Load(owed, rest)


def test_nobody_speaks_or_nothing_is_measured() -> None:
    assert retry_after([], Cost(50_000, 50_000)) is None
    assert retry_after([speaking()] * 50, Cost(0, 0)) is None


@pytest.mark.parametrize(("sessions", "served"), [(1, True), (8, True), (12, False), (40, False)])
def test_stages_that_keep_up_take_one_more(sessions: int, served: bool) -> None:
    """At 5 ms a frame eight sessions are real time; a dozen ask for half as much again."""
    loads = [speaking() for _ in range(sessions)]
    assert (retry_after(loads, Cost(5_000, 1_000)) is None) == served


def test_encode_counts_as_lipsync_does() -> None:
    loads = [speaking() for _ in range(12)]
    assert retry_after(loads, Cost(1_000, 5_000)) is not None
    assert behind(loads, Cost(1_000, 5_000)) >= behind(loads, Cost(1_000, 4_000))


def test_the_most_urgent_comes_first_so_far_away_work_makes_nobody_late() -> None:
    near, far = speaking(8), speaking(800, due_us=30_000_000)
    assert behind([near, far], Cost(30_000, 1_000)) == 8 * 31_000


def test_the_time_to_ask_again_is_when_enough_turns_have_ended() -> None:
    """Of 12 sessions at 5 ms a frame 8 are served; with the new one, 5 have to end."""
    loads = [speaking(rest=100 * k) for k in range(12)]
    cost = Cost(5_000, 1_000)
    wait = retry_after(loads, cost)
    left = [72 + 100 * k for k in range(12)]
    assert wait == 5_000 * (sum(left[:5]) + 7 * left[4])
    # Served so until then, what is left keeps up.
    assert retry_after([Load([], frames - left[4]) for frames in left[5:]], cost) is None


def test_what_is_behind_by_itself_is_worked_off_first() -> None:
    """One session only, but seconds behind: its backlog is the time."""
    stalled = [Load([Owed(-BEHIND_US - 5_000_000, 8, 8)], 0)]
    late = behind(stalled, Cost(5_000, 1_000))
    assert retry_after(stalled, Cost(5_000, 1_000)) == late > BEHIND_US


def test_the_time_is_bounded() -> None:
    assert retry_after([speaking(rest=10**7)] * 9, Cost(400_000, 1_000)) == RETRY_MOST_US
