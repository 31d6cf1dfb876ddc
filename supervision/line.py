"""The supervisor's sockets: beats and requests in, membership and reports out to the present broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import zmq

from broker.ipc import wire
from broker.ipc.messages import Message
from broker.ipc.sockets import Endpoints, SocketFactory
from configs import logs

MEMBERS_HWM = 1000
"""Messages a broker may leave unread; beyond it it counts as hung."""
READ_AT_ONCE = 1000


class Line:
    """Sockets of one supervisor."""

    def __init__(self, runtime_dir: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._factory = SocketFactory(self._context)
        self._endpoints = Endpoints(runtime_dir)
        self.health = self._factory.pull_bind(self._endpoints.health, hwm=MEMBERS_HWM)
        self._members: zmq.Socket[bytes] | None = None
        self._log = logs.get()
        self._cooldown = logs.Cooldown()

    def open_broker(self) -> None:
        """A new broker is about to start; what the old one did not read is void."""
        self.close_broker()
        self._members = self._factory.push_connect(self._endpoints.members, hwm=MEMBERS_HWM, linger=0)

    def close_broker(self) -> None:
        """Drop the connection and everything in it."""
        if self._members is not None:
            self._members.close(linger=0)
            self._members = None

    def tell(self, message: Message) -> bool:
        """To the broker, never waiting; False when there is none or it has stopped reading."""
        if self._members is None:
            return False
        try:
            self._members.send_multipart(wire.pack(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def heard(self) -> Iterator[Message]:
        """What has come in. Bad messages are logged and skipped."""
        for _ in range(READ_AT_ONCE):
            try:
                frames: list[Any] = self.health.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield wire.unpack(frames)[0]
            except wire.WireError as error:
                held_back = self._cooldown.ready("health.refused")
                if held_back is not None:
                    self._log.warning("health.refused", reason=str(error), more=held_back)

    def close(self) -> None:
        """Close everything."""
        self.close_broker()
        self.health.close(linger=0)
        self._context.term()
