"""The route ``WS /ws/{sid}``: who may connect, and with which code it ends."""

from __future__ import annotations

import asyncio
import functools
import math
import time

from fastapi import APIRouter
from starlette.websockets import WebSocket

from clients.aio.viewer import GONE, RESTART, Viewer
from clients.gateway.auth import Caller
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Here
from clients.gateway.watching import Watching, check_room, running
from clients.gateway.websocket import Connection
from configs.scopes import needed_of_session

SUBPROTOCOL = "musecast"
REFUSED, LATER = 1008, 1013
CODES = {"NOT_FOUND": GONE, "NOT_READY": RESTART, "BUSY": LATER}
"""Of what went wrong before the first message; anything else is ``REFUSED``."""
EXPIRED = "the token has expired: connect again with another"
NUMBERS = ("from_seq", "from_n")

router = APIRouter(lifespan=running)


@router.websocket("/ws/{sid}")
async def watch(socket: WebSocket, sid: str, here: Here, hub: Watching) -> None:
    """Media and events of a session, requests and the microphone back."""
    wanted = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in wanted else None)
    viewer = Viewer(sid)
    connection = Connection(socket, viewer, here.control)
    code: int | None
    reason = ""
    try:
        who = here.tokens.of(socket)
        who.check("watch", sid)
        connection.may = functools.partial(_check, who)
        check_room(hub, here.config.gateway.viewers)
        numbers = {name: _number(socket, name) for name in NUMBERS}
        async with asyncio.timeout(_left(who)) as limit, hub.watch(viewer, **numbers) as messages:
            code = await connection.run(messages)
    except ApiError as error:
        code, reason = CODES.get(error.code, REFUSED), error.message
    except TimeoutError:
        if not limit.expired():
            raise
        code, reason = REFUSED, EXPIRED
    if code is not None:
        await connection.close(code, reason)


def _check(who: Caller, op: str) -> None:
    who.check(needed_of_session(op))


def _left(who: Caller) -> float | None:
    """Seconds until its token ends; None: never."""
    return None if math.isinf(who.expires_at) else max(0.0, who.expires_at - time.time())


def _number(socket: WebSocket, name: str) -> int | None:
    text = socket.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise ApiError("INVALID_ARGUMENT", f"{name} is a whole number from 0")
    return int(text)
