"""Keys of a client, and whether the daemon takes it: what the monitor of a socket says of its handshakes.

ZeroMQ itself says nothing to who sends: a client with a wrong key would wait for ever.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

UNCLEAR_S = 1.0
"""A handshake that is broken off may be a broker that dies; another one so much later is a refusal."""
_SUCCEEDED = zmq.EVENT_HANDSHAKE_SUCCEEDED
_UNLISTED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_MISMATCH = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_UNCLEAR = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class Keys(NamedTuple):
    """The server's public key, and a pair that the daemon lists; as text (Z85), as pyzmq's files have them."""

    server: bytes
    public: bytes
    secret: bytes


def connect(socket: zmq.Socket[Any], address: str, keys: Keys | None) -> None:
    """Connect a socket as the address and the keys want it."""
    socket.setsockopt(zmq.IPV6, int("[" in address))
    if keys is not None:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = keys
    socket.connect(address)


class Handshake:
    """Looks at the handshakes of one socket.

    Args:
        socket: before it connects.
        has_keys: whether it was given keys.
    """

    def __init__(self, socket: zmq.Socket[bytes], *, has_keys: bool) -> None:
        self._has_keys = has_keys
        self.monitor = socket.get_monitor_socket(_SUCCEEDED | _UNLISTED | _MISMATCH | _UNCLEAR)
        """Readable when there is more to say."""
        self._unclear_since: float | None = None
        self._refusal = ""

    def refusal(self) -> str:
        """Why the daemon does not take this client, as far as it is known; "" where it does, or may."""
        while self.monitor.poll(0):
            event = recv_monitor_message(self.monitor)["event"]
            if event == _SUCCEEDED:
                self._refusal, self._unclear_since = "", None
            elif event == _UNLISTED:
                self._refusal = (
                    "does not know this client's key, or not any more: `musecast keys new NAME` on its machine "
                    "makes and lists one"
                )
            elif event == _MISMATCH:
                self._refusal = self._mismatch()
            elif self._unclear_since is None:
                self._unclear_since = time.monotonic()
            elif time.monotonic() - self._unclear_since >= UNCLEAR_S:
                self._refusal = self._broken_off() if self._has_keys else self._mismatch()
        return self._refusal

    @staticmethod
    def _broken_off() -> str:
        return (
            "breaks the handshake off: the server key of this client is not the daemon's (`musecast keys show` "
            "prints the right one), or it has no keys (security.curve: false): then leave them out"
        )

    def _mismatch(self) -> str:
        if self._has_keys:
            return "has no keys (security.curve: false), and this client uses them: leave them out"
        return (
            "takes only clients with a key (security.curve: true): give this one security.curve: true and the "
            "daemon's state_dir, or a key that `musecast keys new NAME` makes there"
        )
