"""What becomes of items when processes die, are given up or stay silent: real ledger, links and sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from broker.errors import ErrorCode
from broker.ipc.messages import Demand, Done, Down, Fenced, Item, Message, Report, StageRow, Started, TtsItem, Up
from broker.ipc.sockets import Endpoints, SocketFactory
from broker.ipc.wire import pack, unpack
from broker.workers.dispatcher import LOST_FACTOR, Dispatcher
from broker.workers.ledger import Ledger
from broker.workers.links import Links
from broker.workers.membership import Membership
from broker.workers.status import WorkerStatus
from configs.schema import Config

EPOCH = 7
WAIT_MS = 60_000


class Job:
    """A sentence that somebody wants; it may break when it is told that it failed."""

    media_ms = 0

    def __init__(self, *, breaks: bool = False) -> None:
        self.failures: list[tuple[ErrorCode, str]] = []
        self._breaks = breaks

    def build(self) -> tuple[Item, tuple[()]]:
        return TtsItem(id="", attempt=0, broker=0, sid="s", turn=1, text="x", voice=""), ()

    def output(self, message: Any, buffers: Any) -> None: ...

    def done(self) -> None: ...

    def failed(self, code: ErrorCode, message: str) -> None:
        self.failures.append((code, message))
        if self._breaks:
            raise RuntimeError("a defect of ours")


class Unsendable(Job):
    """An item that cannot be built."""

    def build(self) -> tuple[Item, tuple[()]]:
        raise ValueError("no such template")


class House:
    """The broker's side of its workers; the test plays supervisor and stages."""

    def __init__(self, folder: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.time = 1_000_000
        self.folder = folder
        self.touched: list[str] = []
        self.gone: list[str] = []
        self.told: list[Message] = []
        self.ledger = Ledger()
        self.status = WorkerStatus(Config())
        self.config = Config()
        self._ends = Endpoints(str(folder))
        self._factory = SocketFactory(context)
        self._poller = zmq.Poller()
        self._work: list[zmq.Socket[bytes]] = []
        self.links = Links(self._factory, self._ends, self._poller, EPOCH)
        self.dispatcher = Dispatcher(
            self.config, EPOCH, self.ledger, self.links, self.touched.append, lambda: self.time
        )
        self.unread: list[Message] = []
        self.members = Membership(
            EPOCH,
            folder / "dead",
            self.ledger,
            self.links,
            self.dispatcher,
            self.status,
            self._read,
            self.gone.append,
            lambda: None,
            self.told.append,
            lambda: self.time,
        )

    def _read(self) -> None:
        """What the dead worker had sent."""
        for message in self.unread:
            assert isinstance(message, Started)
            self.ledger.started(message.src, message.ep, message.id, message.attempt, self.time)

    def say(self, message: Message) -> None:
        self.members.receive(pack(message))

    def up(self, instance: str, epoch: int) -> zmq.Socket[bytes]:
        """A process that is warm; its socket for items."""
        self.say(Up(instance=instance, epoch=epoch, stage=instance.partition(".")[0]))
        self.ledger.ready(instance, epoch, 4, self.time)
        self._work.append(self._factory.pull_connect(self._ends.work(instance, epoch)))
        return self._work[-1]

    def dispatch(self) -> None:
        """Hand out items; a socket that takes nothing yet is waited for, as the loop does."""
        self.dispatcher.dispatch()
        while any(worker.blocked for worker in self.ledger.workers.values()):
            writable = self._poller.poll(WAIT_MS)
            assert writable, "a worker takes nothing"
            for socket, _ in writable:
                instance = self.links.writable(socket)
                if instance is not None:
                    self.dispatcher.writable(instance)
            self.dispatcher.dispatch()

    def submit(self, job: Job, item_id: str = "s/1/tts/0", stage: str = "tts") -> None:
        self.ledger.submit(item_id, stage, job, priority=0)
        self.dispatch()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    house = House(tmp_path, context)
    yield house
    house.links.close()
    context.destroy(linger=0)


def received(socket: zmq.Socket[bytes]) -> Item:
    assert socket.poll(WAIT_MS)
    message, _ = unpack(socket.recv_multipart())
    assert isinstance(message, Item)
    return message


def test_an_item_goes_out_with_its_name_and_to_the_successor_with_the_next_attempt(house: House) -> None:
    job = Job()
    house.submit(job)
    worker = house.up("tts.0", 1)
    house.dispatch()
    item = received(worker)
    assert (item.id, item.attempt, item.broker) == ("s/1/tts/0", 0, EPOCH)
    house.say(Down(instance="tts.0", epoch=1, reason="killed", in_hand=[item.id]))
    assert house.told == [Fenced(instance="tts.0", epoch=1)]
    assert house.gone == ["tts.0"]
    successor = house.up("tts.0", 2)
    house.dispatch()
    assert received(successor).attempt == 1
    assert not job.failures


def test_an_item_that_ends_two_processes_is_set_aside_and_its_owner_told(house: House) -> None:
    job = Job(breaks=True)
    house.up("tts.0", 1)
    house.submit(job)
    for epoch in (1, 2):
        house.unread = [Started(src="tts.0", ep=epoch, broker=EPOCH, id="s/1/tts/0", attempt=epoch - 1)]
        house.say(Down(instance="tts.0", epoch=epoch, reason="segfault"))
        house.up("tts.0", epoch + 1)
        house.dispatch()
    reason = "it ended its process twice (the last was tts.0: segfault) and is set aside"
    assert job.failures == [(ErrorCode.FAILED, reason)]
    assert house.touched == ["s"]
    assert house.told[-1] == Fenced(instance="tts.0", epoch=2), "also when the owner breaks"
    [note] = (house.folder / "dead").glob("*.json")
    kept = json.loads(note.read_text())
    assert (kept["died"], kept["reason"], kept["item"]["id"]) == ("tts.0", "segfault", "s/1/tts/0")


def test_the_death_of_an_incarnation_that_is_not_bound_for_is_only_confirmed(house: House) -> None:
    house.up("tts.0", 2)
    house.say(Down(instance="tts.0", epoch=1, reason="killed"))
    assert house.told == [Fenced(instance="tts.0", epoch=1)]
    assert house.gone == []


def test_a_stage_that_runs_on_demand_is_asked_for_again(house: House) -> None:
    house.up("prepare.0", 1)
    house.submit(Job(), "_/t/prepare/1", "prepare")
    house.say(Down(instance="prepare.0", epoch=1, reason="killed", in_hand=["_/t/prepare/1"]))
    assert house.told == [Demand(stage="prepare"), Fenced(instance="prepare.0", epoch=1)]


def test_what_waits_for_a_stage_that_is_given_up_fails_with_the_reason(house: House) -> None:
    job = Job()
    house.submit(job)
    row = StageRow(stage="tts", instance="tts.0", epoch=3, pid=None, state="fatal", reason="no voice data")
    house.say(Report(supervisor_pid=1, rows=[row]))
    [(code, message)] = job.failures
    assert code is ErrorCode.FAILED
    assert message == "tts was given up: no voice data; see the log, then restart the daemon"
    assert house.touched == ["s"]


def test_an_item_that_cannot_be_sent_holds_up_nobody(house: House) -> None:
    worker = house.up("tts.0", 1)
    broken, sound = Unsendable(), Job()
    house.ledger.submit("a/1/tts/0", "tts", broken, priority=0)
    house.submit(sound, "b/1/tts/0")
    assert broken.failures == [(ErrorCode.INTERNAL, "ValueError: no such template")]
    assert received(worker).id == "b/1/tts/0"


def test_an_item_that_a_living_worker_loses_is_tried_again_and_then_fails(house: House) -> None:
    job = Job()
    house.up("tts.0", 1)
    house.submit(job)
    limit = int(house.config.stages.tts.item_timeout_s * LOST_FACTOR * 1_000_000)
    for _ in range(2):
        house.time += limit + 1
        house.dispatcher.find_lost()
        assert not job.failures
        house.dispatch()
    house.time += limit + 1
    house.dispatcher.find_lost()
    assert job.failures == [(ErrorCode.FAILED, "tts lost it 3 times; see the log for item.lost")]


def test_what_the_supervisor_would_never_say_changes_nothing(house: House) -> None:
    house.up("tts.0", 1)
    house.members.receive([b"\xc1"])
    house.say(Done(src="tts.0", ep=1, broker=EPOCH, id="x", attempt=0))
    assert (house.told, house.gone) == ([], [])
