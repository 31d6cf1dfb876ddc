"""The control socket and its single connections, read in an order that the test decides."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq

from broker.access.door import ADDRESS, DOMAIN, Door
from broker.access.keyring import Keyring
from broker.control import server
from broker.control.admission import Admission
from broker.control.requests import Nothing
from broker.ipc.connections import Connections, descriptor
from broker.ipc.sockets import Lock, SocketFactory
from configs import keys, scopes
from configs.schema import Limits
from models.meter import Meter
from tests.support.client import Control
from tests.support.harness import ROOT, environment
from tests.support.limits import REPLY_S

CLIENT = """
import sys, msgpack, zmq
context, dealer = zmq.Context(), None
for line in sys.stdin:
    what, *keys = line.split()
    if what == "ask":
        dealer = context.socket(zmq.DEALER)
        if keys:
            dealer.curve_serverkey, dealer.curve_publickey, dealer.curve_secretkey = map(str.encode, keys)
        dealer.connect(sys.argv[1])
        dealer.send(msgpack.packb({"v": 1, "id": 1, "op": "wait"}))
    elif what == "leave":
        dealer.close(0)
    elif dealer.poll(float(what) * 1000):
        reply = msgpack.unpackb(dealer.recv())
        print(reply["ok"] or reply["error"]["code"], flush=True)
    else:
        print("no reply", flush=True)
"""
TRIES = 10


class Client:
    """One that connects and leaves when it is told, in a process of its own: its descriptors are not ours."""

    def __init__(self, endpoint: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            text=True,
        )

    def tell(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=REPLY_S)


class Broker:
    """A control socket that is read when the test says so; ``wait`` is answered when it says so, too."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        limits: Limits,
        keyring: Keyring | None = None,
        lock: Lock | None = None,
    ) -> None:
        factory = SocketFactory(context)
        self.door = None if keyring is None else Door(factory.zap_bind(ADDRESS), keyring, Meter())
        self.router = factory.router_bind("tcp://127.0.0.1:0", lock)
        self.endpoint = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.connections = Connections(self.router)
        self.asked: list[server.Request] = []
        self.numbers: list[int | None] = []
        """Of the connections that have asked, in order."""
        config = SimpleNamespace(limits=limits, timeline=None)
        self.control = server.Control(
            self.router,
            {"wait": (Nothing, self._wait), "health": (Nothing, lambda request, _: request.reply())},
            Admission(cast(Any, config), cast(Any, None), cast(Any, None), keyring),
            Meter(),
            self.connections,
            keyring,
        )

    def _wait(self, request: server.Request, args: Nothing) -> None:
        self.asked.append(request)

    def receive(self) -> None:
        """Wait for one request, and read it and nothing else; who knocks meanwhile is answered."""
        poller, deadline = zmq.Poller(), time.monotonic() + REPLY_S
        for socket in (self.router,) if self.door is None else (self.router, self.door.socket):
            poller.register(socket, zmq.POLLIN)
        while self.router not in dict(poller.poll(1000)):
            assert time.monotonic() < deadline, "nobody asks"
            if self.door is not None:
                self.door.read()
        frames = self.router.recv_multipart(copy=False)
        self.numbers.append(descriptor(frames[-1]))
        self.control.receive(frames)

    def close(self) -> None:
        self.control.close()
        self.router.close(0)
        if self.door is not None:
            self.door.socket.close(0)


@pytest.fixture
def bind() -> Iterator[Callable[..., Broker]]:
    made: list[Broker] = []
    with zmq.Context() as context:

        def one(*arguments: Any) -> Broker:
            made.append(Broker(context, *arguments))
            return made[-1]

        yield one
        for broker in made:
            broker.close()


def test_the_request_of_a_new_connection_is_not_dropped_with_its_predecessor(
    bind: Callable[..., Broker],
) -> None:
    """It has the number of one that has just gone, and is read before the broker has read of that."""
    broker = bind(Limits())
    client = Client(broker.endpoint)
    try:
        client.tell("ask")
        broker.receive()
        for _ in range(TRIES):
            broker.control.changed()
            client.tell("leave")
            assert broker.connections.monitor.poll(int(REPLY_S * 1000))
            client.tell("ask")
            broker.receive()
            if broker.numbers[-1] == broker.numbers[-2]:
                break
        assert broker.numbers[-1] == broker.numbers[-2], "the system gives the lowest number that is free"
        broker.control.changed()
        broker.asked[-1].reply()
        client.tell(str(REPLY_S))
        assert client.heard() == "True"
    finally:
        client.close()


def test_a_request_has_the_scopes_of_the_key_that_it_came_with(
    bind: Callable[..., Broker], tmp_path: Path
) -> None:
    """Whatever the key of the connection before may, whose number it has."""
    clients, server = tmp_path / "clients", Lock(*zmq.curve_keypair(), DOMAIN)
    answers = {"watch": "UNAUTHENTICATED", "operate": "True"}
    made = {scope: keys.make(clients, scope, scope=scopes.level(scope)) for scope in answers}
    broker = bind(Limits(), Keyring("nobody", str(clients)), server)
    client = Client(broker.endpoint)
    followed: set[str] = set()
    try:
        for scope in [*answers] * TRIES:
            pair = keys.read_pair(made[scope].secret_file)
            client.tell(" ".join(["ask", *(one.decode() for one in (server.public, *pair))]))
            broker.receive()
            for request in broker.asked:
                request.reply()
            client.tell(str(REPLY_S))
            assert client.heard() == answers[scope]
            if broker.numbers[-1] in broker.numbers[-2:-1]:
                followed.add(scope)
            if followed == {*answers}:
                break
            broker.control.changed()
            client.tell("leave")
            assert broker.connections.monitor.poll(int(REPLY_S * 1000))
        assert followed == {*answers}, "the system gives the lowest number that is free"
    finally:
        client.close()


def test_requests_of_one_client_have_a_rate(bind: Callable[..., Broker]) -> None:
    broker = bind(Limits(requests_per_s=10))
    with zmq.Context() as context:
        hasty, other = Control(broker.endpoint, context), Control(broker.endpoint, context)
        numbers = [hasty.send("health") for _ in range(300)]
        for _ in numbers:
            broker.receive()
        replies = [hasty.take(number) for number in numbers]
        refused = [reply["error"] for reply in replies if not reply["ok"]]
        assert refused
        assert all(reply["ok"] for reply in replies[:10])
        assert {error["code"] for error in refused} == {"BUSY"}
        assert all(1 <= error["retry_after_ms"] <= 1000 for error in refused)
        number = other.send("health")
        broker.receive()
        assert other.take(number)["ok"], "another client is not concerned"
        for one in (hasty, other):
            one.socket.close(0)
