"""Every viewer over WebRTC of this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from clients.aio.hub import Hub
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway
from clients.gateway.watching import check_room
from clients.gateway.webrtc import addresses
from clients.gateway.webrtc.peer import Peer

ID_BYTES = 16
OnEnd = Callable[[], Awaitable[None]]

log = structlog.get_logger()


class Peers:
    """Opens, finds and ends them.

    Args:
        gateway: its settings and its connection to the daemon.
        hub: the stream.
    """

    def __init__(self, gateway: Gateway, hub: Hub) -> None:
        self._gateway = gateway
        self._hub = hub
        self._peers: dict[str, Peer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(
        self, sid: str, offer: str, *, until: float = math.inf, on_end: OnEnd | None = None
    ) -> tuple[str, str]:
        """The id of a new viewer, and the answer to its offer.

        Args:
            sid: the session.
            offer: SDP.
            until: it ends then at the latest, Unix seconds.
            on_end: awaited when it is over, for whatever reason.

        Raises:
            ApiError: there is no room, no such session, or the offer cannot be answered.
        """
        config = self._gateway.config
        check_room(self._hub, config.gateway.viewers)
        if len(self._peers) >= config.gateway.webrtc_viewers:
            message = f"{len(self._peers)} viewers are connected by WebRTC (gateway.webrtc_viewers): try later"
            raise ApiError("BUSY", message, 5000)
        ahead_ms = max(config.timeline.lead_ms, config.timeline.idle_lead_ms) + config.timeline.max_segment_ms
        peer = Peer(sid, self._hub, self._gateway.control, ahead_ms * 1000, config.gateway.stun)
        name = secrets.token_urlsafe(ID_BYTES)
        self._peers[name] = peer
        try:
            answer = await peer.answer(offer)
        except BaseException:
            del self._peers[name]
            await peer.close()
            raise
        self._tasks[name] = asyncio.create_task(self._run(name, peer, until, on_end))
        return name, answer

    def of_session(self, sid: str) -> list[Peer]:
        """Those who look at it."""
        return [peer for peer in self._peers.values() if peer.sid == sid]

    async def end(self, sid: str, name: str) -> None:
        """End a viewer, and wait until it is over.

        Raises:
            ApiError: NOT_FOUND.
        """
        peer = self._peers.get(name)
        if peer is None or peer.sid != sid or name not in self._tasks:
            raise ApiError("NOT_FOUND", f"no such viewer of {sid}: it has ended, or never was")
        peer.end()
        await asyncio.shield(self._tasks[name])

    async def end_all(self) -> None:
        """The process ends."""
        for peer in self._peers.values():
            peer.end()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, name: str, peer: Peer, until: float, on_end: OnEnd | None) -> None:
        log.info("webrtc.began", sid=peer.sid)
        try:
            async with asyncio.timeout(None if math.isinf(until) else until - time.time()):
                reason = await peer.run()
            log.info("webrtc.ended", sid=peer.sid, reason=reason)
        except TimeoutError:
            log.info("webrtc.ended", sid=peer.sid, reason="token expired")
        except Exception:
            log.exception("webrtc.broke", sid=peer.sid)
        finally:
            del self._peers[name], self._tasks[name]
            if on_end is not None:
                with contextlib.suppress(ApiError):
                    await on_end()


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """``app.state.peers`` inside of the block."""
    addresses.install()
    for library in ("aioice", "aiortc"):
        logging.getLogger(library).setLevel(logging.WARNING)  # every check of every address otherwise
    app.state.peers = Peers(app.state.gateway, app.state.hub)
    try:
        yield
    finally:
        await app.state.peers.end_all()


def _of(connection: HTTPConnection) -> Peers:
    peers: Peers = connection.app.state.peers
    return peers


Viewers = Annotated[Peers, Depends(_of)]
"""Parameter of a route."""
