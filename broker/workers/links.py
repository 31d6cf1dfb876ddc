"""Sockets towards the workers: per incarnation one PUSH for items and one for orders, bound by the broker.

Nothing is queued for a peer that is not there; a socket that takes nothing is watched until it does, so there
is no retry loop. The first order an incarnation gets is the greeting with the broker's epoch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import zmq

from broker.ipc.messages import Cancel, Greeting, Message
from broker.ipc.sockets import Endpoints, SocketFactory, send_now
from broker.ipc.wire import pack

log = structlog.get_logger()

ORDERS_WAITING = 256
"""Orders kept for a worker that takes none at the moment; beyond that it is hung and will be killed."""


@dataclass(slots=True, eq=False)
class Link:
    """Both sockets of one incarnation."""

    instance: str
    epoch: int
    stage: str
    work: zmq.Socket[bytes]
    orders: zmq.Socket[bytes]
    waiting: list[list[Any]]
    """Orders not yet taken; the greeting at first."""


class Links:
    """All workers' sockets; polled by the loop only while one of them is blocked."""

    def __init__(self, factory: SocketFactory, endpoints: Endpoints, poller: zmq.Poller, epoch: int) -> None:
        self._factory = factory
        self._endpoints = endpoints
        self._poller = poller
        self._epoch = epoch
        self._links: dict[str, Link] = {}
        self._watched: dict[zmq.Socket[bytes], Link] = {}

    def up(self, instance: str, epoch: int, stage: str) -> None:
        """Bind for a new incarnation."""
        self.down(instance)
        work = self._factory.push_bind(self._endpoints.work(instance, epoch))
        orders = self._factory.push_bind(self._endpoints.orders(instance, epoch), hwm=ORDERS_WAITING)
        link = self._links[instance] = Link(
            instance, epoch, stage, work, orders, [pack(Greeting(broker=self._epoch))]
        )
        self._watch(orders, link)

    def down(self, instance: str) -> None:
        """Close what an incarnation had."""
        link = self._links.pop(instance, None)
        if link is None:
            return
        for socket, endpoint in (
            (link.work, self._endpoints.work(instance, link.epoch)),
            (link.orders, self._endpoints.orders(instance, link.epoch)),
        ):
            self._unwatch(socket)
            socket.close()
            path = endpoint.removeprefix("ipc://")
            if os.path.exists(path):
                os.unlink(path)

    def epoch(self, instance: str) -> int | None:
        """Epoch of the incarnation that is bound for."""
        link = self._links.get(instance)
        return link.epoch if link else None

    def _watch(self, socket: zmq.Socket[bytes], link: Link) -> None:
        if socket not in self._watched:
            self._watched[socket] = link
            self._poller.register(socket, zmq.POLLOUT)

    def _unwatch(self, socket: zmq.Socket[bytes]) -> None:
        if self._watched.pop(socket, None) is not None:
            self._poller.unregister(socket)

    def writable(self, socket: Any) -> str | None:
        """A watched socket takes messages again; the instance whose work socket it is, if it is one."""
        link = self._watched.get(socket)
        if link is None:
            return None
        self._unwatch(socket)
        if socket is link.work:
            return link.instance
        self._flush(link)
        return None

    def _flush(self, link: Link) -> None:
        while link.waiting:
            try:
                send_now(link.orders, link.waiting[0])
            except zmq.Again:
                self._watch(link.orders, link)
                return
            link.waiting.pop(0)

    def send(self, instance: str, message: Message, buffers: Sequence[Any]) -> bool:
        """Send an item; False when the worker's socket takes nothing (it is watched from then on)."""
        link = self._links.get(instance)
        if link is None:
            return False
        try:
            send_now(link.work, pack(message, buffers), copy=False)
        except zmq.Again:
            self._watch(link.work, link)
            return False
        return True

    def cancel(self, instance: str, item_ids: list[str]) -> None:
        """Tell a worker to give items up."""
        self.order(instance, Cancel(items=item_ids))

    def order(self, instance: str, message: Message, buffers: Sequence[Any] = ()) -> None:
        """Send what does not wait behind a worker's items; nothing happens when it is gone."""
        link = self._links.get(instance)
        if link is None:
            return
        if len(link.waiting) >= ORDERS_WAITING:
            log.warning("orders.dropped", instance=instance, waiting=len(link.waiting))
            return
        link.waiting.append(pack(message, buffers))
        self._flush(link)

    def close(self) -> None:
        """Close everything."""
        for instance in [*self._links]:
            self.down(instance)
