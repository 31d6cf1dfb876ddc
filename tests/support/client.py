"""A stranger's client: plain pyzmq, msgpack and PyAV. Imports nothing of the project, as the contract asks."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack
import zmq

from tests.support.limits import BEAT_S, GONE_S, REPLY_S, WORK_S

TERMINAL = ("turn.ended", "turn.interrupted", "turn.failed")
RECONNECT_MS = 10
"""A new broker waits a moment for its subscribers; those of a busy machine need most of it for themselves."""

Header = dict[str, Any]


class Control:
    """A DEALER on the control socket; one request at a time unless ``send``/``take`` are used directly."""

    def __init__(self, endpoint: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._where = (endpoint, context)
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.socket.connect(endpoint)
        self._ids = itertools.count(1)
        self._early: dict[Any, dict[str, Any]] = {}

    def another(self) -> Control:
        """One more connection, for another thread."""
        return Control(*self._where)

    def send(self, op: str, **arguments: Any) -> int:
        number = next(self._ids)
        self.socket.send(msgpack.packb({"v": 1, "id": number, "op": op, **arguments}))
        return number

    def take(self, number: Any, timeout_s: float = REPLY_S) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while number not in self._early:
            left = max(0, int((deadline - time.monotonic()) * 1000))
            assert self.socket.poll(left), f"no reply to request {number} within {timeout_s} s"
            reply = msgpack.unpackb(self.socket.recv())
            assert reply["v"] == 1
            self._early[reply["id"]] = reply
        return self._early.pop(number)

    def call(self, op: str, timeout_s: float = REPLY_S, **arguments: Any) -> dict[str, Any]:
        """The reply, whatever it says."""
        return self.take(self.send(op, **arguments), timeout_s)

    def ok(self, op: str, timeout_s: float = REPLY_S, **arguments: Any) -> dict[str, Any]:
        """The result of a request that must succeed."""
        reply = self.call(op, timeout_s, **arguments)
        assert reply["ok"] is True, f"{op}: {reply['error']}"
        return reply

    def refused(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The error of a request that must be refused."""
        reply = self.call(op, **arguments)
        assert reply["ok"] is False, f"{op} was accepted: {sorted(reply)}"
        error: dict[str, Any] = reply["error"]
        return error


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the stream and when it arrived."""

    topic: str
    header: Header
    payload: bytes
    at: float
    """Monotonic seconds."""
    at_ns: int
    """Unix ns, as ``sent_ns`` of its header."""

    @property
    def sent(self) -> float:
        """When the daemon published this media, in seconds: when it arrives depends on the subscriber, too."""
        return float(self.header["sent_ns"] / 1e9)


class Stream:
    """A SUB whose thread keeps everything that arrives, in order."""

    def __init__(
        self, endpoint: str, context: zmq.Context[zmq.Socket[bytes]], *topics: str, hwm: int = 10000
    ) -> None:
        self.messages: list[Message] = []
        self._arrived = threading.Condition()
        self._stop = context.socket(zmq.PAIR)
        self._stop.bind(f"inproc://stop-{id(self)}")
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, hwm)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.connect(endpoint)
        for topic in topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._thread = threading.Thread(target=self._collect, args=(context,), daemon=True)
        self._thread.start()

    def _collect(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        stop = context.socket(zmq.PAIR)
        stop.connect(f"inproc://stop-{id(self)}")
        poller = zmq.Poller()
        poller.register(stop, zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN)
        while stop not in (ready := dict(poller.poll())):
            if self._socket in ready:
                topic, header, payload = self._socket.recv_multipart()
                now = time.monotonic(), time.time_ns()
                message = Message(topic.decode(), msgpack.unpackb(header), payload, *now)
                with self._arrived:
                    self.messages.append(message)
                    self._arrived.notify_all()
        stop.close(0)
        self._socket.close(0)

    def close(self) -> None:
        self._stop.send(b"")
        self._thread.join(GONE_S)
        assert not self._thread.is_alive(), "the thread of a stream does not end"
        self._stop.close(0)

    def wait(
        self, wanted: Callable[[Message], bool], timeout_s: float, what: str = "message", start: int = 0
    ) -> Message:
        """The first message from position ``start`` on for which ``wanted`` holds."""
        deadline = time.monotonic() + timeout_s
        seen = start
        with self._arrived:
            while True:
                for message in self.messages[seen:]:
                    if wanted(message):
                        return message
                seen = len(self.messages)
                left = deadline - time.monotonic()
                assert left > 0, f"no {what} within {timeout_s} s; events so far: {self.names()}"
                self._arrived.wait(left)

    def names(self) -> list[str]:
        return [m.header["event"] for m in list(self.messages) if "event" in m.header]


@dataclass
class Session:
    """One session and everything that is published about it."""

    sid: str
    control: Control
    stream: Stream
    reply: dict[str, Any]
    turns: list[int] = field(default_factory=list)

    # -- asking

    def ok(self, op: str, timeout_s: float = REPLY_S, **arguments: Any) -> dict[str, Any]:
        return self.control.ok(op, timeout_s, session_id=self.sid, **arguments)

    def refused(self, op: str, **arguments: Any) -> dict[str, Any]:
        return self.control.refused(op, session_id=self.sid, **arguments)

    def say(self, text: str) -> int:
        """The turn. A machine that cannot serve one more beside others says when to ask again: so it is done."""
        deadline = time.monotonic() + WORK_S
        while True:
            reply = self.control.call("say", session_id=self.sid, text=text)
            if reply["ok"]:
                return int(reply["turn"])
            assert reply["error"]["code"] == "BUSY", reply["error"]
            assert time.monotonic() < deadline, reply["error"]
            time.sleep(reply["error"]["retry_after_ms"] / 1000)

    def feed(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """The results of these ``process_segment`` calls, sent without waiting for one another.

        A turn is over when 2 s pass without a call: nothing may hold up the next one.
        """
        numbers = [self.control.send("process_segment", session_id=self.sid, **one) for one in calls]
        replies = [self.control.take(number, WORK_S) for number in numbers]
        assert all(reply["ok"] for reply in replies), replies
        return replies

    def end(self, *, drain: bool = True) -> dict[str, Any]:
        return self.ok("end_session", WORK_S, drain=drain)

    # -- looking

    @property
    def all(self) -> list[Message]:
        return [m for m in list(self.stream.messages) if m.topic.endswith(f".{self.sid}.")]

    @property
    def media(self) -> list[Message]:
        return [m for m in self.all if m.header.get("kind") == "media"]

    @property
    def inits(self) -> list[Message]:
        return [m for m in self.all if m.header.get("kind") == "init"]

    def events(self, name: str | None = None, turn: int | None = None) -> list[Header]:
        return [
            m.header
            for m in self.all
            if "event" in m.header
            and (name is None or m.header["event"] == name)
            and (turn is None or m.header["turn"] == turn)
        ]

    def of_turn(self, turn: int) -> list[Message]:
        return [m for m in self.media if m.header["turn"] == turn]

    def wait_event(self, *names: str, turn: int | None = None, timeout_s: float = WORK_S) -> Header:
        return self.stream.wait(
            lambda m: (
                m.topic == f"evt.{self.sid}."
                and m.header["event"] in names
                and (turn is None or m.header["turn"] == turn)
            ),
            timeout_s,
            f"{'/'.join(names)} of turn {turn} in session {self.sid}",
        ).header

    def wait_ended(self, turn: int, timeout_s: float = WORK_S) -> Header:
        """The terminal event of a turn, which must be ``turn.ended``."""
        header = self.wait_event(*TERMINAL, turn=turn, timeout_s=timeout_s)
        assert header["event"] == "turn.ended", header
        return header

    def wait_media(self, count: int, turn: int | None = None, timeout_s: float = WORK_S) -> None:
        """Until ``count`` segments (of the turn) have arrived."""
        self.stream.wait(
            lambda _: len(self.media if turn is None else self.of_turn(turn)) >= count,
            timeout_s,
            f"{count} segments of turn {turn}",
        )

    def speak(self, text: str, timeout_s: float = WORK_S) -> int:
        """Say something and wait until it has been said."""
        turn = self.say(text)
        self.wait_ended(turn, timeout_s)
        return turn

    def blob(self, first: int = 0, last: int | None = None) -> bytes:
        """``init`` and media from position ``first`` to before ``last``."""
        return bytes(self.reply["init"]) + b"".join(m.payload for m in self.media[first:last])


Keys = tuple[bytes, bytes, bytes]
"""The server's public key, the client's public and secret one."""


def context_with(keys: Keys | None) -> zmq.Context[zmq.Socket[bytes]]:
    """A context whose sockets all have these keys."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    if keys is not None:
        context.curve_serverkey, context.curve_publickey, context.curve_secretkey = keys
    return context


