"""Whether somebody listens at an address. ZeroMQ itself connects to nobody, and waits without end."""

from __future__ import annotations

import socket
from typing import Literal

Reach = Literal["listens", "refused", "unknown"]


def reach(endpoint: str, timeout_s: float) -> Reach:
    """Whether somebody listens at a ``tcp://`` or ``ipc://`` address; "unknown" when no answer comes in time."""
    scheme, _, place = endpoint.partition("://")
    try:
        if scheme == "tcp":
            host, _, port = place.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
        elif scheme == "ipc":
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(timeout_s)
                one.connect(place)
        else:
            return "unknown"
    except TimeoutError:
        return "unknown"
    except (OSError, ValueError):
        return "refused"
    return "listens"
