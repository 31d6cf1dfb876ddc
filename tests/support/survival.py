"""What holds of a session whatever has happened to the broker."""

from __future__ import annotations

import time
import zlib
from typing import Any

import msgpack

from tests.support.client import TERMINAL, Header, Session
from tests.support.limits import RECOVERY_S
from tests.support.segments import assert_seamless


def again(session: Session, op: str = "segments", limit_s: float = RECOVERY_S, **arguments: Any) -> dict[str, Any]:
    """The result of a request that is asked again until somebody answers: what was asked of the dead is lost."""
    deadline = time.monotonic() + limit_s
    while True:
        control = session.control.another()
        number = control.send(op, session_id=session.sid, **arguments)
        if control.socket.poll(250):
            reply = control.take(number)
            control.socket.close(0)
            if reply["ok"]:
                return reply
            assert reply["error"]["code"] == "BUSY", reply
            time.sleep(reply["error"]["retry_after_ms"] / 1000)
            assert time.monotonic() < deadline, reply
            continue
        control.socket.close(0)
        assert time.monotonic() < deadline, f"no answer to {op} within {limit_s} s"


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
