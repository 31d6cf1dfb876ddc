"""``WS /ws/{sid}``: a viewer has everything that a subscriber has, and may ask and talk."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import re
import select
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests.support.client import Session, Stranger
from tests.support.daemon import LIGHT, Daemon, stage_row
from tests.support.gateway import OVERRIDE, WebSocket, url_of
from tests.support.limits import GONE_S, RECOVERY_S, REPLY_S, WORK_S
from tests.support.microphone import question
from tests.support.processes import wait_until
from tests.support.segments import assert_continuous, assert_seamless, check_segment, decode
from tests.support.word_error import words

OVERRIDES = (OVERRIDE, *LIGHT)
LONG = "One two three four five six seven eight nine ten. " * 2
CUT = LONG * 3
"""Of what is cut; nobody may be held up until its end."""


@pytest.fixture
def base(own_daemon: Daemon) -> str:
    return url_of(own_daemon)


@pytest.fixture
def stranger(own_daemon: Daemon, connect: Callable[[Daemon], Stranger]) -> Stranger:
    return connect(own_daemon)


@pytest.fixture
def watch(base: str) -> Iterator[Callable[..., WebSocket]]:
    opened: list[WebSocket] = []

    def one(session: Session, query: str = "", **options: object) -> WebSocket:
        opened.append(WebSocket(base, session.sid, query, **options))
        return opened[-1]

    yield one
    for socket_ in opened:
        socket_.close()


Watch = Callable[..., WebSocket]


def joined(viewer: WebSocket) -> WebSocket:
    """Once it has the ``init`` it misses nothing."""
    viewer.until(lambda: viewer.messages, "init", REPLY_S)
    assert viewer.messages[0].header["kind"] == "init"
    return viewer


def test_a_viewer_gets_what_a_subscriber_gets_and_the_end_closes_it(stranger: Stranger, watch: Watch) -> None:
    session = stranger.session()
    first, second = joined(watch(session)), joined(watch(session, compression="deflate"))
    assert second.connection.protocol.extensions == [], "it costs the loop 6 ms a segment, for 2 % of its size"
    session.speak("Hello, I am made of segments.")
    session.end()
    session.wait_event("session.ended")
    for viewer in (first, second):
        assert viewer.wait_closed() == 1000
        assert viewer.connection.subprotocol == "musecast"
        assert viewer.messages[0].payload == session.reply["init"]
        assert [m.header for m in viewer.media] == [m.header for m in session.media]
        assert [m.payload for m in viewer.media] == [m.payload for m in session.media]
        told = [m.header for m in viewer.messages if "event" in m.header]
        assert told == session.events()[-len(told) :]
        assert viewer.names[-1] == "session.ended"
        for one in viewer.media:
            check_segment(one.header, one.payload)
        sentence, segment = viewer.names.index("sentence"), viewer.media[0]
        assert viewer.messages.index(segment) > sentence
    frames = sum(m.header["frames"] for m in first.media)
    assert_continuous(decode(first.messages[0].payload + b"".join(m.payload for m in first.media)), 0, frames)


def test_a_session_that_is_not_there_is_4404(base: str) -> None:
    viewer = WebSocket(base, uuid.uuid4().hex)
    assert viewer.wait_closed() == 4404
    viewer.close()


def test_one_who_comes_back_gets_the_rest_once_and_one_who_begins_at_0_everything(
    stranger: Stranger, watch: Watch
) -> None:
    session = stranger.session()
    gone = joined(watch(session))
    turn = session.say(CUT)
    gone.until(lambda: len(gone.media) >= 2, "two segments")
    gone.close()
    session.ok("interrupt", turn=turn)
    session.speak("And something else.")
    seq = gone.seqs[-1] + 1
    n = max((m.header["n"] for m in gone.messages if "event" in m.header), default=-1) + 1
    back, whole = watch(session, f"?from_seq={seq}&from_n={n}"), watch(session, "?from_seq=0&from_n=0")
    session.end()
    session.wait_event("session.ended")
    for viewer, first_seq, first_n in ((back, seq, n), (whole, 0, 0)):
        assert viewer.wait_closed() == 1000
        assert viewer.messages[0].header["kind"] == "init"
        assert_seamless([m.header for m in viewer.media], first_seq)
        assert viewer.seqs[-1] == session.media[-1].header["seq"]
        numbers = [m.header["n"] for m in viewer.messages if "event" in m.header]
        assert numbers == list(range(first_n, session.events()[-1]["n"] + 1))
    # As on the stream: the last of the old generation, the event, media of the new one.
    order = [m.header.get("gen", m.header.get("event")) for m in whole.messages[1:]]
    cut = order.index("turn.interrupted")
    assert set(order[:cut]) & {0, 1} <= {0}
    assert set(order[cut:]) & {0, 1} <= {1}


@pytest.mark.parametrize("query", ["?from_seq=x", "?from_n=-1", "?from_seq=99999999999999999999"])
def test_a_number_that_is_none_is_refused(stranger: Stranger, watch: Watch, query: str) -> None:
    assert watch(stranger.session(), query).wait_closed() == 1008


def test_requests_are_answered_as_json(stranger: Stranger, watch: Watch) -> None:
    session = stranger.session()
    viewer = joined(watch(session))
    said = viewer.ask("say", text="Hello there.")
    assert said["ok"]
    assert said["turn"] == 1
    viewer.wait_event("turn.ended")
    back = viewer.ask("segments", from_seq=0)
    assert base64.b64decode(back["init"]) == session.reply["init"]
    assert [h["seq"] for h, _ in back["segments"]] == viewer.seqs
    assert base64.b64decode(back["segments"][0][1]) == viewer.media[0].payload
    assert viewer.ask("events", from_n=0)["events"][0]["event"] == "session.started"
    for arguments, code in (
        ({"op": "no_such"}, "UNSUPPORTED"),
        ({"op": "say", "text": 5}, "INVALID_ARGUMENT"),
        ({"op": "interrupt", "session_id": "another"}, "UNAUTHENTICATED"),
        ({"op": "audio", "pcm": "?"}, "INVALID_ARGUMENT"),
        ({"op": "microphone", "sample_rate": 7}, "INVALID_ARGUMENT"),
        ({"op": "microphone", "echo_cancelled": 1}, "INVALID_ARGUMENT"),
    ):
        reply = viewer.ask(**arguments)
        assert not reply["ok"]
        assert reply["error"]["code"] == code
    for text in ("no json", "[]", "{}", '{"op": 1}', '{"op": "say", "id": []}'):
        before = len(viewer.replies)
        viewer.connection.send(text)
        reply = viewer.until(lambda before=before: viewer.replies[before:], f"reply to {text}")[0]
        assert (reply["id"], reply["error"]["code"]) == (None, "INVALID_ARGUMENT")
    assert viewer.ask("interrupt")["ok"]


def test_a_microphone_is_heard(stranger: Stranger, watch: Watch) -> None:
    samples, rate = question()
    sound = samples.tobytes()
    viewer = joined(watch(stranger.session()))
    assert viewer.ask("microphone", sample_rate=rate, echo_cancelled=True)["ok"]
    for at in range(0, len(sound), rate // 25):
        viewer.connection.send(sound[at : at + rate // 25])
    assert viewer.ask("audio", end=True)["ok"]
    heard = viewer.wait_event("transcript.final")["data"]["text"]
    assert words(heard) == words("What happens when I ask a question")
    viewer.wait_event("speech.started")
    before = len(viewer.replies)
    viewer.connection.send(b"odd")
    assert viewer.until(lambda: viewer.replies[before:], "refusal")[0]["error"]["code"] == "INVALID_ARGUMENT"


def frozen(base: str, sid: str) -> socket.socket:
    """A viewer that never reads, with little room for what is sent to it."""
    host, port = base.removeprefix("http://").split(":")
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect((host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    one.sendall(
        f"GET /ws/{sid} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return one


def test_slow_ones_cost_the_others_nothing_and_are_told(stranger: Stranger, base: str, watch: Watch) -> None:
    session = stranger.session(mode="offline", quality="lossless")  # much media, quickly
    fast = joined(watch(session))
    slow, patient = (joined(watch(session, bytes_per_s=rate, **narrow(base))) for rate in (100_000, 1))
    before, closed = memory_of_gateway(stranger), too_slow(base)
    turns = [session.say(LONG)]
    wait_until(lambda: too_slow(base) > closed, WORK_S, "one that takes nothing to be closed")
    patient.hurry.set()
    assert patient.wait_closed() == 1013
    with frozen(base, session.sid) as stuck:
        turns.append(session.say(LONG))
        for turn in turns:
            session.wait_ended(turn)
        fast.until(lambda: fast.names.count("turn.ended") == len(turns), "all turns")
        # Where this process itself stood still, it was too slow, too, and is told so.
        assert told_of(fast) == list(range(len(session.media)))
        assert len(fast.media) > len(session.media) / 2
        if "gateway.skipped" not in fast.names:
            assert_seamless([m.header for m in fast.media])
        poller = select.poll()
        poller.register(stuck, 0)  # only what nobody has to ask for: that it was cut off
        assert poller.poll(GONE_S * 1000), "a viewer that reads nothing is still connected"
        assert memory_of_gateway(stranger) - before < 64
    slow.hurry.set()
    session.end()
    assert fast.wait_closed() == 1000
    # At this pace a viewer is served with holes, or, where three segments in a row take too long, closed.
    code = slow.wait_closed()
    told = told_of(slow)
    assert told == list(range(len(told)))
    if code == 1000:
        assert "gateway.skipped" in slow.names
        assert len(told) == len(session.media)


def narrow(base: str) -> dict[str, object]:
    """How to connect with little room for what is sent to oneself."""
    host, port = base.removeprefix("http://").split(":")
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect((host, int(port)))
    return {"sock": one, "max_queue": 1, "ping_interval": None}


def told_of(viewer: WebSocket) -> list[int]:
    """Every segment that it got, or was told that it does not get."""
    found: list[int] = []
    for header in (m.header for m in viewer.messages):
        if header.get("event") == "gateway.skipped":
            found += range(header["data"]["from_seq"], header["data"]["to_seq"] + 1)
        elif header.get("kind") == "media":
            found.append(header["seq"])
    return found


def too_slow(base: str) -> float:
    """Viewers that this gateway has closed because they took nothing."""
    figures = httpx.get(f"{base}/metrics", timeout=REPLY_S).text
    found = re.search(r"^musecast_viewers_too_slow_total(?:{.*})? ([0-9.]+)$", figures, re.MULTILINE)
    return float(found[1]) if found else 0.0


def memory_of_gateway(stranger: Stranger) -> float:
    return float(stage_row(stranger.control.ok("status"), "gateway")["rss_mb"])


def test_a_gateway_that_is_killed_in_mid_turn_costs_no_segment(
    own_daemon: Daemon, stranger: Stranger, base: str, watch: Watch
) -> None:
    session = stranger.session()
    viewers = [joined(watch(session))]
    turn = session.say(LONG)
    viewers[0].until(lambda: len(viewers[0].media) >= 2, "two segments")
    os.kill(stage_row(stranger.control.ok("status"), "gateway")["pid"], signal.SIGKILL)
    viewers[0].wait_closed()
    viewers.append(reconnected(own_daemon, watch, session, viewers))
    session.wait_ended(turn)
    session.end()
    # 1012, come back: said again while the new gateway has no connection or the daemon is too busy to answer.
    while (code := viewers[-1].wait_closed()) == 1012:
        viewers.append(reconnected(own_daemon, watch, session, viewers))
    told = [(viewer.code, viewer.seqs, viewer.names) for viewer in viewers]
    assert code == 1000, told
    last = session.wait_event("session.ended")["n"]
    got = [message for viewer in viewers for message in viewer.messages]
    assert "gateway.skipped" not in [m.header.get("event") for m in got], told
    assert [m.header["seq"] for m in got if m.header.get("kind") == "media"] == [
        m.header["seq"] for m in session.media
    ], told
    assert numbers(viewers[-1])[-1] == last, told


def numbers(viewer: WebSocket) -> list[int]:
    """Of its events."""
    return [m.header["n"] for m in list(viewer.messages) if "n" in m.header]


def reconnected(daemon: Daemon, watch: Watch, session: Session, before: list[WebSocket]) -> WebSocket:
    """As a page does it: again and again, until the ``init`` is there; goes on where those before it were."""
    seq = max(itertools.chain(*(viewer.seqs for viewer in before)), default=-1) + 1
    n = max(itertools.chain(*map(numbers, before)), default=-1) + 1
    deadline = time.monotonic() + RECOVERY_S
    while True:
        with contextlib.suppress(OSError, WebSocketException):  # reset by what dies, refused, or too early
            viewer = watch(session, f"?from_seq={seq}&from_n={n}")
            viewer.until(lambda viewer=viewer: viewer.messages or viewer.code, "init or end")
            if viewer.messages:
                return viewer
        assert time.monotonic() < deadline, f"no gateway again\n{daemon.tail()}"
        time.sleep(0.05)


def test_a_daemon_that_stops_tells_its_viewers_to_come_back(own_daemon: Daemon, watch: Watch) -> None:
    """The last one: the daemon is gone."""
    stranger = Stranger(own_daemon.control, own_daemon.stream)
    try:
        idling, speaking = stranger.session(idle="loop"), stranger.session()
        viewers = [joined(watch(session)) for session in (idling, speaking)]
        speaking.say(CUT)
        viewers[1].until(lambda: viewers[1].media, "a segment")
        assert own_daemon.stop() == 0
        assert [viewer.wait_closed() for viewer in viewers] == [1012, 1012]
    finally:
        stranger.close(end=False)
