"""What nobody should send, 10,000 times, on every socket that the daemon binds: counted, answered, never fatal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import zmq
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.support.client import Control, Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.limits import REPLY_S
from tests.support.processes import wait_until
from tests.support.zmtp import RawPeer

MESSAGES = 10_000
STEPS, BATCH = 50, 40
INTERNAL = ("ingress", "members", "health")
SAMPLES = [
    bytes.fromhex(sample)
    for sample in json.loads((Path(__file__).parents[1] / "wire" / "golden.json").read_text()).values()
]
"""One of each internal message."""
OPERATIONS = (
    *("say", "chat", "audio", "process_segment", "interrupt", "segments", "events", "end_session", "played"),
    *("keep_alive", "update_session", "", "drain\0", "__class__"),
)
"""All with a session that there is not."""
VALUES = (None, True, -1, 2**63, 1e308, "", "\0", "x" * 5000, b"", b"\xff" * 100, [], [[[]]], {}, {"a": {}})
NAMES = (
    "text",
    "pcm",
    "audio",
    "format",
    "sample_rate",
    "turn",
    "from_seq",
    "from_n",
    "max",
    "pts",
    "end",
    "voice",
)
HALVES_OPEN = 20
seeds = st.integers(0, 2**32 - 1)


def request(rng: random.Random) -> list[bytes]:
    """No request, or one that has to be refused, with frames before it."""
    good = msgpack.packb({"v": 1, "id": 1, "op": "health"})
    wrong: dict[str, Any] = {"v": 1, "id": 1, "op": rng.choice(OPERATIONS), "session_id": "nobody"}
    wrong |= {name: rng.choice(VALUES) for name in rng.sample(NAMES, rng.randrange(6))}
    body = rng.choice(
        [
            lambda: rng.randbytes(rng.randrange(200)),
            lambda: good[: rng.randrange(len(good))],
            lambda: good + rng.randbytes(1 + rng.randrange(9)),
            lambda: msgpack.packb({"v": rng.choice((0, 2, "1", None, [])), "id": 1, "op": "health"}),
            lambda: msgpack.packb(
                {"v": 1, "id": rng.choice((None, 1.5, [], {}, b"x", "x" * 2000)), "op": "health"}
            ),
            lambda: rng.choice((b"\x81", b"\x91", b"\xdd\xff\xff\xff\xff", b"\xc7\xff")) * rng.randrange(1, 3000),
            lambda: msgpack.packb(wrong),
        ]
    )()
    return [*(rng.randbytes(rng.randrange(40)) for _ in range(rng.choice((0, 0, 1, 2, 16, 17, 40)))), body]


def internal(rng: random.Random) -> list[bytes]:
    """Not one of the messages between processes, though nearly."""
    sample = rng.choice(SAMPLES)
    return rng.choice(
        [
            lambda: [rng.randbytes(rng.randrange(200))],
            lambda: [sample[: rng.randrange(len(sample))]],
            lambda: [sample.replace(b"\xa1v\x01", b"\xa1v" + rng.choice((b"\x02", b"\xc0", b"\xa11")))],
            lambda: [sample, *(b"" for _ in range(rng.randrange(1, 40)))],
            lambda: [bytes(rng.randrange(5000, 50_000))],
            lambda: [b"", b"", b""],
            lambda: [msgpack.packb({"t": rng.choice(("Nothing", "", 5, None)), "v": 1, "bufs": []})],
        ]
    )()


class Garbage(RuleBasedStateMachine):
    """Strangers on every socket, and one client that has to be answered all the while."""

    sent = 0

    def __init__(self, daemon: Daemon, stranger: Stranger) -> None:
        super().__init__()
        self._daemon = daemon
        self._context = stranger.context
        self._good = Control(daemon.control, self._context)
        self._stranger = Control(daemon.control, self._context).socket
        self._xsub = self._connected(zmq.XSUB, daemon.stream)
        self._inside = {name: self._connected(zmq.PUSH, f"ipc://{daemon.runtime_dir}/{name}") for name in INTERNAL}
        self._halves: list[RawPeer] = []

    def _connected(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, int(REPLY_S * 1000))
        socket.setsockopt(zmq.SNDTIMEO, int(REPLY_S * 1000))
        socket.connect(endpoint)
        return socket

    def _send(self, seed: int, socket: zmq.Socket[bytes], make: Callable[[random.Random], list[bytes]]) -> None:
        rng = random.Random(seed)
        for _ in range(BATCH):
            socket.send_multipart(make(rng))
        Garbage.sent += BATCH

    @rule(seed=seeds)
    def ask(self, seed: int) -> None:
        self._send(seed, self._stranger, request)
        for _ in range(BATCH):
            assert self._stranger.poll(int(REPLY_S * 1000)), "not answered"
            reply = msgpack.unpackb(self._stranger.recv_multipart()[-1])
            assert reply["ok"] is False
            assert reply["error"]["message"]

    @rule(seed=seeds)
    def subscribe(self, seed: int) -> None:
        self._send(seed, self._xsub, lambda rng: [rng.choice((b"\0", b"\1", b"\7", b"")) + rng.randbytes(60)])

    @rule(seed=seeds, name=st.sampled_from(INTERNAL))
    def tell(self, seed: int, name: str) -> None:
        self._send(seed, self._inside[name], internal)

    @rule(seed=seeds, public=st.booleans())
    def begin(self, seed: int, public: bool) -> None:
        """A message that does not go on."""
        where, kind = (self._daemon.control, "DEALER") if public else (self._daemon.stream, "SUB")
        self._halves.append(RawPeer(where, kind))
        self._halves[-1].half(random.Random(seed).randrange(1, 4000))
        if len(self._halves) > HALVES_OPEN:
            self._halves.pop(0).close()

    @invariant()
    def serves(self) -> None:
        assert self._good.ok("health")["status"] == "ok"

    def teardown(self) -> None:
        for peer in self._halves:
            peer.close()
        for socket in (self._good.socket, self._stranger, self._xsub, *self._inside.values()):
            socket.close()


def throw(daemon: Daemon, stranger: Stranger, messages: int) -> int:
    """So many messages that nobody should send; how many of them the broker has counted as broken.

    Nothing dies of them, and somebody else is served all the while and afterwards.
    """

    def processes() -> dict[str, int]:
        rows = stranger.control.ok("status")["stages"]
        return {row["instance"]: row["pid"] for row in rows if row["stage"] != "prepare"}

    def broken() -> int:
        return int(stage_row(stranger.control.ok("status"), "broker")["metrics"].get("messages.broken", 0))

    before, counted = processes(), broken()
    often = settings(
        max_examples=2,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    Garbage.sent = 0
    while Garbage.sent < messages:
        run_state_machine_as_test(lambda: Garbage(daemon, stranger), settings=often)
    wait_until(lambda: broken() > counted, what="counted")
    assert processes() == before
    session = stranger.session(mode="offline")
    session.speak("All is well.")
    return broken() - counted


def test_garbage_on_every_socket(daemon: Daemon, stranger: Stranger) -> None:
    throw(daemon, stranger, MESSAGES)
