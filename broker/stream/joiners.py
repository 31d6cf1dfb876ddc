"""Subscriptions of the public stream: who joins what, and ``init`` for joiners alone.

XPUB tells topics, not peers. The number of the connection's file descriptor travels with each message inside
libzmq, though, and the socket's monitor says when a number stands for a new connection.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator

import structlog
import zmq

from broker.access.door import key_of
from broker.access.keyring import Keyring
from broker.ipc.connections import Connections, descriptor

log = structlog.get_logger()
XPUB_MANUAL_LAST_VALUE = 98
"""libzmq 4.3: the next message goes to the peer whose subscription was read last. pyzmq has no name for it."""
TOPICS_KEPT = 4096
"""Of one connection; what it subscribes to beyond is treated as new each time."""


class Held:
    """The topics that each connection holds. Pure."""

    def __init__(self) -> None:
        self._topics: defaultdict[int, set[bytes]] = defaultdict(set)

    def connected(self, fd: int) -> None:
        """The number stands for a new connection from here on."""
        self._topics.pop(fd, None)

    def subscribed(self, fd: int, topic: bytes) -> bool:
        """Note a subscription; whether the connection did not hold it already."""
        topics = self._topics[fd]
        if topic in topics:
            return False
        if len(topics) < TOPICS_KEPT:
            topics.add(topic)
        return True

    def unsubscribed(self, fd: int, topic: bytes) -> None:
        """The connection has given the topic up."""
        self._topics[fd].discard(topic)


class Joiners:
    """The receiving side of the stream socket.

    Args:
        socket: XPUB with ``XPUB_MANUAL``.
        limit: so many connections; further ones are ended as they come.
        keyring: whose keys the socket takes; None: it has no keys.
    """

    def __init__(self, socket: zmq.Socket[bytes], limit: int = 1 << 30, keyring: Keyring | None = None) -> None:
        self._socket = socket
        self._keyring = keyring
        self._keys: dict[int, str] = {}
        """Of the connections that have subscribed to something."""
        self._limit = limit
        self._full = False
        self._held = Held()
        self._connections = Connections(socket)
        self.monitor = self._connections.monitor
        """Readable when a connection came or went; read it with ``accepted`` or it fills up."""
        try:
            socket.setsockopt(XPUB_MANUAL_LAST_VALUE, 1)
            self.can_single_out = True
        except zmq.ZMQError:  # a libzmq without it: everybody gets the init
            self.can_single_out = False
        self._broadcast()

    def _broadcast(self) -> None:
        if self.can_single_out:
            self._socket.setsockopt(XPUB_MANUAL_LAST_VALUE, 0)
        self._socket.setsockopt(zmq.XPUB_MANUAL, 1)

    def accepted(self) -> None:
        """Take note of new connections, and end those beyond the limit."""
        for fd, came in self._connections.changes():
            self._held.connected(fd)
            self._keys.pop(fd, None)
            full = len(self._connections) > self._limit
            if came and full and self._connections.end(fd) and not self._full:
                log.warning("subscribers.full", limit=self._limit, step="raise limits.subscribers, or end some")
            self._full = full

    def read(self) -> bytes | None:
        """Apply the next message of a subscriber; the topic that it joined, None if it joined nothing new.

        Raises:
            zmq.Again: there is none.
        """
        frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        kind, topic = frame.bytes[:1], frame.bytes[1:]
        # The accept was told before the subscription was, so a number used again is known as new here.
        self.accepted()
        fd = descriptor(frame)
        if kind == b"\x00":
            self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)
            if fd is not None:
                self._held.unsubscribed(fd, topic)
            return None
        if kind != b"\x01":
            return None  # a stranger's message on the stream socket; nothing to answer on XPUB
        if not self._may(frame, fd):
            return None
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        return topic if fd is None or self._held.subscribed(fd, topic) else None

    def _may(self, frame: zmq.Frame, fd: int | None) -> bool:
        """Whether it was not removed since it came; every listed key may watch."""
        if self._keyring is None:
            return True
        key = key_of(frame)
        if key is None or key not in self._keyring:
            return False
        if fd is not None:
            self._keys[fd] = key
        return True

    def end_unlisted(self) -> None:
        """End the connections whose key has been removed."""
        if self._keyring is None:
            return
        self.accepted()
        for fd in [fd for fd, key in self._keys.items() if key not in self._keyring]:
            if self._connections.end(fd):
                log.info("subscriber.removed", key=self._keys[fd])

    @contextlib.contextmanager
    def only_the_last(self) -> Iterator[None]:
        """One message sent inside goes to the joiner that was read last, and to nobody else.

        Should another connection end in this very moment, libzmq forgets the joiner and sends it to all.
        """
        self._socket.setsockopt(XPUB_MANUAL_LAST_VALUE, 1)
        try:
            yield
        finally:
            self._broadcast()

    def close(self) -> None:
        """Before the stream socket is closed."""
        self._connections.close()
