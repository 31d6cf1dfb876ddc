"""Ending a connection from outside: who was sending on it hears of it, whatever stands in between."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from broker.ipc.connections import abort
from tests.support.limits import GONE_S

TCPI_PROBES = 3
"""Offset in ``struct tcp_info``: so often has a sender asked whether the window is open again."""


def _until_its_window_is_shut(sender: socket.socket) -> None:
    deadline = time.monotonic() + GONE_S
    while sender.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 104)[TCPI_PROBES] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_peer_that_sends_into_a_full_window_is_told_at_once() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    heard: list[Exception] = []
    with listener, socket.create_connection(listener.getsockname()) as sender:
        owner = listener.accept()[0]
        sender.settimeout(GONE_S)

        def send() -> None:
            try:
                sender.sendall(bytes(32 << 20))
            except OSError as error:
                heard.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        _until_its_window_is_shut(sender)
        abort(owner.fileno())
        while owner.recv(1 << 20):  # as libzmq does: it reads to the end, and closes then
            pass
        owner.close()
        thread.join(2 * GONE_S)
    assert isinstance(heard[0], ConnectionError)


def test_a_connection_that_is_gone_raises() -> None:
    gone = socket.socket()
    fd = gone.detach()
    socket.close(fd)
    with pytest.raises(OSError, match="file descriptor"):
        abort(fd)
