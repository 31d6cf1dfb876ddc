"""uvicorn with one worker on a socket of ours, and the end of everything on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import stat
from collections.abc import Iterator

import uvicorn

from clients.gateway import line
from clients.gateway.app import create_app
from clients.gateway.gateway import Gateway
from clients.gateway.place import listen
from clients.gateway.protocol import Http
from clients.gateway.websocket_protocol import WebSocketProtocol
from configs import logs
from configs.gateway import Address
from configs.schema import Config

GRACE_S = 1
"""From SIGTERM to the end of requests that are still answered."""
SIGNAL_S = 0.2
WS_MESSAGE_BYTES = 1 << 20


class Server(uvicorn.Server):
    """Without handlers of signals: those are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals reach ``serve`` alone."""
        yield


def serve(config: Config, address: Address, boot: str, health: line.Line) -> int:
    """Serve until SIGTERM, or until the supervisor is gone; the exit code.

    Raises:
        OSError: the address cannot be bound.
    """
    return asyncio.run(_serve(config, address, boot, health))


async def _serve(config: Config, address: Address, boot: str, health: line.Line) -> int:
    listener, url = listen(address, config.runtime_dir, boot)
    app = create_app(config, address)
    gateway: Gateway = app.state.gateway
    server = Server(
        uvicorn.Config(
            app,
            http=Http,
            ws=WebSocketProtocol,
            ws_per_message_deflate=False,
            ws_max_size=WS_MESSAGE_BYTES,
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        gateway.stopping.set()
        server.should_exit = True

    loop.add_signal_handler(signal.SIGTERM, stop)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, _parent_gone, gateway)
    beats = asyncio.create_task(health.beat(url, gateway.meter))
    logs.get().info("gateway.ready", url=url)
    # What is there now stays: looking through all of it again would hold up every viewer for 50 ms at a time.
    gc.collect()
    gc.freeze()
    try:
        await server.serve(sockets=[listener])
    finally:
        beats.cancel()
        listener.close()
    return 0


def _parent_gone(gateway: Gateway) -> None:
    """The pipe on stdin has ended: the supervisor is gone, or waits for nothing more from us."""
    if os.read(0, 4096):
        return
    loop = asyncio.get_running_loop()
    loop.remove_reader(0)

    def orphaned() -> None:
        if not gateway.stopping.is_set():
            logs.get().error("parent.gone")
            os._exit(line.PARENT_GONE)

    loop.call_later(SIGNAL_S, orphaned)  # a SIGTERM sent before it may be read after it
