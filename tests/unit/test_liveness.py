"""Clients notice that their daemon is gone: the rule on a scripted clock, and a client at real sockets."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from clients import liveness
from clients.client import Client, DaemonGoneError, RequestError
from clients.liveness import FROZEN_S, LOOK_S, RESTART_S, SILENT_S, Liveness
from clients.reach import reach
from tests.support.limits import GONE_S
from tests.support.processes import wait_until


def watched(*, until: float, live: Liveness) -> list[float]:
    """Moments, in steps of 100 ms, at which a waiting client has to look whether anybody listens."""
    found = []
    for step in range(1, round(until * 10) + 1):
        now = step / 10
        live.watch(now)
        if live.doubtful(now):
            found.append(now)
    return found


def test_a_silent_daemon_is_looked_for_well_within_three_seconds() -> None:
    live = Liveness()
    live.watch(0.0)
    live.beacon(0.0, "b", 5.0)
    looks = watched(until=3.0, live=live)
    assert looks[0] == pytest.approx(SILENT_S, abs=0.11)
    assert SILENT_S + RESTART_S + LOOK_S <= 3.0
    assert all(b - a >= LOOK_S - 1e-9 for a, b in itertools.pairwise(looks)), "it looks all the time"


def test_nothing_is_doubted_before_the_first_sign_of_life() -> None:
    assert watched(until=60.0, live=Liveness()) == []


def test_time_in_which_nobody_looked_is_no_silence() -> None:
    live = Liveness()
    live.watch(0.0)
    live.beacon(0.0, "b", 5.0)
    live.watch(100.0)
    assert not live.doubtful(100.0)
    assert not live.frozen(100.0)
    live.watch(100.0 + SILENT_S)  # again longer than a wait: the program was stopped
    assert not live.doubtful(100.0 + SILENT_S)


def test_frozen_is_only_who_has_sent_beacons() -> None:
    mute, spoke = Liveness(), Liveness()
    for live in (mute, spoke):
        live.watch(0.0)
    mute.reply(0.0, "b")
    spoke.beacon(0.0, "b", 1.0)
    for step in range(1, int(FROZEN_S * 2) + 4):
        for live in (mute, spoke):
            live.watch(step / 2)
    now = FROZEN_S + 1.5
    assert spoke.frozen(now)
    assert not mute.frozen(now), "its beacons do not get here at all"


@pytest.mark.parametrize(
    ("boot", "uptime_s", "restarted"),
    [("a", 10.9, (0, 0)), ("a", 3.0, (0, 1)), ("b", 12.0, (1, 0)), ("b", 1.0, (1, 0))],
    ids=["the next beacon", "a new broker", "a new daemon", "a new one, just started"],
)
def test_restarts_are_told_by_boot_and_uptime(boot: str, uptime_s: float, restarted: tuple[int, int]) -> None:
    live = Liveness()
    live.reply(0.0, "a")
    live.beacon(0.5, "a", 10.0)
    live.reply(1.0, "a")  # of `health`: says nothing of the time
    live.beacon(1.5, boot, uptime_s)
    assert (live.starts, live.brokers) == restarted


class FakeDaemon:
    """The two sockets of a daemon that answers nothing and sends the beacons that it is told to."""

    def __init__(self, control: int = 0) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.xpub = self.context.socket(zmq.XPUB)
        for one in (self.router, self.xpub):
            one.setsockopt(zmq.LINGER, 0)
            one.bind("tcp://127.0.0.1:*")
        self.control = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.stream = self.xpub.getsockopt_string(zmq.LAST_ENDPOINT)

    def beacon(self, boot: str, uptime_s: float) -> None:
        self.xpub.send_multipart([b"sys.", msgpack.packb({"boot": boot, "uptime_s": uptime_s}), b""])

    def subscribed(self) -> None:
        assert self.xpub.poll(GONE_S * 1000)
        assert self.xpub.recv() == b"\x01sys."

    def asked(self) -> None:
        assert self.router.poll(GONE_S * 1000)
        self.router.recv_multipart()

    def die(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    one = FakeDaemon()
    yield one
    one.die()


def until_heard(client: Client, number: int) -> None:
    """Wait for the first beacon, while nobody answers the request."""

    def heard() -> bool:
        assert not client.ready(number, 0.01)
        return client._liveness._boot is not None

    wait_until(heard, GONE_S, "a beacon")


def test_a_request_ends_when_the_daemon_dies(fake: FakeDaemon) -> None:
    with Client(fake.control, fake.stream) as client:
        fake.subscribed()
        fake.beacon("a", 1.0)
        number = client.send("preprocess_template")
        fake.asked()
        until_heard(client, number)
        killer = threading.Timer(0.1, fake.die)
        killer.start()
        with pytest.raises(DaemonGoneError, match="musecast up"):
            client.receive(number, GONE_S)
        killer.join()
        with pytest.raises(DaemonGoneError):  # at once, not after another silence
            client.request("end_session", timeout_s=GONE_S)


def test_a_request_and_a_subscription_end_when_another_daemon_has_taken_its_place(fake: FakeDaemon) -> None:
    with Client(fake.control, fake.stream) as client:
        fake.subscribed()
        fake.beacon("a", 1.0)
        number = client.send("preprocess_template")
        subscription = client.subscribe("seg.x.")
        until_heard(client, number)
        fake.beacon("b", 0.5)
        with pytest.raises(DaemonGoneError, match="anew"):
            client.receive(number, GONE_S)
        with pytest.raises(DaemonGoneError, match="anew"):
            subscription.receive(GONE_S)
        later = client.send("health")
        fake.asked()
        assert not client.ready(later, 0.1), "the new daemon is waited for"


def test_requests_are_asked_again_or_refused_when_another_broker_serves(fake: FakeDaemon) -> None:
    with Client(fake.control, fake.stream) as client:
        fake.subscribed()
        fake.beacon("a", 9.0)
        subscription = client.subscribe("seg.x.")
        said, read = client.send("say", text="Hello."), client.send("segments")
        fake.asked()
        fake.asked()
        until_heard(client, said)
        fake.beacon("a", 0.5)
        with pytest.raises(RequestError, match=r"'say'.* events tell") as lost:
            client.receive(said, GONE_S)
        assert lost.value.code == "FAILED"
        assert fake.router.poll(GONE_S * 1000)
        identity, request = fake.router.recv_multipart()
        assert msgpack.unpackb(request) == {"v": 1, "id": read, "op": "segments"}
        fake.router.send_multipart([identity, msgpack.packb({"v": 1, "id": read, "ok": True, "end": False})])
        assert client.receive(read, GONE_S) == {"end": False}
        assert subscription.receive(0.1) is None, "it goes on"


def test_who_does_not_listen_for_a_moment_may_be_about_to_be_replaced() -> None:
    live = Liveness()
    assert not live.refused(10.0)
    assert not live.refused(10.0 + RESTART_S - 0.01)
    live.listens()
    assert not live.refused(20.0)
    assert live.refused(20.0 + RESTART_S)


def test_a_daemon_that_listens_and_is_late_is_waited_for(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "SILENT_S", 0.1)
    with Client(fake.control, fake.stream) as client:
        fake.subscribed()
        fake.beacon("a", 1.0)
        assert not client.ready(client.send("preprocess_template"), 1.0)


def test_reach() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind("tcp://127.0.0.1:*")
        address = router.getsockopt_string(zmq.LAST_ENDPOINT)
        assert reach(address, GONE_S) == "listens"
    assert reach(address, GONE_S) == "refused"
    assert reach("ipc:///nowhere/socket", GONE_S) == "refused"


def test_a_text_that_is_no_utf8_is_refused_by_its_name(fake: FakeDaemon) -> None:
    with (
        Client(fake.control, fake.stream) as client,
        pytest.raises(RequestError, match="'text' has bytes") as found,
    ):
        client.request("say", session_id="s", text="a\udcff")
    assert (found.value.code, found.value.op) == ("INVALID_ARGUMENT", "say")