class Stranger:
    """Everything a program outside of the daemon has: two addresses, and keys where it has them on."""

    def __init__(self, control: str, stream: str, keys: Keys | None = None) -> None:
        self.context = context_with(keys)
        self.control_endpoint = control
        self.stream_endpoint = stream
        self.control = Control(control, self.context)
        self._streams: list[Stream] = []
        self._sessions: list[Session] = []

    def another_control(self) -> Control:
        return self.control.another()

    def subscribe(self, *topics: str, hwm: int = 10000) -> Stream:
        stream = Stream(self.stream_endpoint, self.context, *topics, hwm=hwm)
        self._streams.append(stream)
        return stream

    def session(self, **arguments: Any) -> Session:
        """Start a session; its stream is watched from before its start.

        ``sys.`` comes once a second to everyone, so seeing it proves that the subscription is in force.
        """
        sid = arguments.pop("session_id", None) or f"t-{uuid.uuid4().hex}"
        stream = self.subscribe(f"seg.{sid}.", f"evt.{sid}.", "sys.")
        stream.wait(lambda m: m.topic.startswith("sys."), BEAT_S, "sys. message")
        control = self.another_control()
        reply = control.ok("start_session", WORK_S, session_id=sid, **arguments)
        session = Session(sid, control, stream, reply)
        self._sessions.append(session)
        return session

    def close(self, *, end: bool = True) -> None:
        """``end``: its sessions first; not where the daemon is gone. Streams are closed by their own threads."""
        for session in self._sessions if end else ():
            session.control.call("end_session", WORK_S, session_id=session.sid, drain=False)
        for stream in self._streams:
            stream.close()
        self.context.destroy(linger=0)
