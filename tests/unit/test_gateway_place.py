"""What every connection of the gateway has from the socket that listens."""

from __future__ import annotations

import socket
from pathlib import Path

from clients.gateway.place import listen
from configs.gateway import Address
from tests.support.processes import free_ports


def test_no_answer_waits_for_an_acknowledgement(tmp_path: Path) -> None:
    server, _ = listen(Address("127.0.0.1", 0), str(tmp_path), "boot")
    with server, socket.create_connection(server.getsockname()), server.accept()[0] as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_successor_takes_the_port_of_the_one_before_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with listen(Address("127.0.0.1", port), str(tmp_path), "boot")[0]:
        pass
    for boot, same in (("boot", True), ("another", False)):
        server, _ = listen(Address("127.0.0.1", 0), str(tmp_path), boot)
        with server:
            assert (server.getsockname()[1] == port) is same
