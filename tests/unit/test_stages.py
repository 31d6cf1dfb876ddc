"""The table of stages, and what the broker takes from it: who has to be warm before anything is served."""

from __future__ import annotations

import importlib

import pytest

from broker.ipc.messages import Ready, Report, StageRow
from broker.workers.status import WorkerStatus
from configs.load import load
from configs.schema import Engines, Stages
from configs.stages import REQUIRED, STAGES


def test_the_table_has_the_stages_of_the_configuration() -> None:
    assert set(STAGES) == set(Stages.__struct_fields__)
    assert {kind.engines for kind in STAGES.values()} - {""} == set(Engines.__struct_fields__)
    assert {kind.stands_in_for for kind in STAGES.values()} - {""} <= set(REQUIRED)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_found_under_its_own_name(name: str) -> None:
    module, _, attribute = STAGES[name].factory.partition(":")
    assert getattr(importlib.import_module(module), attribute).name == name


def _status(warm: list[str], given_up: str = "") -> WorkerStatus:
    status = WorkerStatus(load(None, ["stages.encode.instances=1"], {}))
    for stage in warm:
        status.ready(
            Ready(src=f"{stage}.0", ep=1, broker=1, stage=stage, engine="", device="", credit=1, load_s=0.0)
        )
    row = StageRow(stage=given_up, instance=f"{given_up}.0", epoch=1, pid=None, state="fatal", reason="why")
    status.report(Report(supervisor_pid=1, rows=[row] if given_up else []))
    return status


def test_every_required_stage_is_waited_for_and_no_other() -> None:
    assert _status([*REQUIRED]).complete
    for stage in REQUIRED:
        assert not _status([name for name in STAGES if name != stage]).serving


def test_a_stage_that_was_given_up_is_waited_for_unless_another_stands_in() -> None:
    for stage in REQUIRED:
        rest = [name for name in REQUIRED if name != stage]
        assert not _status(rest, given_up=stage).serving
        assert _status([*rest, "fallback"], given_up=stage).serving == (stage == "lipsync")
    standing_in = [name for name in REQUIRED if name != "lipsync"] + ["fallback"]
    stood_in_for = _status(standing_in, given_up="lipsync")
    assert stood_in_for.serving
    assert not stood_in_for.complete


@pytest.mark.parametrize(
    ("warm", "others", "serving"),
    [
        (1, {"fatal": 1}, True),
        (1, {"backoff": 1}, False),
        (0, {"fatal": 2}, False),
        (0, {"draining": 2}, True),
        (0, {"fatal": 1, "draining": 1}, True),
    ],
)
def test_a_twin_that_is_given_up_or_drained_is_not_waited_for(
    warm: int, others: dict[str, int], serving: bool
) -> None:
    status = WorkerStatus(load(None, ["stages.encode.instances=1", "stages.lipsync.instances=2"], {}))
    for stage in [name for name in REQUIRED if name != "lipsync"] + ["lipsync"] * warm:
        status.ready(
            Ready(src=f"{stage}.0", ep=1, broker=1, stage=stage, engine="", device="", credit=1, load_s=0.0)
        )
    states = [state for state, count in others.items() for _ in range(count)]
    rows = [
        StageRow(stage="lipsync", instance=f"lipsync.{k}", epoch=1, pid=None, state=state, reason="GPU gone")
        for k, state in enumerate(states, start=warm)
    ]
    status.report(Report(supervisor_pid=1, rows=rows, warnings=["no gateway"]))
    assert status.serving is serving
    assert not status.complete
    assert [one.partition(" was given up: GPU gone")[0] for one in status.warnings] == [
        "no gateway", *(row.instance for row in rows if row.state == "fatal"),
    ]  # fmt: skip


@pytest.mark.parametrize(("epoch", "state"), [(1, "idle"), (2, "loading")])
def test_a_process_that_says_it_is_ready_is_not_told_as_loading(epoch: int, state: str) -> None:
    """``health`` goes by what the process itself has said: they agree before the supervisor's next report, too."""
    status = _status(["encode"])
    status.report(
        Report(
            supervisor_pid=1,
            rows=[StageRow(stage="encode", instance="encode.0", epoch=epoch, pid=7, state="loading")],
        )
    )
    assert [row["state"] for row in status.public_rows()] == [state]
