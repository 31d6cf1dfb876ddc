"""Media over HTTP: some segments as a file, and a film without end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from clients.aio.channel import READ_SEGMENTS
from clients.aio.control import Control
from clients.aio.messages import Message
from clients.aio.viewer import Viewer
from clients.gateway.auth import Who
from clients.gateway.bodies import Id
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Here
from clients.gateway.watching import Watching, check_room
from clients.mp4 import Endless, Segment, film

MIME = "video/mp4"
STALL_S = 60.0
"""A player that takes nothing for so long (a pause) has its connection closed."""
SEGMENTS_MAX = 1024
Sid = Id
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {MIME: {}}, "description": "MP4"}}

router = APIRouter(prefix="/api/sessions/{sid}", tags=["media"])


@router.get(
    "/segments/{first:int}-{last:int}.mp4",
    operation_id="segments_mp4",
    response_class=Response,
    responses=FILE,
)
async def segments(sid: Sid, first: int, last: int, here: Here, who: Who) -> Response:
    """Published segments as a file that begins at time 0."""
    who.check("watch", sid)
    if not 0 <= last - first < SEGMENTS_MAX:
        raise ApiError(
            "INVALID_ARGUMENT", f"{first}-{last} must be 1 to {SEGMENTS_MAX} segments, the first one first"
        )
    init, found, kept = await read(here.control, sid, first, last)
    if [one.header["seq"] for one in found] != list(range(first, last + 1)):
        raise ApiError("NOT_FOUND", f"segments {first} to {last} are not all there: the daemon holds {kept}")
    return mp4_file([init, *film(found)], f"{sid}-{first}-{last}.mp4")


@router.get("/stream.mp4", operation_id="stream_mp4", response_class=Response, responses=FILE)
async def stream(sid: Sid, here: Here, hub: Watching, who: Who) -> Response:
    """A film that goes on until the session or the client does; its time never goes back."""
    who.check("watch", sid)
    check_room(hub, here.config.gateway.viewers)
    viewer = Viewer(sid, goes_back=False)
    async with contextlib.AsyncExitStack() as stack:
        messages = await stack.enter_async_context(hub.watch(viewer))
        return _Endless(messages, stack.pop_all())


def mp4_file(parts: list[bytes], name: str) -> Response:
    """A whole file."""
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return Response(b"".join(parts), media_type=MIME, headers=headers)


async def read(control: Control, sid: str, first: int, last: int | None) -> tuple[bytes, list[Segment], str]:
    """``init``, the segments that the daemon still has of these, and which it has, in words.

    Raises:
        ApiError: there is no such session.
    """
    found: list[Segment] = []
    init = b""
    while last is None or first <= last:
        reply = await control.request("segments", {"session_id": sid, "from_seq": first, "max": READ_SEGMENTS})
        init = init or reply["init"]
        oldest, newest = reply["oldest_seq"], reply["newest_seq"]
        kept = "none" if newest is None else f"{oldest} to {newest}"
        for raw, payload in reply["segments"]:
            header = Message(raw).header
            if last is None or header["seq"] <= last:
                found.append(Segment(header, payload))
            first = header["seq"] + 1
        if not reply["segments"] or first > newest:
            break
    return init, found, kept


class _Endless(Response):
    """``init``, then segments as they come.

    Args:
        messages: of one viewer.
        watching: closed when the client has left.
    """

    def __init__(self, messages: Any, watching: contextlib.AsyncExitStack) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(media_type=MIME, headers=headers)
        del self.headers["content-length"]
        self._messages = messages
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until one of the three is over: the session, the client, its patience."""
        async with self._watching:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            tasks = [asyncio.create_task(self._send_all(send)), asyncio.create_task(_left(receive))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        endless = Endless()
        async for message in self._messages:
            if message.event is not None:
                continue
            body = endless.add(message.header, message.payload) if message.media else bytes(message.payload)
            async with asyncio.timeout(STALL_S):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
