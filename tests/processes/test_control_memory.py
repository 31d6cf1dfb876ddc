"""What one client can make the control socket hold: real connections, and the memory of its process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from broker.control.admission import PARKED_BYTES
from tests.support.client import Control
from tests.support.harness import ROOT, environment
from tests.support.limits import REPLY_S
from tests.support.processes import peak_bytes
from tests.support.zmtp import RawPeer

MIB = 1 << 20
LIMIT_BYTES = 400_000_000
"""More than half of it is what comes while a busy machine keeps the one from looking who counts it."""
FLOOD_BYTES = 1_500_000_000
FLOOD_FRAMES = 50
"""The same of a message without end, whose sender waits for nobody: who looks 40 times a second may be kept from
it for a whole one."""


class Server:
    """The process, and its memory."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.control_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            text=True,
        )
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()
        self._at_start = peak_bytes(self._process.pid)

    def begin(self) -> None:
        """The peak counts from here."""
        peak_bytes(self._process.pid, reset=True)

    @property
    def grown(self) -> int:
        """Bytes that the process has had more than at the start, at its worst."""
        return peak_bytes(self._process.pid) - self._at_start

    def close(self) -> None:
        self._process.communicate(timeout=REPLY_S)


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def server(process: Server) -> Server:
    process.begin()
    return process


@pytest.fixture
def client(server: Server) -> Iterator[Control]:
    """A well-behaved one."""
    with zmq.Context() as context:
        control = Control(server.endpoint, context)
        yield control
        control.socket.close(0)


def ended(client: Control) -> int:
    """Connections that were ended so far."""
    return int(client.ok("health").get("clients.ended", 0))


def test_a_message_without_end_ends_its_connection(server: Server, client: Control) -> None:
    before = ended(client)
    for _ in range(3):
        with RawPeer(server.endpoint) as attacker:
            assert attacker.flood(200, 30 * MIB) < FLOOD_FRAMES
    assert ended(client) == before + 3
    assert server.grown < FLOOD_BYTES


def test_frames_before_a_request_have_a_limit_together(server: Server, client: Control) -> None:
    before = ended(client)
    with RawPeer(server.endpoint) as attacker:
        assert attacker.flood(2 * FLOOD_FRAMES, 30 * MIB) < FLOOD_FRAMES
    assert ended(client) == before + 1
    assert server.grown < FLOOD_BYTES


def test_messages_without_end_of_many_clients(server: Server, client: Control) -> None:
    """None of them holds too much by itself."""
    before = ended(client)
    attackers = [RawPeer(server.endpoint) for _ in range(8)]
    for attacker in attackers:
        attacker.flood(1, 40 * MIB)
        client.ok("health")
    deadline = time.monotonic() + REPLY_S
    while ended(client) < before + 4 and time.monotonic() < deadline:
        pass
    assert ended(client) >= before + 4
    assert server.grown < LIMIT_BYTES
    for attacker in attackers:
        attacker.close()


def test_replies_that_nobody_reads_have_a_limit(server: Server, client: Control) -> None:
    before = client.ok("health")["requests"]
    deadline = time.monotonic() + REPLY_S
    with RawPeer(server.endpoint, receive_buffer=64 << 10) as attacker:
        for number in range(150):
            attacker.ask(number, "segments")
        while client.ok("health")["requests"] < before + 150:
            assert time.monotonic() < deadline
        assert len(client.ok("segments")["segments"]) == 8 * MIB
    assert server.grown < LIMIT_BYTES


def test_replies_that_are_read_have_none(server: Server, client: Control) -> None:
    for _ in range(20):
        assert len(client.ok("segments")["segments"]) == 8 * MIB
    assert server.grown < LIMIT_BYTES


def test_more_replies_than_fit_are_busy(server: Server, client: Control) -> None:
    replies = [client.take(number) for number in [client.send("segments") for _ in range(40)]]
    refused = [reply["error"] for reply in replies if not reply["ok"]]
    assert all(error["code"] == "BUSY" and error["retry_after_ms"] > 0 for error in refused)
    assert len(refused) < 40
    assert client.ok("segments"), "once they are read"


def test_what_comes_back_with_replies_has_a_limit(server: Server, client: Control) -> None:
    def ask(number: int) -> None:
        client.socket.send(bytes(30 * MIB), zmq.SNDMORE)
        client.socket.send(msgpack.packb({"v": 1, "id": number, "op": "wait"}))

    for number in range(20):
        ask(number)
        if number >= 2:  # the first two wait; what is refused does not come back
            reply = msgpack.unpackb(client.socket.recv())
            assert (reply["id"], reply["error"]["code"]) == (number, "BUSY")
            assert str(PARKED_BYTES) in reply["error"]["message"]
    assert server.grown < LIMIT_BYTES


def test_frames_before_a_request_are_echoed_to_16(client: Control) -> None:
    for count, code in ((1, None), (16, None), (17, "TOO_LARGE")):
        frames = [bytes([number]) for number in range(count)]
        client.socket.send_multipart([*frames, b"\x83\xa1v\x01\xa2id\x07\xa2op\xa6health"])
        *before, reply = client.socket.recv_multipart()
        assert before == ([] if code else frames)
        assert (b"TOO_LARGE" in reply) == bool(code)
        assert b"\xa2id\x07" in reply
