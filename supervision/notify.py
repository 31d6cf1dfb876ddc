"""systemd's notification protocol (sd_notify(3)); without systemd every call does nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends state lines to ``NOTIFY_SOCKET``."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() and mine else None
        """The interval that systemd allows; None: no watchdog."""

    @property
    def managed(self) -> bool:
        """Whether a service manager started the daemon."""
        return self._socket is not None

    def send(self, *lines: str) -> bool:
        """One datagram, never waiting; False: the manager has no room for it now, or does not listen at all."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
            except OSError:  # which must not stop the daemon
                return False
        return True

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
