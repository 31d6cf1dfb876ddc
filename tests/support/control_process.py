"""The broker's control socket alone, in a process of its own, so that its memory can be measured."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, cast

import zmq

from broker.control.admission import READ_BACK_BYTES, Admission
from broker.control.requests import Nothing
from broker.control.server import Control, Request
from broker.ipc import heap
from broker.ipc.connections import Connections
from broker.ipc.sockets import SocketFactory
from configs.schema import Limits
from models.meter import Meter

LOOK_MS = 25


def main() -> None:
    """Serve until stdin ends."""
    heap.give_back()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = SocketFactory(context).router_bind("tcp://127.0.0.1:0")
    clients = Connections(router)
    meter = Meter()
    config = SimpleNamespace(limits=Limits(requests_per_s=100_000), timeline=None)
    later: list[Request] = []

    def health(request: Request, args: Nothing) -> None:
        request.reply(**meter.figures())

    def segments(request: Request, args: Nothing) -> None:
        request.reply(segments=bytes(READ_BACK_BYTES))

    def wait(request: Request, args: Nothing) -> None:
        later.append(request)

    control = Control(
        router,
        {"health": (Nothing, health), "segments": (Nothing, segments), "wait": (Nothing, wait)},
        Admission(cast(Any, config), cast(Any, None), cast(Any, None)),
        meter,
        clients,
    )
    poller = zmq.Poller()
    for socket in (router, clients.monitor, sys.stdin.fileno()):
        poller.register(socket, zmq.POLLIN)
    print(router.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    while True:
        ready = dict(poller.poll(LOOK_MS))
        if sys.stdin.fileno() in ready:
            return
        if clients.monitor in ready:
            control.changed()
        if router in ready:
            control.read(1000)
        control.look()


if __name__ == "__main__":
    main()
