"""What workers and clients say that counts for nothing is counted, and costs nobody anything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgpack
import pytest
import zmq

from broker.control.accounts import Account
from broker.control.requests import Nothing
from broker.control.server import Control
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import Done, Hello, Item, Report, TtsItem
from broker.ipc.wire import pack
from broker.workers.ingress import Ingress
from broker.workers.ledger import Ledger
from models.meter import Meter

EPOCH = 7


class Job:
    """Something that lipsync is asked for."""

    media_ms = 0

    def __init__(self) -> None:
        self.finished = 0

    def build(self) -> tuple[Item, tuple[()]]:
        return TtsItem(id="", attempt=0, broker=0, sid="s", turn=1, text="x", voice=""), ()

    def output(self, message: Any, buffers: Any) -> None:
        raise ValueError("an output that does not fit")

    def done(self) -> None:
        self.finished += 1

    def failed(self, code: ErrorCode, message: str) -> None: ...


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def ledger(meter: Meter) -> Ledger:
    ledger = Ledger(meter)
    ledger.up("tts.0", 3, "tts")
    ledger.ready("tts.0", 3, 4)
    return ledger


@pytest.fixture
def ingress(meter: Meter, ledger: Ledger) -> Ingress:
    streams = cast(Any, SimpleNamespace())
    return Ingress(
        EPOCH, ledger, streams, streams, ledger.cancel, lambda sid: None, lambda instance: 3, lambda: 0, meter
    )


def test_what_cannot_be_understood_is_broken(ingress: Ingress, meter: Meter) -> None:
    ingress.receive([b"\xc1"])
    ingress.receive([b""])
    ingress.receive(pack(Report(supervisor_pid=1, rows=[])))
    assert meter.figures() == {"messages.broken": 3}


def test_what_is_past_is_refused(ingress: Ingress, ledger: Ledger, meter: Meter) -> None:
    job = Job()
    ledger.submit("s/1/tts/0", "tts", job, priority=0)
    [*ledger.dispatch(0)]
    item: dict[str, Any] = {"src": "tts.0", "id": "s/1/tts/0"}
    ingress.receive(pack(Done(**item, ep=3, broker=EPOCH - 1, attempt=0)))
    ingress.receive(pack(Done(**item, ep=2, broker=EPOCH, attempt=0)))
    ingress.receive(pack(Done(**item, ep=3, broker=EPOCH, attempt=1)))
    ingress.receive(pack(Hello(src="tts.0", ep=2, stage="tts", pid=1, held=[])))
    assert meter.figures() == {"messages.refused": 4}
    assert not job.finished
    ingress.receive(pack(Done(**item, ep=3, broker=EPOCH, attempt=0)))
    assert job.finished == 1
    assert meter.figures() == {"messages.refused": 4}


class Router:
    """The replies."""

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []

    def send(self, frame: Any, flags: int, copy: bool = True) -> None:
        if not flags & zmq.SNDMORE:
            self.replies.append(msgpack.unpackb(bytes(frame)))


def test_requests_are_counted_and_those_that_are_refused(meter: Meter) -> None:
    router = Router()

    class Gate:
        def request(self, nbytes: int) -> None:
            if nbytes > 100:
                raise ControlError(ErrorCode.TOO_LARGE, "too large")

        def before(self, account: Account, nbytes: int) -> None: ...

        def client(self, account: Account, now: int) -> None:
            assert account.fd is None

        def operation(self, key: str | None, op: str) -> None:
            assert key is None

    def health(request: Any, args: Nothing) -> None:
        request.reply(status="ok")
        request.refuse(ControlError(ErrorCode.INTERNAL, "an answer that comes too late"))

    control = Control(cast(Any, router), {"health": (Nothing, health)}, Gate(), meter)
    for body in (
        {"v": 1, "id": 1, "op": "health"},
        {"v": 1, "id": 2, "op": "dance"},
        {"v": 1, "id": 3, "op": "health", "more": "x" * 100},
    ):
        control.receive([zmq.Frame(b"client"), zmq.Frame(msgpack.packb(body))])
    control.receive([zmq.Frame(b"client"), zmq.Frame(b"\xc1")])
    assert [reply["ok"] for reply in router.replies] == [True, False, False, False]
    assert meter.figures() == {"requests": 4, "requests.refused": 3}
