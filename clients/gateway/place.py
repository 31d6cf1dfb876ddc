"""Where this gateway listens; with port 0 it takes the port that the incarnation before it had."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from configs.gateway import Address

NAME = "gateway.address"
"""File in ``runtime_dir``."""
SEND_BUFFER_BYTES = 256 << 10
"""Of the kernel for a connection: more would hide for long that a client does not read."""
BACKLOG = 256


def listen(address: Address, runtime_dir: str, boot: str) -> tuple[socket.socket, str]:
    """A socket that listens, and its address as a URL.

    Raises:
        OSError: it cannot be bound.
    """
    path = Path(runtime_dir, NAME)
    server = _bound(address, _before(path, boot))
    url = Address(address.host, server.getsockname()[1]).url
    with contextlib.suppress(OSError):
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"boot": boot, "url": url, "port": server.getsockname()[1]}))
        os.replace(new, path)
    return server, url


def _before(path: Path, boot: str) -> int:
    """The port of the incarnation before this one; 0: there was none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        told = json.loads(path.read_text())
        if told["boot"] == boot:
            return int(told["port"])
    return 0


def _bound(address: Address, before: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    server = socket.socket(family)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # Connections inherit it. asyncio sets it only where a socket names its protocol; without it an answer in
        # two pieces, or a segment behind another, waits up to 40 ms for the peer's acknowledgement.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            server.bind((address.host, address.port or before))
        except OSError:
            if address.port or not before:
                raise
            server.bind((address.host, 0))
        server.listen(BACKLOG)
    except BaseException:
        server.close()
        raise
    return server
