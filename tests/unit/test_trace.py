"""One id per turn on the lines of every log."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from configs import logs
from configs.schema import Log
from configs.trace import trace_of

BOOT = "0123456789abcdef"
SAY = "9c1/4.2"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    logs.trace_work(tuple)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str], **fields: object) -> dict[str, object]:
    logs.setup(Log(format="json"), boot=BOOT, stage="tts")
    logs.get().info("something.happened", **fields)
    line: dict[str, object] = json.loads(capsys.readouterr().err)
    return line


def test_all_items_of_a_turn_have_one_trace_and_no_other_turn_has_it() -> None:
    trace = trace_of(BOOT, SAY)
    assert trace is not None
    assert len(trace) == 32
    assert {trace_of(BOOT, f"{SAY}/{rest}") for rest in ("tts/0", "tts/1", "encode/7")} == {trace}
    others = [trace_of(BOOT, f"{name}/tts/0") for name in ("9c1/4.3", "9c1/5.2")] + [trace_of("another", SAY)]
    assert len({trace, *others}) == 4


@pytest.mark.parametrize("item", ["", "_/idle/encode/3", "_/1280x720-high/encode/0", "9c1", "9c1/4"])
def test_what_belongs_to_no_turn_has_none(item: str) -> None:
    assert trace_of(BOOT, item) is None


def test_a_line_about_an_item_has_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    line = written(capsys, item=f"{SAY}/tts/0")
    assert line["trace"] == trace_of(BOOT, SAY)
    assert "traces" not in line


def test_a_line_about_several_turns_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    line = written(capsys, requeued=[f"{SAY}/tts/0", f"{SAY}/tts/1", "9c1/4.3/tts/0"], poisoned=[])
    assert line["traces"] == [trace_of(BOOT, SAY), trace_of(BOOT, "9c1/4.3")]


def test_a_line_of_an_engine_is_about_what_is_in_hand(capsys: pytest.CaptureFixture[str]) -> None:
    logs.trace_work(lambda: [f"{SAY}/tts/0"])
    assert written(capsys)["trace"] == trace_of(BOOT, SAY)
    assert written(capsys, item="9c1/4.3/tts/0")["trace"] == trace_of(BOOT, "9c1/4.3")
    logs.trace_work(tuple)
    assert "trace" not in written(capsys)
