"""A process that makes faces for agents elsewhere: one request brings an avatar into a room."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web
from livekit import rtc

from clients.adapters.livekit.worker import Worker
from clients.client import RequestError

log = structlog.get_logger()

BODY_BYTES = 64 << 10
AVATARS = 8
"""In one process: each decodes its own pictures, about a tenth of a core."""
LEAVE_S = 10.0
"""At the end: for all avatars to leave their rooms."""
DAEMON = ("control", "stream", "keys")
"""What a request may not choose: where the daemon is, and who asks it."""
STATUS = {"INVALID_ARGUMENT": 400, "UNSUPPORTED": 400, "NOT_FOUND": 404, "BUSY": 429, "NOT_READY": 503}


class Dispatcher:
    """``POST /avatars`` with ``{"url", "token", "session"?}``: 201 when the avatar is in the room.

    Args:
        make: a worker for these arguments of ``start_session``.
        token: that requests must carry as ``Authorization: Bearer``; empty: none.
        limit: so many avatars at once.
    """

    def __init__(self, make: Callable[..., Worker], token: str = "", limit: int = AVATARS) -> None:
        self._make = make
        self._token = token
        self._limit = limit
        self._workers: dict[Worker, asyncio.Task[None] | None] = {}

    def app(self) -> web.Application:
        """To be served."""
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/avatars", self._post)
        app.on_shutdown.append(self._shutdown)
        return app

    async def _post(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        try:
            body: Any = await request.json()
            url, token, session = str(body["url"]), str(body["token"]), dict(body.get("session", {}))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return _error(400, "INVALID_ARGUMENT", "the body is JSON: {url, token, session?}, texts and a map")
        if len(self._workers) >= self._limit:
            return _error(429, "BUSY", f"{self._limit} avatars are in rooms: start another worker, or try later")
        worker = self._make(**{name: value for name, value in session.items() if name not in DAEMON})
        self._workers[worker] = None
        try:
            await worker.join(url, token)
        except (RequestError, TimeoutError, rtc.ConnectError) as error:
            self._workers.pop(worker)
            await worker.close()
            code = error.code if isinstance(error, RequestError) else "FAILED"
            reason = str(error) or "LiveKit's server does not answer, or no agent is in the room"
            return _error(STATUS.get(code, 502), code, reason)
        except BaseException:
            self._workers.pop(worker)
            await worker.close()
            raise
        self._workers[worker] = asyncio.create_task(self._stay(worker))
        return web.json_response({"avatars": len(self._workers)}, status=201)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if "Origin" in request.headers:
            return _error(403, "UNAUTHENTICATED", "this is for agents, not for pages in a browser")
        sent = request.headers.get("Authorization", "").encode()
        if self._token and not hmac.compare_digest(sent, f"Bearer {self._token}".encode()):
            return _error(401, "UNAUTHENTICATED", "send `Authorization: Bearer` with this worker's token")
        if request.content_type != "application/json":
            return _error(400, "INVALID_ARGUMENT", "send `Content-Type: application/json`")
        return None

    async def _stay(self, worker: Worker) -> None:
        try:
            await worker.wait()
        finally:
            await worker.close()
            self._workers.pop(worker, None)
            log.info("livekit.avatar_left", avatars=len(self._workers))

    async def _shutdown(self, _: web.Application) -> None:
        for worker in self._workers:
            worker.leave()
        tasks = [task for task in self._workers.values() if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=LEAVE_S)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
