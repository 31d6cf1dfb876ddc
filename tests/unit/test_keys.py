"""Key files, who is listed, and the socket that answers handshakes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq import auth

from broker.access import door
from broker.access.door import Door, key_of
from broker.access.keyring import Keyring
from broker.control.accounts import Accounts
from broker.ipc.sockets import Lock, SocketFactory
from broker.stream.joiners import Joiners
from clients.client import Client, NoDaemonError, RefusedError
from clients.daemon import door as door_of
from clients.keys import Handshake, Keys, connect
from configs import keys
from configs.keys import KeyFileError
from configs.schema import Config, Endpoints
from models.meter import Meter

LIMIT_S = 60.0
WATCH, OPERATE = 0, 3


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_is_made_is_private_and_pyzmq_reads_it(tmp_path: Path) -> None:
    made = keys.make(tmp_path / "keys" / "clients", "anna", scope=1)
    assert (mode(tmp_path / "keys"), mode(tmp_path / "keys" / "clients")) == (0o700, 0o700)
    assert (mode(made.public_file), mode(made.secret_file)) == (0o600, 0o600)
    assert sorted(one.name for one in made.public_file.parent.iterdir()) == ["anna.key", "anna.key_secret"]
    public, secret = auth.load_certificate(made.secret_file)
    assert auth.load_certificate(made.public_file) == (public, None)
    assert secret is not None
    assert zmq.curve_public(secret) == public == made.public.encode()
    listed = keys.read_listed(made.public_file)
    assert (listed.name, listed.public, listed.scope) == ("anna", made.public, ("watch", "talk"))


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    made = keys.make(tmp_path, "anna", scope=WATCH)
    made.secret_file.unlink()  # its owner has moved it away
    with pytest.raises(FileExistsError):
        keys.make(tmp_path, "anna", scope=OPERATE)
    assert [one.name for one in tmp_path.iterdir()] == ["anna.key"]
    assert keys.read_listed(made.public_file).public == made.public
    other = keys.make(tmp_path, "anna", scope=OPERATE, replace=True)
    assert keys.read_listed(made.public_file).public == other.public != made.public


def test_a_daemon_makes_its_own_once(tmp_path: Path) -> None:
    state = str(tmp_path)
    where = keys.default_secret_file(state), keys.default_clients_dir(state)
    assert list(keys.faults(state, *where)) == []
    keys.make_own(state, *where)
    first = keys.read_pair(where[0]), keys.local_pair(state)
    keys.make_own(state, *where)
    assert (keys.read_pair(where[0]), keys.local_pair(state)) == first
    assert list(keys.faults(state, *where)) == []
    assert list(keys.key_files(where[1])) == []
    Path(where[0]).unlink()  # lost, and to be replaced
    keys.make_own(state, *where)
    assert keys.read_pair(where[0]) != first[0]


def test_one_that_was_named_by_hand_is_not_made(tmp_path: Path) -> None:
    named = str(tmp_path / "mine.key_secret")
    keys.make_own(str(tmp_path), named, str(tmp_path / "clients"))
    assert not os.path.exists(named)
    ((key, fact, step),) = keys.faults(str(tmp_path), named, str(tmp_path / "clients"))
    assert key == "security.secret_key_file"
    assert "No such file" in fact
    assert "leave it empty" in step


@pytest.mark.parametrize(
    ("text", "permissions", "words"),
    [
        ("", 0o600, "no public key"),
        ('    public-key = "short"\n', 0o600, "40 characters"),
        (None, 0o644, "open to other users"),
    ],
)
def test_a_secret_file_that_cannot_be_used(tmp_path: Path, text: str | None, permissions: int, words: str) -> None:
    path = keys.make(tmp_path, "mine").secret_file
    if text is not None:
        path.write_text(text)
    path.chmod(permissions)
    with pytest.raises(KeyFileError, match=words):
        keys.read_pair(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_told_that_a_local_socket_is_not_theirs(tmp_path: Path) -> None:
    folder = tmp_path / "public"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control"))
        endpoints = Endpoints(control=f"ipc://{folder}/control", stream=f"ipc://{folder}/stream")
        assert door_of(Config(endpoints=endpoints)).keys is None
        os.seteuid(12345)
        try:
            with pytest.raises(NoDaemonError, match="for the daemon's user alone"):
                door_of(Config(endpoints=endpoints))
        finally:
            os.seteuid(0)


def test_a_folder_that_others_can_write_is_no_list(tmp_path: Path) -> None:
    clients = tmp_path / "clients"
    clients.mkdir()
    clients.chmod(0o777)
    found = list(keys.faults(str(tmp_path), keys.default_secret_file(str(tmp_path)), str(clients)))
    assert [key for key, _, _ in found] == ["security.clients_dir"]


# --- who is listed


def test_a_public_key_alone_may_everything_and_one_with_a_wrong_scope_nothing(tmp_path: Path) -> None:
    auth.create_certificates(tmp_path, "plain")
    made = keys.make(tmp_path, "typo", scope=WATCH)
    made.public_file.write_text(made.public_file.read_text().replace("scope = watch", "scope = wotch"))
    (tmp_path / "broken.key").write_text("no key")
    ring = Keyring("own", str(tmp_path))
    public, _ = auth.load_certificate(tmp_path / "plain.key")
    plain = ring.find(public.decode())
    assert plain is not None
    assert plain.may("operate")
    assert ring.find(made.public) is None


def test_what_comes_and_goes_counts_at_once(tmp_path: Path) -> None:
    ring = Keyring("own", str(tmp_path / "clients"))
    changes: list[int] = []
    ring.on_change = lambda: changes.append(1)
    made = keys.make(tmp_path / "clients", "anna", scope=WATCH)
    listed = ring.handshake(made.public)
    assert listed is not None
    assert not listed.may("talk")
    ring.look()
    assert changes == [1]
    text = made.public_file.read_text()
    made.public_file.write_text(text.replace("scope = watch", "scope = watch,talk"))
    ring.look()
    found = ring.find(made.public)
    assert found is not None
    assert found.may("talk")
    made.public_file.unlink()
    ring.look()
    assert ring.find(made.public) is None
    assert changes == [1, 1, 1]
    assert ring.find("own") is not None


def test_connections_of_one_key_count_together() -> None:
    made = Accounts()
    for fd in (1, 2, 3):
        made.came(fd)
        made.know(made.of(fd), "anna" if fd < 3 else "bob", shared=False)
    made.of(1).waiting, made.of(2).waiting, made.of(3).waiting = 2, 3, 5
    assert made.of(1).quota.waiting == 5 == made.of(3).quota.waiting
    bucket = made.of(1).quota.bucket
    made.went(1)
    assert made.of(2).quota.waiting == 3
    made.came(1)  # who connects again goes on with the same count
    made.know(made.of(1), "anna", shared=False)
    assert made.of(1).quota.bucket is bucket
    assert [account.fd for account in made.forget({"bob"})] == [2, 1]


def test_connections_of_the_daemons_own_key_count_for_themselves() -> None:
    made = Accounts()
    for fd in (1, 2):
        made.came(fd)
        made.know(made.of(fd), "own", shared=True)
    made.of(1).waiting = 7
    assert made.of(2).quota.waiting == 0


# --- real sockets


class Public:
    """Both public sockets with keys, turned by hand."""

    def __init__(self, folder: Path) -> None:
        self.clients = folder / "clients"
        self.server = keys.read_pair(keys.make(folder, "server").secret_file)
        self.anna = keys.make(self.clients, "anna", scope=WATCH)
        self.meter = Meter()
        self.ring = Keyring("own", str(self.clients))
        self.context: zmq.Context[Any] = zmq.Context()
        factory = SocketFactory(self.context)
        self.door = Door(factory.zap_bind(door.ADDRESS), self.ring, self.meter)
        lock = Lock(*self.server, door.DOMAIN)
        self.router = factory.router_bind("tcp://127.0.0.1:*", lock)
        self.xpub = factory.xpub_bind("tcp://127.0.0.1:*", lock)
        self.joiners = Joiners(self.xpub, 100, self.ring)
        self.ring.on_change = self.joiners.end_unlisted
        self.asked: list[str | None] = []
        self.joined: list[bytes] = []

    def turn(self) -> None:
        poller = zmq.Poller()
        for one in (self.door.socket, self.router, self.xpub, self.joiners.monitor):
            poller.register(one, zmq.POLLIN)
        for one, _ in poller.poll(20):
            if one is self.door.socket:
                self.door.read()
            elif one is self.router:
                self.asked.append(key_of(self.router.recv_multipart(copy=False)[-1]))
            elif one is self.xpub:
                topic = self.joiners.read()
                self.joined += [] if topic is None else [topic]
            else:
                self.joiners.accepted()

    def until(self, done: Any) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < deadline
            self.turn()

    def keys_of(self, made: keys.Made) -> Keys:
        return Keys(self.server.public, *keys.read_pair(made.secret_file))

    def client(self, kind: int, using: Keys | None) -> tuple[zmq.Socket[bytes], Handshake]:
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        handshake = Handshake(socket, has_keys=using is not None)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        where = self.router if kind == zmq.DEALER else self.xpub
        connect(socket, where.getsockopt_string(zmq.LAST_ENDPOINT), using)
        return socket, handshake


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Public]:
    made = Public(tmp_path)
    yield made
    made.joiners.close()
    made.context.destroy(linger=0)


def test_the_key_of_who_asks_comes_with_each_request(public: Public) -> None:
    dealer, handshake = public.client(zmq.DEALER, public.keys_of(public.anna))
    dealer.send(b"a request")
    public.until(lambda: public.asked)
    assert public.asked == [public.anna.public]
    assert handshake.refusal() == ""


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.SUB])
def test_who_is_not_listed_stays_outside_and_is_told(public: Public, kind: int) -> None:
    for using, words in (
        (Keys(public.server.public, *zmq.curve_keypair()), "does not know this client's key"),
        (
            Keys(zmq.curve_keypair()[0], *public.keys_of(public.anna)[1:]),
            "server key of this client is not the daemon's",
        ),
        (None, "takes only clients with a key"),
    ):
        socket, handshake = public.client(kind, using)
        if kind == zmq.DEALER:
            with contextlib.suppress(zmq.Again):  # refused already: there is nobody to send to
                socket.send(b"a request", zmq.NOBLOCK)
        public.until(lambda: words in handshake.refusal())  # noqa: B023 - called at once
        public.xpub.send_multipart([b"sys.", b"", b""])
        public.turn()
        assert not socket.poll(0)
    assert (public.asked, public.joined) == ([], [])
    assert public.meter.figures()["clients.unlisted"] == 1


def test_a_client_that_is_refused_does_not_wait_to_be_sent(public: Public) -> None:
    """What was sent before the refusal is lost; what is sent after it has nobody to go to."""
    router, xpub = (one.getsockopt_string(zmq.LAST_ENDPOINT) for one in (public.router, public.xpub))

    def refused() -> bool:
        try:
            client.send("health")
        except RefusedError as error:
            return "takes only clients with a key" in str(error)
        return False

    with Client(router, xpub) as client:
        public.until(refused)


def test_a_key_that_is_made_lets_in_and_one_that_is_removed_out(public: Public) -> None:
    stays, _ = public.client(zmq.SUB, public.keys_of(public.anna))
    bob = keys.make(public.clients, "bob", scope=WATCH)
    goes, handshake = public.client(zmq.SUB, public.keys_of(bob))
    public.until(lambda: len(public.joined) == 2)
    bob.public_file.unlink()
    public.ring.look()
    public.until(lambda: "does not know this client's key" in handshake.refusal())
    public.xpub.send_multipart([b"sys.", b"", b""])
    public.until(lambda: stays.poll(0))
    assert not goes.poll(0)


def test_a_client_with_keys_is_told_that_there_are_none(public: Public) -> None:
    plain = SocketFactory(public.context).router_bind("tcp://127.0.0.1:*")
    socket = public.context.socket(zmq.DEALER)
    handshake = Handshake(socket, has_keys=True)
    connect(socket, plain.getsockopt_string(zmq.LAST_ENDPOINT), public.keys_of(public.anna))
    public.until(lambda: "leave them out" in handshake.refusal())
