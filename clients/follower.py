"""What a client hears: messages of the stream as they come, and one session's in order and without holes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack
import zmq

from clients.keys import Keys, connect

QUIET_S = 2.0
"""Without any message for this long, a follower asks whether it missed something."""
STREAM_HWM = 4096
"""Messages a subscriber may lag behind before ZeroMQ drops them; a hole is then fetched."""
Header = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """One message of the stream. ``payload`` is empty for events."""

    topic: str
    header: Header
    payload: bytes


class Subscription:
    """Raw messages of the stream; at most once, as PUB/SUB is.

    Args:
        wait: waits for something to read; it may raise.
        keys: where the daemon has them on.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topics: tuple[str, ...],
        wait: Callable[[zmq.Socket[bytes], float], bool],
        keys: Keys | None = None,
    ) -> None:
        self._wait = wait
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, STREAM_HWM)
        self._socket.setsockopt(zmq.LINGER, 0)
        connect(self._socket, address, keys)
        for topic in topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())

    def receive(self, timeout_s: float) -> Published | None:
        """The next message, or None after ``timeout_s``.

        Raises:
            DaemonGoneError: the daemon that was subscribed to is gone.
        """
        if not self._wait(self._socket, timeout_s):
            return None
        topic, header, payload = self._socket.recv_multipart()
        return Published(topic.decode(), msgpack.unpackb(header), payload)

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close(linger=0)


class Connection(Protocol):
    """What a follower needs of its client."""

    @property
    def brokers(self) -> int:
        """How often another broker was found to serve the same daemon."""

    def subscribe(self, *topics: str) -> Subscription:
        """Messages by topic."""

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        """What was published before."""


class Follower:
    """A session's events and media in order: repeats are dropped, holes are fetched from the daemon.

    ``init`` is delivered once, before the first media.
    """

    def __init__(self, client: Connection, session_id: str, *, media: bool = True) -> None:
        self._client = client
        self._sid = session_id
        topics = (f"evt.{session_id}.", f"seg.{session_id}.") if media else (f"evt.{session_id}.",)
        self._subscription = client.subscribe(*topics)
        self._media = media
        self._next_event: int | None = None
        self._next_segment: int | None = None
        self._init_seen = False
        self._ready: deque[Published] = deque()
        self._heard_at = time.monotonic()
        self._brokers = client.brokers

    def from_start(self) -> Follower:
        """Deliver everything since the session's beginning; call it for a session that one starts oneself."""
        self._next_event, self._next_segment = 0, 0
        return self

    def from_now(self) -> Follower:
        """Deliver everything that is published after this call; for a session that is already open."""
        events = self._client.request("events", session_id=self._sid, from_n=0, max=1)
        self._next_event = _after(events["newest_n"])
        if self._media:
            segments = self._client.request("segments", session_id=self._sid, from_seq=0, max=1)
            self._next_segment = _after(segments["newest_seq"])
        return self

    def receive(self, timeout_s: float) -> Published | None:
        """The next message, or None when nothing comes within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not self._ready:
            if self._brokers != self._client.brokers:
                self._brokers = self._client.brokers
                self.catch_up()
                continue
            ask_at = self._heard_at + QUIET_S  # counted over calls: who asks in short steps misses nothing
            message = self._subscription.receive(max(0.0, min(deadline, ask_at) - time.monotonic()))
            if message is not None:
                self._heard_at = time.monotonic()
                self._take(message)
            elif time.monotonic() >= ask_at:
                self._heard_at = time.monotonic()
                self.catch_up()
            elif time.monotonic() >= deadline:
                return None
        return self._ready.popleft()

    def until(self, *names: str, timeout_s: float) -> Iterator[Published]:
        """Messages up to and including the first event called one of ``names``.

        Raises:
            TimeoutError: that event did not come in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.receive(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise TimeoutError(f"session {self._sid}: none of {', '.join(names)} within {timeout_s:g} s")
            yield message
            if message.header.get("event") in names:
                return

    def catch_up(self) -> None:
        """Fetch whatever the daemon has published and this follower has not seen."""
        self._fetch_events(None)
        if self._media:
            self._fetch_segments(None)

    def rest(self) -> Iterator[Published]:
        """Whatever is published and not yet delivered, without waiting for more."""
        while (message := self.receive(0.0)) is not None:
            yield message
        self.catch_up()
        while self._ready:
            yield self._ready.popleft()

    def close(self) -> None:
        """Stop following."""
        self._subscription.close()

    def _take(self, message: Published) -> None:
        header = message.header
        if "event" in header:
            if self._next_event is not None and header["n"] > self._next_event:
                self._fetch_events(header["n"])
            self._deliver_event(message)
        elif header["kind"] == "init":
            self._deliver_init(message)
        else:
            if self._next_segment is not None and header["seq"] > self._next_segment:
                self._fetch_segments(header["seq"])
            self._deliver_segment(message)

    def _deliver_event(self, message: Published) -> None:
        n = message.header["n"]
        if self._next_event is None or n >= self._next_event:
            self._next_event = n + 1
            self._ready.append(message)

    def _deliver_init(self, message: Published) -> None:
        if not self._init_seen:
            self._init_seen = True
            self._ready.append(message)

    def _deliver_segment(self, message: Published) -> None:
        seq = message.header["seq"]
        if self._next_segment is None or seq >= self._next_segment:
            self._next_segment = seq + 1
            self._ready.append(message)

    def _fetch_events(self, before: int | None) -> None:
        while self._next_event is not None and (before is None or self._next_event < before):
            asked = self._next_event
            result = self._client.request("events", session_id=self._sid, from_n=asked)
            for header in map(_header, result["events"]):
                if before is None or header["n"] < before:
                    self._deliver_event(Published(f"evt.{self._sid}.", header, b""))
            if self._next_event == asked:
                return

    def _fetch_segments(self, before: int | None) -> None:
        while self._next_segment is not None and (before is None or self._next_segment < before):
            asked = self._next_segment
            result = self._client.request("segments", session_id=self._sid, from_seq=asked)
            if result["init"] and not self._init_seen:
                first: Header = {"kind": "init", "sid": self._sid, "seq": None, "gen": 0}
                self._deliver_init(Published(f"seg.{self._sid}.", first, result["init"]))
            for raw, payload in result["segments"]:
                header = _header(raw)
                if before is None or header["seq"] < before:
                    self._deliver_segment(Published(f"seg.{self._sid}.", header, payload))
            if self._next_segment == asked:
                return


def _after(newest: int | None) -> int:
    return 0 if newest is None else newest + 1


def _header(raw: bytes | Header) -> Header:
    """A header that was read back: the published bytes."""
    header: Header = msgpack.unpackb(raw) if isinstance(raw, bytes) else raw
    return header
