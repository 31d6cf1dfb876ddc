"""What the GPU benchmark decides: which rounds count, who gets the time, which streams were live."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_job.budget import Budget
from benchmarks.gpu_job.child import ROOT, Child, environment
from benchmarks.gpu_job.figures import figures
from benchmarks.gpu_job.gaps import FRAME_MS, judge, verdict
from benchmarks.gpu_job.rounds import Rounds, steady

BUFFER_MS = 320.0


# --- rounds ---------------------------------------------------------------------------------------------------


def rounds_with(clocks: list[float | None], ours: list[float], theirs: list[float]) -> Rounds:
    """Rounds whose clock is read before and after each one."""
    readings = iter(clocks)
    rounds = Rounds(lambda: next(readings))
    rounds.play(len(ours), lambda k: {"ours": [ours[k]], "theirs": [theirs[k]]})
    return rounds


def test_a_round_whose_clock_moved_is_kept_apart_and_marked() -> None:
    rounds = rounds_with([1980, 1960, 1960, 1800, 1980, 1980], [10, 99, 30], [5, 1, 10])
    assert [one["counts"] for one in rounds.told] == [True, False, True]
    assert rounds.values() == {"ours": [10, 30], "theirs": [5, 10]}
    assert rounds.values(counting=False) == {"ours": [99], "theirs": [1]}
    assert rounds.rows(lambda key, values, counts: {"what": key, "values": values}) == [
        {"what": "ours", "values": [10, 30]},
        {"what": "theirs", "values": [5, 10]},
        {"what": "ours", "values": [99], "clock_moved": True},
        {"what": "theirs", "values": [1], "clock_moved": True},
    ]
    assert rounds.ratio("ours", "theirs") == {
        "per_round": [2, 3], "median": 2.5, "spread": [2, 3], "per_round_clock_moved": [99],
    }  # fmt: skip
    assert rounds.ratio("ours", "nothing") is None


def test_without_one_round_that_counts_the_ratio_is_marked() -> None:
    rounds = rounds_with([1980, 1700], [10], [5])
    assert rounds.ratio("ours", "theirs") == {"per_round": [2], "median": 2, "spread": [2, 2], "clock_moved": True}
    assert rounds.values() == {}


def test_a_device_without_a_clock_counts_and_one_that_stops_telling_does_not() -> None:
    assert steady(None, None)
    assert not steady(1980, None)
    assert steady(1000, 1030)
    assert not steady(1000, 1031)
    assert not steady(1000, 969)


def test_a_round_of_which_nothing_comes_is_the_last() -> None:
    played: list[int] = []
    rounds = Rounds(lambda: None)

    def turn(k: int) -> dict[str, list[float]]:
        played.append(k)
        return {} if k == 1 else {"ours": [1.0]}

    rounds.play(5, turn)  # type: ignore[arg-type]
    assert played == [0, 1]
    assert len(rounds.told) == 1


# --- time -----------------------------------------------------------------------------------------------------


def test_what_a_part_leaves_the_later_ones_get_and_nobody_gets_more_than_there_is() -> None:
    now = [0.0]
    budget = Budget(100, {"a": 20, "b": 30, "c": 50}, lambda: now[0])
    assert budget.start("a") == 20
    now[0] = 4.0
    assert budget.start("b") == 4 + 96 * 30 / 80
    now[0] = 130.0
    assert budget.start("c") == 130, "the time is up"


def test_a_part_that_is_passed_over_gives_its_share_away() -> None:
    budget = Budget(100, {"a": 20, "b": 30, "c": 50}, lambda: 0.0)
    assert budget.start("c") == 100


# --- live streams ---------------------------------------------------------------------------------------------


def due(frames: int) -> np.ndarray:
    return FRAME_MS * np.arange(frames)


def test_a_stream_in_time_passes_and_shows_a_frame_every_40_ms() -> None:
    found = judge(due(250) + 200.0, 20_000, BUFFER_MS)
    assert found["passes"]
    assert found["fresh"] == 1
    assert found["gap_ms"].tolist() == [FRAME_MS] * 249
    assert found["lateness_ms"].tolist() == [200.0] * 250


def test_a_stall_makes_every_frame_that_was_due_in_it_late() -> None:
    """The producer stands still and then delivers all at once; a closed loop would see one late frame."""
    arrivals = due(250) + 100.0
    arrivals[100:125] = 125 * FRAME_MS + 100.0
    found = judge(arrivals, 20_000, BUFFER_MS)
    assert not found["passes"]
    assert (found["lateness_ms"] > BUFFER_MS).sum() == 20
    assert found["gap_ms"].max() > 800


def test_frames_that_never_come_are_as_late_as_watching_lasted() -> None:
    arrivals = due(250) + 100.0
    arrivals[240:] = np.inf
    found = judge(arrivals, 12_000, BUFFER_MS)
    assert not found["passes"]
    assert found["lateness_ms"][240] == 12_000 - 240 * FRAME_MS
    assert found["fps"] == 24.0


@pytest.mark.parametrize(("late", "passes"), [(70.0, True), (90.0, False)])
def test_one_gap_may_be_120_ms_and_no_longer(late: float, passes: bool) -> None:
    arrivals = due(1000) + BUFFER_MS
    arrivals[500] += late
    assert judge(arrivals, 60_000, BUFFER_MS)["passes"] is passes


def test_a_step_passes_when_every_stream_does() -> None:
    good, bad = judge(due(250) + 50.0, 20_000, BUFFER_MS), judge(due(250) * 1.1, 20_000, BUFFER_MS)
    told = verdict([good, good, bad])
    assert (told["streams"], told["passing"], told["passes"]) == (3, 2, False)
    assert told["lateness"]["n"] == 750
    assert verdict([good, good])["passes"]
    json.dumps(told)


def test_figures_of_a_list() -> None:
    assert figures([float(k) for k in range(101)]) == {
        "p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100, "n": 101,
    }  # fmt: skip
    assert figures([]) == {"n": 0}


# --- helper processes -----------------------------------------------------------------------------------------

ECHO = """
import sys
from benchmarks.gpu_job.child import adopt
say = adopt()
print("noise of a library")
say({"ready": True})
for line in sys.stdin:
    say(line.strip())
"""


@pytest.fixture
def program(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A module that answers, and how it is found."""
    (tmp_path / "echoing.py").write_text(ECHO)
    return "echoing", {"PYTHONPATH": str(tmp_path)}


def test_a_helper_finds_the_checkout_first_and_what_was_on_the_path_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/carried/wheels", "/more"]))
    found = environment({"A": "b"})
    assert found["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/carried/wheels", "/more"]
    assert (found["A"], found["PATH"]) == ("b", os.environ["PATH"])
    monkeypatch.delenv("PYTHONPATH")
    assert environment({})["PYTHONPATH"] == str(ROOT)


@pytest.mark.process
def test_a_helper_hears_and_says_lines_and_ends_with_its_input(program: tuple[str, dict[str, str]]) -> None:
    with Child(program[0], env=program[1]) as child:
        assert child.hear(time.monotonic() + 120) == {"ready": True}
        child.tell({"a": 1})
        assert json.loads(child.hear(time.monotonic() + 120)) == {"a": 1}
        pid = child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.process
def test_a_helper_that_says_nothing_or_dies_is_noticed_and_gone(program: tuple[str, dict[str, str]]) -> None:
    with Child(program[0], env=program[1]) as child:
        child.hear(time.monotonic() + 120)
        with pytest.raises(TimeoutError, match="echoing said nothing"):
            child.hear(time.monotonic() + 0.1)
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="echoing ended with -9"):
            child.hear(time.monotonic() + 120)
