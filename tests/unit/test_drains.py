"""Taking a process out of service: it gets no more work, and its process ends when it holds none."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import ControlError
from broker.ipc.messages import Message, Report, Rest, Resume, StageRow
from broker.timers import Timers
from broker.workers.asr_stream import AsrStream
from broker.workers.asr_streams import AsrStreams
from broker.workers.drains import Drains
from broker.workers.ledger import Ledger
from broker.workers.status import WorkerStatus
from configs.schema import Config
from tests.unit.test_ledger import Recorder

S = 1_000_000


class Hall:
    """Two encoders and two asr processes, and what is told to whom."""

    def __init__(self) -> None:
        self.time = 0
        self.ledger, self.timers, self.status = Ledger(), Timers(), WorkerStatus(Config())
        self.sent: list[tuple[str, Message]] = []
        self.told: list[Message] = []
        self.cancelled: list[tuple[str, list[str]]] = []
        self.answers: list[ControlError | None] = []
        self.streams = AsrStreams(self._send)
        self.drains = Drains(
            self.ledger,
            self.streams,
            self.status,
            lambda instance, ids: self.cancelled.append((instance, ids)),
            self.told.append,
            self.timers,
            lambda: self.time,
        )
        for instance in ("encode.0", "encode.1"):
            self.ledger.up(instance, 1, "encode")
            self.ledger.ready(instance, 1, 1)
        self.report()

    def _send(self, instance: str, message: Message, buffers: list[Any]) -> bool:
        self.sent.append((instance, message))
        return True

    def report(self, resting: str = "") -> None:
        rows = [
            StageRow(
                stage=name.split(".")[0], instance=name, epoch=1, pid=None if name == resting else 7, state=state
            )
            for name in ("encode.0", "encode.1", "asr.0", "asr.1")
            for state in ("draining" if name == resting else "idle",)
        ]
        self.status.report(Report(supervisor_pid=1, rows=rows))
        self.drains.reported()

    def give(self, name: str, *, background: bool = False) -> str | None:
        self.ledger.submit(name, "encode", Recorder(), priority=0, background=background)
        return next((worker.instance for worker, _ in self.ledger.dispatch(0)), None)

    def drain(self, instance: str, timeout_s: float = 30) -> None:
        self.drains.drain(instance, timeout_s, self.answers.append)

    def resume(self, instance: str) -> None:
        self.drains.resume(instance, 30, self.answers.append)

    def run(self, us: int) -> None:
        self.time += us
        self.timers.fire(self.time)
        self.drains.look()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_it_finishes_what_it_holds_and_then_ends(hall: Hall) -> None:
    assert hall.give("a") == "encode.0"
    hall.drain("encode.0")
    hall.drains.look()
    assert hall.status.public_rows()[0]["state"] == "draining"
    assert [hall.give("b"), hall.give("c")] == ["encode.1", None]
    assert not hall.told
    hall.ledger.done("encode.0", 1, "a", 0)
    hall.drains.look()
    hall.drains.look()
    assert hall.told == [Rest(instance="encode.0")], "told once"
    assert not hall.answers, "its process has yet to end"
    hall.report(resting="encode.0")
    assert hall.answers == [None]


def test_it_gets_work_again_when_it_is_resumed(hall: Hall) -> None:
    hall.drain("encode.0")
    hall.drains.look()
    hall.report(resting="encode.0")
    hall.resume("encode.0")
    hall.report(resting="encode.0")
    assert hall.answers == [None], "the supervisor has not started it yet"
    hall.report()
    assert hall.answers == [None, None]
    assert hall.told[-1] == Resume(instance="encode.0")
    assert hall.give("a") == "encode.0"


def test_who_waits_for_a_drain_that_is_called_off_is_told(hall: Hall) -> None:
    hall.give("a")
    hall.drain("encode.0")
    hall.resume("encode.0")
    (error,) = hall.answers
    assert error is not None
    assert "drain it again" in error.message


def test_a_drain_that_takes_too_long_stays_in_force(hall: Hall) -> None:
    hall.give("a")
    hall.drain("encode.0", 5)
    hall.run(5 * S)
    (error,) = hall.answers
    assert error is not None
    assert error.code == "FAILED"
    assert "1 items" in error.message
    hall.ledger.done("encode.0", 1, "a", 0)
    hall.drains.look()
    assert hall.told == [Rest(instance="encode.0")]


def test_background_items_go_elsewhere_at_once(hall: Hall) -> None:
    assert hall.give("a", background=True) == "encode.0"
    hall.drain("encode.0")
    assert hall.cancelled == [("encode.0", ["a"])]
    hall.ledger.cancelled("encode.0", 1, "a", 0)
    assert [worker.instance for worker, _ in hall.ledger.dispatch(0)] == ["encode.1"]


def test_a_stage_whose_only_process_drains_serves_no_more(hall: Hall) -> None:
    assert hall.ledger.serving("encode")
    hall.drain("encode.0")
    assert hall.ledger.serving("encode")
    hall.drain("encode.1")
    assert not hall.ledger.serving("encode")


class Listener:
    """Of a stream in which nobody says anything."""


def stream(name: str) -> AsrStream:
    listener: Any = Listener()
    return AsrStream(name, 16_000, "", listener, broker=1, utterance_s=60, now=lambda: 0)


def test_microphones_move_to_another_process(hall: Hall) -> None:
    hall.streams.up("asr.0", 4)
    hall.streams.up("asr.1", 4)
    moving = stream("m")
    hall.streams.assign(moving)
    moving.push(bytes(640), end=False, now=0)
    moving._open.add(0)
    hall.drain("asr.0")
    assert moving.instance == "asr.1", "somebody speaks, and is heard on"
    hall.drain("asr.1")
    assert moving.instance == "asr.1", "nobody else can hear it"
    assert hall.streams.held("asr.1") == 1
    moving._open.clear()
    assert hall.streams.held("asr.1") == 0
    hall.resume("asr.0")
    assert moving.instance == "asr.0", "what has yet to be heard is heard now"


def test_one_that_was_given_up_is_back_when_it_is_started(hall: Hall) -> None:
    def report(state: str) -> None:
        hall.status.report(Report(supervisor_pid=1, rows=[
            StageRow(stage="encode", instance="encode.0", epoch=1, pid=None, state=state)
        ]))  # fmt: skip
        hall.drains.reported()

    hall.resume("encode.0")
    assert hall.told == [Resume(instance="encode.0")]
    report("fatal")
    assert not hall.answers, "the supervisor has not heard of it yet"
    report("starting")
    assert hall.answers == [None]
