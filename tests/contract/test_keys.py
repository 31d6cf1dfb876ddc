"""A daemon whose sockets take only listed keys, from outside: pyzmq's certificate files, and no code of ours."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import zmq
from zmq import auth

from clients.adapters.avatar import Avatar, Over
from clients.client import Client, RefusedError
from clients.keys import Keys as ClientKeys
from tests.contract.test_cli import _run
from tests.support.client import Control, Keys, Stranger, context_with
from tests.support.daemon import Daemon, stage_row
from tests.support.gateway import OVERRIDE, url_of
from tests.support.harness import EQUALS, UNHURRIED
from tests.support.limits import BEAT_S, GONE_S, RECOVERY_S, REPLY_S, WORK_S
from tests.support.processes import wait_until
from tests.support.survival import again, joined

QUIET_MS = 300
"""For what must not come, once something else has."""


class Locked:
    """The daemon, and the keys of its clients: files that pyzmq writes, without a word of ours."""

    def __init__(self, folder: Path, state_dir: Path) -> None:
        self.clients = folder / "clients"
        self.clients.mkdir(mode=0o700)
        _, secret_file = auth.create_certificates(folder, "daemon")
        os.chmod(secret_file, 0o600)
        self.server, _ = auth.load_certificate(secret_file)
        self.operator = self.list("operator")
        self.overrides = (
            "security.curve=true",
            f"security.secret_key_file={secret_file}",
            f"security.clients_dir={self.clients}",
        )
        more = (OVERRIDE, "supervisor.backoff_s=[0]", UNHURRIED, *EQUALS)
        self.daemon = Daemon(state_dir, *self.overrides, *more, keys=self.operator)

    def list(self, name: str, scope: str = "") -> Keys:
        """A new client's keys; listed when its public file has its name."""
        public, secret = zmq.curve_keypair()
        line = f"    scope = {scope}\n" if scope else ""
        new = self.clients / f"{name}.new"
        new.write_text(f'metadata\n{line}curve\n    public-key = "{public.decode()}"\n')
        new.rename(self.clients / f"{name}.key")
        return self.server, public, secret

    def forget(self, name: str) -> None:
        (self.clients / f"{name}.key").unlink()

    def stranger(self, keys: Keys | None) -> Stranger:
        return Stranger(self.daemon.control, self.daemon.stream, keys)

    def client(self, keys: Keys | None) -> Client:
        return Client(self.daemon.control, self.daemon.stream, None if keys is None else ClientKeys(*keys))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Iterator[Locked]:
    made = Locked(tmp_path_factory.mktemp("keys"), state_dir)
    try:
        made.daemon.wait_healthy()
        yield made
    finally:
        made.daemon.stop()
        made.daemon.remove()


@pytest.fixture
def operator(locked: Locked) -> Iterator[Stranger]:
    client = locked.stranger(locked.operator)
    yield client
    client.close()


@pytest.fixture
def asking(locked: Locked) -> Iterator[Callable[[Keys | None], Control]]:
    """Control connections with any keys."""
    made = []

    def ask(keys: Keys | None) -> Control:
        made.append(context_with(keys))
        return Control(locked.daemon.control, made[-1])

    yield ask
    for context in made:
        context.destroy(linger=0)


def test_a_listed_key_speaks_and_is_heard(operator: Stranger) -> None:
    session = operator.session()
    turn = session.speak("Hello.")
    assert session.of_turn(turn)


@pytest.mark.parametrize(
    ("scope", "may", "may_not"),
    [
        ("watch", "events", "keep_alive"),
        ("talk", "keep_alive", "update_session"),
        ("control", "update_session", "drain"),
    ],
)
def test_a_scope_ends_where_the_next_one_begins(
    locked: Locked,
    operator: Stranger,
    asking: Callable[[Keys | None], Control],
    scope: str,
    may: str,
    may_not: str,
) -> None:
    session = operator.session()
    control = asking(locked.list(scope, scope))
    control.ok("status")
    control.ok(may, session_id=session.sid, **({"from_n": 0} if may == "events" else {}))
    error = control.refused(may_not, session_id=session.sid)
    assert error["code"] == "UNAUTHENTICATED"
    assert f"the key {scope!r} has watch" in error["message"]
    assert "`musecast keys new NAME --scope" in error["message"]


def test_a_watching_key_sees_the_stream(locked: Locked, operator: Stranger) -> None:
    session = operator.session()
    viewer = locked.stranger(locked.list("viewer", "watch"))
    stream = viewer.subscribe(f"evt.{session.sid}.", "sys.")
    stream.wait(lambda m: m.topic == "sys.", BEAT_S, "sys. message")
    session.speak("Hello.")
    stream.wait(lambda m: m.header.get("event") == "turn.ended", BEAT_S, "turn.ended")
    viewer.close()


def test_others_get_neither_an_answer_nor_the_stream(locked: Locked, operator: Stranger) -> None:
    beats = operator.subscribe("sys.")
    for keys in (None, (locked.server, *zmq.curve_keypair()), (zmq.curve_keypair()[0], *locked.operator[1:])):
        context = context_with(keys)
        dealer, subscriber = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        dealer.connect(locked.daemon.control)
        subscriber.connect(locked.daemon.stream)
        dealer.send(b"\x83\xa1v\x01\xa2id\x01\xa2op\xa6health")
        beats.wait(lambda m: True, BEAT_S, "sys. message", start=len(beats.messages) + 1)
        assert not dealer.poll(QUIET_MS)
        assert not subscriber.poll(0)
        context.destroy(linger=0)

    def unlisted() -> float:
        return float(stage_row(operator.control.ok("status"), "broker")["metrics"].get("clients.unlisted", 0))

    wait_until(lambda: unlisted() >= 1, BEAT_S, "the figure")


