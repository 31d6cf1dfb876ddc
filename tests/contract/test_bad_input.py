"""Bad input gets the contract's code and a message that helps; nothing dies of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon
from tests.support.limits import BEAT_S, REPLY_S, WORK_S
from tests.support.segments import speech_like, wav

SOUND = speech_like(0.5, 16_000)


@pytest.fixture(autouse=True)
def _nothing_dies(daemon: Daemon, stranger: Stranger) -> Iterator[None]:
    before = {row["instance"]: row["pid"] for row in stranger.control.ok("status")["stages"]}
    yield
    after = {row["instance"]: row["pid"] for row in stranger.control.ok("status")["stages"]}
    assert {name: after[name] for name in before if name != "prepare.0"} == {
        name: pid for name, pid in before.items() if name != "prepare.0"
    }
    assert stranger.control.ok("health")["status"] == "ok"


@pytest.fixture(scope="module")
def session(module_stranger: Stranger) -> Session:
    return module_stranger.session(mode="offline")


def _raw(stranger: Stranger, *frames: bytes) -> dict[str, Any]:
    socket = stranger.another_control().socket
    socket.send_multipart(frames)
    assert socket.poll(int(REPLY_S * 1000)), "no answer"
    return msgpack.unpackb(socket.recv_multipart()[-1])


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(100),
        msgpack.packb([1, 2, 3]),
        msgpack.packb("health"),
        msgpack.packb({"v": 1, "id": 1, "op": "health"})[:-3],
        msgpack.packb({"v": 1, "id": 1, "op": "health"}) + b"more",
        b"\x81" * 5000,
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb(msgpack.ExtType(5, b"x")),
    ],
    ids=["empty", "reserved", "http", "noise", "list", "str", "cut", "trailing", "nested", "bomb", "ext"],
)
def test_what_cannot_be_decoded(stranger: Stranger, request_bytes: bytes) -> None:
    reply = _raw(stranger, request_bytes)
    assert reply["id"] is None
    assert reply["ok"] is False
    assert reply["error"]["code"] == "INVALID_ARGUMENT"
    assert reply["error"]["message"]


@pytest.mark.parametrize(
    ("request_map", "code"),
    [
        ({"id": 7, "op": "health"}, "INVALID_ARGUMENT"),
        ({"v": 2, "id": 7, "op": "health"}, "UNSUPPORTED"),
        ({"v": "1", "id": 7, "op": "health"}, "UNSUPPORTED"),
        ({"v": 1, "id": 7}, "INVALID_ARGUMENT"),
        ({"v": 1, "id": 7, "op": 12}, "INVALID_ARGUMENT"),
        ({"v": 1, "id": 7, "op": "fly"}, "UNSUPPORTED"),
        ({"v": 1, "id": 7, "op": "__init__"}, "UNSUPPORTED"),
    ],
)
def test_envelopes_that_are_not_ours(stranger: Stranger, request_map: dict[str, Any], code: str) -> None:
    reply = _raw(stranger, msgpack.packb(request_map))
    assert reply["ok"] is False
    assert reply["id"] == 7
    assert reply["error"]["code"] in ({code, "INVALID_ARGUMENT"} if request_map.get("v") == "1" else {code})
    assert reply["error"]["message"]


def test_unknown_keys_are_ignored(stranger: Stranger) -> None:
    assert stranger.control.ok("health", surprise=[1, {"x": b"y"}])["status"] == "ok"


HOSTILE = [
    "", "../../etc/passwd", "a/b", "a b", "a\x00b", "x" * 65, "é", "*", ".", "sid.", 12, None, b"bytes", ["a"]
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_hostile_ids(stranger: Stranger, name: Any) -> None:
    for op, argument in (("say", "session_id"), ("delete_template", "template_id")):
        error = stranger.control.refused(op, **{argument: name, "text": "x"})
        assert error["code"] == "INVALID_ARGUMENT", (op, error)
        assert error["message"]
    if name is not None:
        error = stranger.control.refused("start_session", session_id=name)
        assert error["code"] == "INVALID_ARGUMENT"
        error = stranger.control.refused("start_session", template_id=name)
        assert error["code"] == "INVALID_ARGUMENT"
        error = stranger.control.refused("preprocess_template", template_id=name, image=b"x")
        assert error["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("say", {"text": "x"}),
        ("chat", {"text": "x"}),
        ("audio", {"pcm": b"\0\0"}),
        ("process_segment", {"audio": wav(SOUND, 16_000)}),
        ("interrupt", {}),
        ("segments", {"from_seq": 0}),
        ("events", {"from_n": 0}),
        ("end_session", {}),
    ],
)
def test_unknown_session(stranger: Stranger, op: str, arguments: dict[str, Any]) -> None:
    error = stranger.control.refused(op, session_id="nobody", **arguments)
    assert error["code"] == "NOT_FOUND"
    assert "nobody" in error["message"]


@pytest.mark.parametrize(
    ("op", "arguments", "code"),
    [
        ("say", {}, "INVALID_ARGUMENT"),
        ("say", {"text": 5}, "INVALID_ARGUMENT"),
        ("say", {"text": ""}, "INVALID_ARGUMENT"),
        ("say", {"text": "x" * 20_001}, "TOO_LARGE"),
        ("chat", {"text": b"bytes"}, "INVALID_ARGUMENT"),
        ("audio", {"pcm": "text"}, "INVALID_ARGUMENT"),
        ("audio", {"pcm": b"\0\0\0"}, "INVALID_ARGUMENT"),
        ("audio", {"pcm": b"\0\0", "sample_rate": 4000}, "INVALID_ARGUMENT"),
        ("audio", {"pcm": b"\0\0", "sample_rate": 96_000}, "INVALID_ARGUMENT"),
        ("audio", {"pcm": b"\0\0", "sample_rate": "16000"}, "INVALID_ARGUMENT"),
        ("audio", {"pcm": bytes(16_000 * 2 * 90)}, "TOO_LARGE"),
        ("process_segment", {}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": b"not a wav file at all, really"}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": wav(SOUND, 16_000)[:30]}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": b"ID3\x04" + bytes(100)}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": b"\0\0", "format": "s16le"}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": b"\0\0\0", "format": "s16le", "sample_rate": 16_000}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": b"\0\0", "format": "s16le", "sample_rate": 0}, "INVALID_ARGUMENT"),
        ("process_segment", {"audio": b"\0\0", "format": "mp3", "sample_rate": 16_000}, None),
        ("interrupt", {"turn": "one"}, "INVALID_ARGUMENT"),
        ("segments", {"from_seq": -1}, "INVALID_ARGUMENT"),
        ("segments", {"from_seq": 0, "max": 0}, "INVALID_ARGUMENT"),
        ("events", {"from_n": "x"}, "INVALID_ARGUMENT"),
    ],
)  # fmt: skip
def test_wrong_arguments(session: Session, op: str, arguments: dict[str, Any], code: str | None) -> None:
    error = session.refused(op, **arguments)
    assert error["code"] in ({code} if code else {"INVALID_ARGUMENT", "UNSUPPORTED"}), error
    assert len(error["message"]) > 10, error


@pytest.mark.parametrize(
    ("request_map", "step"),
    [
        ([], '"op": "health"'),
        ({"id": 7, "op": "health"}, "send 1"),
        ({"v": 9, "id": 7, "op": "health"}, "send 1"),
        ({"op": 12}, "such as 'health'"),
        ({"op": "fly"}, "start_session"),
        ({"op": "say", "session_id": "nobody", "text": "x"}, "start_session"),
        ({"op": "segments", "session_id": "nobody", "from_seq": 0}, "60 s"),
        ({"op": "say", "session_id": "{sid}", "text": " "}, "20000 characters"),
        ({"op": "say", "session_id": "{sid}", "text": "x" * 20_001}, "several turns"),
        ({"op": "audio", "session_id": "{sid}", "pcm": b"\0"}, "whole samples"),
        ({"op": "audio", "session_id": "{sid}", "pcm": bytes(16_000 * 2 * 90)}, "pieces as they are spoken"),
        ({"op": "process_segment", "session_id": "{sid}", "audio": b"ID3\4" + bytes(99)}, "ffmpeg"),
        ({"op": "process_segment", "session_id": "{sid}", "audio": b"\0", "format": "mp3"}, "'s16le'"),
        ({"op": "process_segment", "session_id": "{sid}", "audio": b"", "format": "s16le"}, "from 8000 to 48000"),
        ({"op": "start_session", "template_id": "nobody"}, "list_templates"),
        ({"op": "start_session", "mode": "sometimes"}, "'realtime' or 'offline'"),
        ({"op": "start_session", "fps": 30}, "give 25"),
        ({"op": "start_session", "idle": "loop", "mode": "offline"}, "mode 'realtime'"),
        ({"op": "start_session", "session_id": "{sid}"}, "choose another id"),
        ({"op": "delete_template", "template_id": "default"}, "others can be deleted"),
        ({"op": "preprocess_template", "template_id": "x"}, "exactly one of"),
        ({"op": "preprocess_template", "template_id": "x", "path": "/etc/passwd"}, "'image' or 'video'"),
        ({"op": "preprocess_template", "template_id": "default", "image": b"x"}, "another template_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_the_next_step(stranger: Stranger, session: Session, request_map: Any, step: str) -> None:
    if isinstance(request_map, dict) and "v" not in request_map and "id" not in request_map:
        request_map = {"v": 1, "id": 7} | request_map
    if isinstance(request_map, dict) and request_map.get("session_id") == "{sid}":
        request_map = request_map | {"session_id": session.sid}
    reply = _raw(stranger, msgpack.packb(request_map))
    assert reply["ok"] is False
    assert step in reply["error"]["message"], reply["error"]


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        ({"template_id": "nobody"}, {"NOT_FOUND"}),
        ({"mode": "sometimes"}, {"INVALID_ARGUMENT", "UNSUPPORTED"}),
        ({"fps": 30}, {"UNSUPPORTED"}),
        ({"fps": "25"}, {"INVALID_ARGUMENT", "UNSUPPORTED"}),
        ({"idle": 3}, {"INVALID_ARGUMENT"}),
        ({"quality": "best"}, {"INVALID_ARGUMENT", "UNSUPPORTED"}),
        ({"barge_in": "yes"}, {"INVALID_ARGUMENT"}),
    ],
)
def test_sessions_that_cannot_be(stranger: Stranger, arguments: dict[str, Any], codes: set[str]) -> None:
    error = stranger.control.refused("start_session", **arguments)
    assert error["code"] in codes, error
    assert error["message"]


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        ({}, {"INVALID_ARGUMENT"}),
        ({"image": b"not an image"}, {"INVALID_ARGUMENT", "FAILED"}),
        ({"video": b"not a video"}, {"INVALID_ARGUMENT", "FAILED"}),
        ({"image": b"x", "video": b"y"}, {"INVALID_ARGUMENT"}),
        ({"path": "/etc/passwd"}, {"INVALID_ARGUMENT", "NOT_FOUND"}),
        ({"path": "../../../../etc/passwd"}, {"INVALID_ARGUMENT", "NOT_FOUND"}),
        ({"path": 5}, {"INVALID_ARGUMENT"}),
    ],
)
def test_templates_that_cannot_be(stranger: Stranger, arguments: dict[str, Any], codes: set[str]) -> None:
    reply = stranger.control.call("preprocess_template", WORK_S, template_id="broken", **arguments)
    assert reply["ok"] is False
    assert reply["error"]["code"] in codes, reply["error"]
    assert "root:" not in reply["error"]["message"]
    names = [t["template_id"] for t in stranger.control.ok("list_templates")["templates"]]
    assert "broken" not in names


def test_more_than_32_mib_is_too_large(stranger: Stranger, session: Session) -> None:
    control = stranger.another_control()
    error = control.refused(
        "process_segment", session_id=session.sid, audio=bytes(33 << 20), format="s16le", sample_rate=48_000
    )
    assert error["code"] == "TOO_LARGE"
    assert error["message"]
    assert control.ok("health")["status"] == "ok", "the same connection goes on"


def test_more_than_64_mib_closes_the_connection(daemon: Daemon, stranger: Stranger) -> None:
    socket = stranger.context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    socket.connect(daemon.control)
    socket.send(msgpack.packb({"v": 1, "id": 1, "op": "health", "x": bytes(65 << 20)}))
    assert monitor.poll(int(REPLY_S * 1000)), "still connected"
    socket.disable_monitor()
    monitor.close(0)
    socket.close(0)


def test_a_subscriber_cannot_send_rubbish_to_the_stream(daemon: Daemon, stranger: Stranger) -> None:
    socket = stranger.context.socket(zmq.XSUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(daemon.stream)
    for message in (b"\x01" + os.urandom(60), b"\x07rubbish", b"", b"\x01" + b"x" * 3000, b"\x01sys."):
        socket.send(message)
    assert socket.poll(int(BEAT_S * 1000)), "the good subscription among them is served"
    socket.close(0)


def test_a_finished_turn_needs_no_more_audio(session: Session) -> None:
    """An empty piece is fine as the end of a turn."""
    calls: list[dict[str, Any]] = [
        {"audio": SOUND.tobytes(), "sample_rate": 16_000},
        {"audio": b"\0\0", "sample_rate": 8_000},
        {"audio": b"", "sample_rate": 16_000, "last": True},
    ]
    asked = [  # at once: a pause of 2 s would end the turn
        session.control.send("process_segment", session_id=session.sid, format="s16le", **call) for call in calls
    ]
    first, other_rate, last = [session.control.take(number) for number in asked]
    assert other_rate["error"]["code"] == "INVALID_ARGUMENT"
    assert last["turn"] == first["turn"]
    session.wait_ended(first["turn"])
