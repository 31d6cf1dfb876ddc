"""What the routes share: one object per process, found in every request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from clients.aio.control import Control
from clients.daemon import Door
from clients.gateway.auth import Tokens
from configs.schema import Config
from models.meter import Meter


@dataclass(slots=True)
class Gateway:
    """Of one process."""

    config: Config
    door: Door
    """Where the daemon is."""
    control: Control
    tokens: Tokens
    meter: Meter = field(default_factory=Meter)
    """Figures of this process, for ``status`` and ``/metrics``: counted where it happens."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set on SIGTERM, before any connection is closed: endless answers and WebSockets end upon it."""


def _of(connection: HTTPConnection) -> Gateway:
    gateway: Gateway = connection.app.state.gateway
    return gateway


Here = Annotated[Gateway, Depends(_of)]
"""Parameter of a route, HTTP or WebSocket: ``async def route(here: Here)``."""
