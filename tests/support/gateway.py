"""Clients of the gateway: where it is, and a WebSocket that keeps everything that comes."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.daemon import PORT, Daemon
from tests.support.limits import GONE_S, REPLY_S, START_S, WORK_S

OVERRIDE = f'endpoints.gateway="127.0.0.1:{PORT}"'


def url_of(daemon: Daemon, timeout_s: float = START_S) -> str:
    """Where the gateway of this daemon listens, once it does and has found the daemon."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            url = str(json.loads((daemon.runtime_dir / "gateway.address").read_text())["url"])
            httpx.get(f"{url}/health", timeout=REPLY_S).raise_for_status()
            return url
        except (FileNotFoundError, ValueError, httpx.HTTPError):
            assert time.monotonic() < deadline, f"no gateway within {timeout_s} s\n{daemon.tail()}"
            time.sleep(0.05)


class Patient(httpx.HTTPTransport):
    """Asks again where the daemon is NOT_READY, as it is when it has stood still for more than a second."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + REPLY_S
        repeatable = isinstance(request.stream, httpx.ByteStream)
        while True:
            response = super().handle_request(request)
            if response.status_code != 503 or not repeatable or time.monotonic() > deadline:
                return response
            response.read()
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Received:
    """One binary message."""

    header: dict[str, Any]
    payload: bytes
    at: float


def parsed(frame: bytes) -> Received:
    """As the contract lays it out."""
    length = int.from_bytes(frame[:4])
    return Received(msgpack.unpackb(frame[4 : 4 + length]), frame[4 + length :], time.monotonic())


class WebSocket:
    """A viewer of a session: its thread keeps what arrives until the server closes.

    Args:
        bytes_per_s: takes messages no faster than that, until ``hurry`` is set.
        options: of ``websockets.sync.client.connect``.

    Attributes:
        code: how it was closed; None while it is open.
    """

    def __init__(
        self, base: str, sid: str, query: str = "", *, bytes_per_s: float = math.inf, **options: Any
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self.hurry = threading.Event()
        options = {"subprotocols": ["musecast"], "max_size": None, "compression": None, **options}
        self._open = contextlib.ExitStack()
        url = f"ws{base.removeprefix('http')}/ws/{sid}{query}"
        self.connection: ClientConnection = self._open.enter_context(connect(url, **options))
        self.messages: list[Received] = []
        self.replies: list[dict[str, Any]] = []
        self.code: int | None = None
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        try:
            while True:
                data = self.connection.recv()
                with self._arrived:
                    if isinstance(data, str):
                        self.replies.append(json.loads(data))
                    else:
                        self.messages.append(parsed(data))
                    self._arrived.notify_all()
                self.hurry.wait(len(data) / self._bytes_per_s)
        except ConnectionClosed as closed:
            with self._arrived:
                self.code = closed.rcvd.code if closed.rcvd else 1006
                self._arrived.notify_all()

    def until(self, done: Callable[[], Any], what: str, timeout_s: float = WORK_S) -> Any:
        """What ``done`` says when it says something."""
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while not (found := done()):
                left = deadline - time.monotonic()
                assert left > 0, f"no {what} within {timeout_s} s; events so far: {self.names}"
                assert self.code is None or done(), f"closed with {self.code} before {what}"
                self._arrived.wait(left)
        return found

    def wait_event(self, name: str, timeout_s: float = WORK_S) -> dict[str, Any]:
        """The first event of this name."""
        return self.until(
            lambda: next((m.header for m in self.messages if m.header.get("event") == name), None), name, timeout_s
        )

    def wait_closed(self, timeout_s: float = WORK_S) -> int:
        """The close code."""
        return int(self.until(lambda: self.code, "end", timeout_s))

    def ask(self, op: str, timeout_s: float = REPLY_S, **arguments: Any) -> dict[str, Any]:
        """The reply to a request."""
        number = f"{op}-{len(self.replies)}-{time.monotonic_ns()}"
        self.connection.send(json.dumps({"id": number, "op": op, **arguments}))
        return self.until(
            lambda: next((r for r in self.replies if r["id"] == number), None), f"reply to {op}", timeout_s
        )

    @property
    def names(self) -> list[str]:
        return [m.header["event"] for m in list(self.messages) if "event" in m.header]

    @property
    def media(self) -> list[Received]:
        return [m for m in list(self.messages) if m.header.get("kind") == "media"]

    @property
    def seqs(self) -> list[int]:
        return [m.header["seq"] for m in self.media]

    def close(self) -> None:
        self.hurry.set()
        self._open.close()
        self._thread.join(GONE_S)
        assert not self._thread.is_alive(), "the thread of a WebSocket does not end"
