"""What holds of a session whatever has happened to the broker."""

from __future__ import annotations

import contextlib
import time
import zlib
from typing import Any

import msgpack
import zmq

from tests.support.client import TERMINAL, Control, Header, Session
from tests.support.daemon import Daemon
from tests.support.limits import BEAT_S, GONE_S, RECOVERY_S
from tests.support.segments import assert_seamless


def again(session: Session, op: str = "segments", limit_s: float = RECOVERY_S, **arguments: Any) -> dict[str, Any]:
    """The result of a request that is asked again when its connection ends: what was asked of the dead is lost.

    Somebody who lives is waited for, however slow: what is asked of him twice, he does twice.
    """
    deadline = time.monotonic() + limit_s
    while True:
        assert time.monotonic() < deadline, f"no answer to {op} within {limit_s} s"
        reply = answer(session.control.another(), deadline, op, session_id=session.sid, **arguments)
        if reply is None:
            continue
        if reply["ok"]:
            return reply
        assert reply["error"]["code"] == "BUSY", reply
        time.sleep(reply["error"]["retry_after_ms"] / 1000)


def answer(control: Control, deadline: float, op: str, **arguments: Any) -> dict[str, Any] | None:
    """The reply on this connection, which is used for nothing else; None when it has ended without one."""
    socket = control.socket
    ended = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    try:
        number = control.send(op, **arguments)
        poller = zmq.Poller()
        for one in (socket, ended):
            poller.register(one, zmq.POLLIN)
        ready = dict(poller.poll(max(0, int((deadline - time.monotonic()) * 1000))))
        return control.take(number) if socket in ready else None
    finally:
        socket.disable_monitor()
        ended.close(0)
        socket.close(0)


def told(session: Session, *names: str, turn: int, limit_s: float = RECOVERY_S) -> Header:
    """The first of these events, from the stream, or from the ring where it was lost on its way: the stream is at
    most once, and a subscriber may be kept from connecting again in time.
    """
    deadline = time.monotonic() + limit_s
    while True:
        ring = (msgpack.unpackb(raw) for raw in again(session, "events", from_n=0)["events"])
        for event in (*session.events(turn=turn), *ring):
            if event["event"] in names and event["turn"] == turn:
                return event
        assert time.monotonic() < deadline, f"no {'/'.join(names)} of turn {turn} within {limit_s} s"
        time.sleep(0.1)


def joined(session: Session) -> None:
    """Until the subscriber is there again: ``sys.`` comes once a second to everyone, now from the new broker."""
    again(session, "health")  # until the new one answers
    asked = time.monotonic()  # before it is asked: the answer may be slow to come
    uptime_s = again(session, "health")["uptime_s"]
    seen = len(session.stream.messages)
    session.stream.wait(
        lambda m: m.topic == "sys." and uptime_s <= m.header["uptime_s"] <= uptime_s + 1 + m.at - asked,
        BEAT_S,
        "sys. message of this broker",
        start=seen,
    )


def check_last_words(session: Session, daemon: Daemon) -> None:
    """Of a daemon that has stopped in the middle of a turn, its last broker has ended the session in order.

    The subscriber hears all of it, or nothing where it was kept from connecting again in time.
    """
    ends = [line["reason"] for line in daemon.logged("session.ended") if line["sid"] == session.sid]
    assert ends == ["shutdown"]
    with contextlib.suppress(AssertionError):
        session.wait_event("session.ended", timeout_s=GONE_S)
    heard = [event for event in session.events() if event["event"] in (*TERMINAL, "session.ended")]
    assert [event["event"] for event in heard] in ([], ["turn.failed", "session.ended"])
    assert not heard or heard[-1]["data"]["reason"] == "shutdown"


def read_back(session: Session) -> tuple[list[Header], list[Header]]:
    """Headers of all media and all events in the rings, whose payloads are right."""
    media: list[Header] = []
    while True:
        reply = again(session, from_seq=len(media), max=64)
        for raw, payload in reply["segments"]:
            header = msgpack.unpackb(raw)
            assert zlib.crc32(payload) == header["crc32"], header["seq"]
            media.append(header)
        if not reply["segments"] or media[-1]["seq"] == reply["newest_seq"]:
            break
    events: list[Header] = []
    while True:
        reply = again(session, "events", from_n=len(events))
        events += map(msgpack.unpackb, reply["events"])
        if not reply["events"] or events[-1]["n"] == reply["newest_n"]:
            return media, events


def check(session: Session, turns: int) -> tuple[list[Header], list[Header]]:
    """What holds of every session after whatever has happened to the broker."""
    media, events = read_back(session)
    assert [h["n"] for h in events] == list(range(len(events)))
    assert_seamless(media)
    assert len({h["boot"] for h in (*media, *events)}) == 1
    for turn in range(1, turns + 1):
        ends = [e["event"] for e in events if e["turn"] == turn and e["event"] in TERMINAL]
        assert len(ends) == 1, (turn, ends)
    # What a subscriber has seen is what was written: it connects again by itself, and sees nothing twice.
    seen = [m.header["seq"] for m in session.media]
    heard = [e["n"] for e in session.events()]
    assert seen == sorted(set(seen))
    assert heard == sorted(set(heard))
    by_seq = {h["seq"]: h for h in media}
    assert all(m.header == by_seq[m.header["seq"]] for m in session.media)
    return media, events
