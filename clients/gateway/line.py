"""The gateway as a process of the daemon: guards, and beats. The only part that knows internal messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import zmq

from broker.ipc import guards, wire
from broker.ipc.faults import Faults
from broker.ipc.messages import Beat, histogram_rows
from broker.ipc.sockets import Endpoints, SocketFactory
from configs.stages import GATEWAY
from models.meter import Meter

arm = guards.arm
stacks_into, stacks_path = guards.stacks_into, guards.stacks_path
PARENT_GONE = guards.PARENT_GONE


class Line:
    """To the supervisor.

    Args:
        runtime_dir: where its socket is.
        epoch: of this incarnation.
        beat_s: how often it wants to hear from us.
    """

    def __init__(self, runtime_dir: str, epoch: int, beat_s: float) -> None:
        self._faults = Faults(GATEWAY, GATEWAY, epoch)  # for tests that choose the moment by a signal
        self._epoch = epoch
        self._beat_s = beat_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = SocketFactory(self._context).push_connect(Endpoints(runtime_dir).health, hwm=4, linger=200)

    def tell(self, state: str, *, address: str = "", meter: Meter | None = None, error: str = "") -> None:
        """One beat. Dropped when nobody reads."""
        beat = Beat(
            src=GATEWAY,
            ep=self._epoch,
            stage=GATEWAY,
            pid=os.getpid(),
            state=state,
            address=address,
            metrics={} if meter is None else meter.figures(),
            histograms={} if meter is None else histogram_rows(meter.histograms()),
            error=error,
        )
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(wire.pack(beat), zmq.NOBLOCK)

    async def beat(self, address: str, meter: Meter) -> None:
        """Until cancelled: what stops it is a loop that hangs, and the supervisor notices."""
        while True:
            self.tell("idle", address=address, meter=meter)
            due = time.monotonic() + self._beat_s
            await asyncio.sleep(self._beat_s)
            meter.took("loop_lag", time.monotonic() - due)

    def close(self) -> None:
        """The last beat has its linger to leave."""
        self._socket.close()
        self._context.term()
