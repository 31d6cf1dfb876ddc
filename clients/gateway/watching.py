"""The hub of this process, for the routes that need it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from clients.aio.hub import Hub
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """``app.state.hub`` receives inside of the block; the lifespan of the router of WebSockets."""
    gateway: Gateway = app.state.gateway
    app.state.hub = Hub(gateway.door.stream, gateway.control, gateway.meter, gateway.door.keys)
    task = asyncio.create_task(app.state.hub.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def check_room(hub: Hub, limit: int) -> None:
    """Whether one more viewer may come.

    Raises:
        ApiError: BUSY.
    """
    if hub.viewers >= limit:
        raise ApiError("BUSY", f"{limit} viewers are connected (gateway.viewers): try later", 5000)


def _of(connection: HTTPConnection) -> Hub:
    hub: Hub = connection.app.state.hub
    return hub


Watching = Annotated[Hub, Depends(_of)]
"""Parameter of a route: ``async def route(hub: Watching)``."""
