"""A viewer over WHEP as a stranger would write one: aiortc with real ICE, DTLS and decoders."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from tests.support.limits import WORK_S

SDP = "application/sdp"
LOUD = 500


class Watcher:
    """Receives, decodes and keeps. ``frames`` and ``sounds`` are PyAV's."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.connection = RTCPeerConnection(RTCConfiguration([]))
        self.frames: list[Any] = []
        self.sounds: list[Any] = []
        self.peaks: list[int] = []
        """Of each sound, of 32768."""
        self.over: set[str] = set()
        self.location = ""
        self._came = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self.connection.on("track", lambda track: self._tasks.append(asyncio.create_task(self._pull(track))))

    async def _pull(self, track: Any) -> None:
        kept = self.frames if track.kind == "video" else self.sounds
        with contextlib.suppress(MediaStreamError):
            while True:
                kept.append(await track.recv())
                if kept is self.sounds:
                    self.peaks.append(int(np.abs(kept[-1].to_ndarray().astype(np.int32)).max()))
                async with self._came:
                    self._came.notify_all()
        async with self._came:
            self.over.add(track.kind)
            self._came.notify_all()

    async def offer(self, *kinds: str) -> str:
        for kind in kinds or ("video", "audio"):
            self.connection.addTransceiver(kind, "recvonly")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def watch(self, sid: str, **headers: str) -> None:
        reply = await post(self.http, sid, await self.offer(), **headers)
        assert reply.status_code == 201, reply.text
        assert reply.headers["content-type"] == SDP
        self.location = reply.headers["location"]
        await self.take(reply.text)

    async def take(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def until(self, done: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(WORK_S), self._came:
                await self._came.wait_for(done)
        except TimeoutError:
            got = f"{len(self.frames)} frames, {len(self.sounds)} sounds, over: {self.over}"
            raise AssertionError(f"no {what} ({got})") from None

    @property
    def loud(self) -> int:
        """Pieces of 20 ms in which something was heard."""
        return sum(peak > LOUD for peak in self.peaks)

    def lose_network(self) -> None:
        """As if the cable was pulled: its sockets are gone, and nothing was said."""
        for transceiver in self.connection.getTransceivers():
            for protocol in transceiver.receiver.transport.transport._connection._protocols:
                protocol.transport.abort()

    async def gone(self) -> None:
        await self.until(lambda: self.over == {"video", "audio"}, "end of both tracks")

    async def close(self) -> None:
        await self.connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def post(http: httpx.AsyncClient, sid: str, offer: str, **headers: str) -> httpx.Response:
    return await http.post(f"/whep/{sid}", content=offer, headers={"Content-Type": SDP, **headers})


@contextlib.asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watcher]:
    async with httpx.AsyncClient(base_url=url, timeout=WORK_S) as http:
        watcher = Watcher(http)
        try:
            yield watcher
        finally:
            await watcher.close()


async def eventually(asked: Callable[[], Any], what: str) -> None:
    """Until an awaited condition holds."""
    deadline = time.monotonic() + WORK_S
    while not await asked():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.1)