def test_clients_are_told_why_and_do_not_hang(locked: Locked, daemon: Daemon) -> None:
    wrong = (zmq.curve_keypair()[0], *locked.operator[1:])
    for keys, words in (
        (None, "takes only clients with a key"),
        (wrong, "server key of this client is not the daemon's"),
        ((locked.server, *zmq.curve_keypair()), "does not know this client's key"),
    ):
        with locked.client(keys) as client, pytest.raises(RefusedError, match=words):
            client.request("health", timeout_s=REPLY_S)
    with (
        Client(daemon.control, daemon.stream, ClientKeys(*locked.operator)) as client,
        pytest.raises(RefusedError, match="leave them out"),
    ):
        client.request("health", timeout_s=REPLY_S)


def _ask_until_refused(client: Client) -> None:
    deadline = time.monotonic() + GONE_S
    while time.monotonic() < deadline:
        client.ready(client.send("health"), 0.2)


def test_a_new_key_counts_at_once_and_a_removed_one_no_more(locked: Locked, operator: Stranger) -> None:
    keys = locked.list("guest")
    guest = locked.stranger(keys)
    stream = guest.subscribe("sys.")
    stream.wait(lambda m: True, BEAT_S, "sys. message")
    guest.control.ok("health")
    with locked.client(keys) as client:
        client.request("health")
        locked.forget("guest")
        with pytest.raises(RefusedError, match="does not know this client's key"):
            _ask_until_refused(client)
    beats = operator.subscribe("sys.")
    beats.wait(lambda m: len(beats.messages) > 2, BEAT_S, "sys. messages")
    # Of what was on its way when the key went there may be one; the last of these was sent a second later.
    assert beats.messages[2].header["uptime_s"] > max(m.header["uptime_s"] for m in stream.messages)
    guest.close()


def test_it_goes_on_when_the_broker_dies(locked: Locked, operator: Stranger) -> None:
    session = operator.session()
    session.speak("Hello.")
    pid = stage_row(operator.control.ok("status"), "broker")["pid"]
    os.kill(pid, signal.SIGKILL)
    joined(session)
    turn = again(session, "say", text="It goes on.")["turn"]
    session.wait_ended(turn, RECOVERY_S)
    assert session.of_turn(turn)


def test_the_gateway_has_a_key_of_its_own(locked: Locked) -> None:
    url = url_of(locked.daemon)
    with httpx.Client(base_url=url, timeout=RECOVERY_S) as http:
        deadline = time.monotonic() + RECOVERY_S
        while http.get("/health").status_code != 200:
            assert time.monotonic() < deadline
        session = http.post("/api/start_session", json={}).raise_for_status().json()["session_id"]
        http.post("/api/say", json={"session_id": session, "text": "Hello."}).raise_for_status()
        http.post("/api/end_session", json={"session_id": session}).raise_for_status()
        film = http.get(f"/api/sessions/{session}/recording.mp4").raise_for_status()
        assert film.content[4:8] == b"ftyp"


def test_a_face_for_a_framework_takes_the_scope_control(locked: Locked) -> None:
    keys = ClientKeys(*locked.list("face", "control"))

    async def speak() -> None:
        avatar = Avatar(locked.daemon.control, locked.daemon.stream, pixels="yuv420p", keys=keys, idle="none")
        await avatar.start()
        await avatar.speak(bytes(2 * 8000), 16_000)
        await avatar.finish()
        seen = 0
        async with asyncio.timeout(WORK_S):
            async for one in avatar.outputs():
                if isinstance(one, Over):
                    assert one.reason == "ended"
                    break
                seen += 1
        await avatar.close()
        assert seen == 16  # 0.5 s in whole quanta

    asyncio.run(speak())


def test_the_command_line_finds_its_key(locked: Locked, tmp_path: Path) -> None:
    sets = [part for one in locked.overrides for part in ("--set", one)]
    assert json.loads(_run(locked.daemon, "say", "Hello.", "--json", *sets).splitlines()[-1])
    elsewhere = ["--set", f"state_dir={tmp_path}"]
    told = _run(locked.daemon, "probe", "health", *sets, *elsewhere, code=1)
    assert "local.key_secret cannot be read" in told
    assert "takes only clients with a key" in _run(locked.daemon, "probe", "health", code=1)


def test_keys_are_made_listed_and_removed_while_it_runs(
    locked: Locked, asking: Callable[[Keys | None], Control]
) -> None:
    sets = [part for one in locked.overrides for part in ("--set", one)]
    made = json.loads(_run(locked.daemon, "keys", "new", "carol", "--scope", "talk", "--json", *sets))
    assert made["scope"] == ["watch", "talk"]
    assert _run(locked.daemon, "keys", "show", *sets).strip() == made["server_key"] == locked.server.decode()
    public, secret = auth.load_certificate(made["secret_key_file"])
    assert secret is not None
    carol = asking((locked.server, public, secret))
    carol.ok("health")
    assert carol.refused("drain")["code"] == "UNAUTHENTICATED"
    names = [one["name"] for one in json.loads(_run(locked.daemon, "keys", "list", "--json", *sets))]
    assert {"carol", "operator"} <= set(names)
    assert "already" in _run(locked.daemon, "keys", "new", "carol", *sets, code=1)
    _run(locked.daemon, "keys", "rm", "carol", *sets)
    assert "carol" not in _run(locked.daemon, "keys", "list", *sets)
    assert "no key" in _run(locked.daemon, "keys", "rm", "carol", *sets, code=1)
