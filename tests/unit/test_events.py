"""The public events: the names and fields of the protocol, and their bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
import zmq

from broker.errors import ErrorCode
from broker.journal.journal import Journal
from broker.journal.state import State
from broker.stream import events
from broker.stream.events import Event
from broker.stream.publisher import Publisher
from configs.schema import Ring

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text("utf-8")
DECLARED = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and hasattr(kind, "name")
]


def rows() -> dict[str, str]:
    """Event to its row in the protocol's table."""
    table = re.search(r"\| event \| data \|\n\|---\|---\|\n(.*?)\n\n", PAGE, re.DOTALL)
    assert table is not None
    return {
        name: line for line in table[1].splitlines() for name in re.findall(r"`([a-z.]+)`", line.split("|")[1])
    }


def test_the_events_are_those_of_the_protocol_each_declared_once() -> None:
    assert sorted(kind.name for kind in DECLARED) == sorted(rows())


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: kind.name)
def test_the_protocol_tells_every_field(kind: type[Event]) -> None:
    for field in msgspec.structs.fields(kind):
        assert f"`{field.name}`" in rows()[kind.name]


class Socket:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self._frames: list[bytes] = []

    def send(self, frame: bytes, flags: int, copy: bool = True) -> None:
        self._frames.append(frame)
        if not flags & zmq.SNDMORE:
            self.sent.append(self._frames)
            self._frames = []


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def publisher(socket: Socket) -> Publisher:
    return Publisher(socket, "boot", None, Journal(None, "boot", Ring()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "pts", "data"),
    [
        (events.SessionStarted(False), None, {"record": False}),
        (events.SpeechStarted(), 320_000, {}),
        (events.SentencePlaced(0, "Hi.", 0, None), None, {"index": 0, "text": "Hi.", "pts": 0, "dur": None}),
        (
            events.TurnInterrupted(5, "client", "So far"),
            None,
            {"flush_from": 5, "reason": "client", "spoken_text": "So far"},
        ),
        (
            events.TurnInterrupted(5, "no_speech", message="nothing was said"),
            None,
            {"flush_from": 5, "reason": "no_speech", "spoken_text": "", "message": "nothing was said"},
        ),
        (events.TurnFailed(ErrorCode.FAILED, "why"), None, {"code": "FAILED", "message": "why"}),
    ],
)
def test_an_event_is_one_map_in_the_protocols_order(
    publisher: Publisher, socket: Socket, event: Event, pts: int | None, data: dict[str, Any]
) -> None:
    channel = publisher.open("s", b"init", "video/mp4")
    publisher.event(channel, 7, event, State(), 3, pts=pts)
    header = {"v": 1, "boot": "boot", "sid": "s", "n": 7, "event": event.name, "turn": 3}
    header |= {} if pts is None else {"pts": pts}
    assert socket.sent[-1] == [b"evt.s.", msgpack.packb(header | {"data": data}), b""]


def test_what_everybody_is_told(publisher: Publisher, socket: Socket) -> None:
    publisher.template(events.TemplateProgress("anna", "frames", 1, 8))
    publisher.beacon(events.Beacon(1.5, 2, "ok"))
    progress = {"v": 1, "boot": "boot", "template_id": "anna", "phase": "frames", "done": 1, "total": 8}
    beacon = {"v": 1, "boot": "boot", "uptime_s": 1.5, "sessions": 2, "status": "ok"}
    assert socket.sent == [[b"tpl.anna.", msgpack.packb(progress), b""], [b"sys.", msgpack.packb(beacon), b""]]
