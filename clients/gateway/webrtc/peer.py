"""One viewer over WebRTC, from its offer to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpCodecCapability,
    RTCRtpSender,
    RTCSessionDescription,
)

from clients.aio.channel import BEYOND
from clients.aio.control import Control
from clients.aio.hub import Hub
from clients.aio.messages import Message
from clients.aio.viewer import Viewer
from clients.gateway.errors import ApiError
from clients.gateway.webrtc import offer
from clients.gateway.webrtc.playout import Playout
from clients.gateway.webrtc.tracks import Clock, Picture, Voice, now_us
from clients.gateway.webrtc.unpack import HIGH_444, Unpacker

CONNECT_S = 20.0
"""From the answer to the first packet; a viewer that does not come is given up."""
ANSWER_S = 10.0
CLOSE_S = 5.0
BACK = 16
"""Segments before the newest one that are looked through for where the clock is."""
SPARE_US = 3_000_000
"""Media held beyond what the daemon publishes ahead."""
PLAYED_S = 0.25
OVER = ("failed", "closed")

log = structlog.get_logger()


class Peer:
    """A connection and what feeds it. ``answer`` first, then ``run`` in a task of its own.

    Args:
        sid: the session.
        ahead_us: media that the daemon may have published ahead of the clock.
        stun: addresses such as stun:stun.example.org:3478; none: this machine's own addresses are offered.
    """

    def __init__(self, sid: str, hub: Hub, control: Control, ahead_us: int, stun: list[str]) -> None:
        self.sid = sid
        self._hub = hub
        self._control = control
        self._most = ahead_us + SPARE_US
        self._clock = Clock()
        self._connection = RTCPeerConnection(RTCConfiguration([RTCIceServer(one) for one in stun]))
        self._connection.on("connectionstatechange", self._state_changed)
        self._connected = asyncio.Event()
        self._gone = asyncio.Event()
        self._unpack: Unpacker

    @property
    def speaking(self) -> bool:
        """Whether the picture that was sent last belongs to a turn."""
        return self._clock.playout is not None and self._clock.playout.turn > 0

    async def answer(self, text: str) -> str:
        """The answer (SDP) to an offer.

        Raises:
            ApiError: the offer is not one that can be answered, or there is no session that can be shown.
        """
        wanted, kinds = offer.read(text)
        await self._row()
        reply = await self._control.request("segments", {"session_id": self.sid, "from_seq": BEYOND, "max": 1})
        self._unpack = Unpacker(reply["init"])
        if self._unpack.profile == HIGH_444:
            message = "browsers show no lossless video over WebRTC: start the session with another quality"
            raise ApiError("UNSUPPORTED", message)
        picture = self._connection.addTransceiver(Picture(self._clock), "sendonly")
        # Before the offer is applied: otherwise VP8 may be agreed on, and H.264 is sent as if it were that.
        picture.setCodecPreferences(_h264())
        if "audio" in kinds:
            self._connection.addTransceiver(Voice(self._clock), "sendonly")
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._connection.setRemoteDescription(RTCSessionDescription(wanted, "offer"))
                await self._connection.setLocalDescription(await self._connection.createAnswer())
        except TimeoutError:
            raise ApiError("NOT_READY", f"no answer within {ANSWER_S:g} s: look at gateway.stun") from None
        except Exception as error:  # aiortc raises whatever the text of a stranger makes it meet
            raise offer.invalid(error) from None
        return str(self._connection.localDescription.sdp)

    def end(self) -> None:
        """It is not wanted any more."""
        self._gone.set()

    async def run(self) -> str:
        """Send the session until one of the two is over; which, in a word. Everything is closed then."""
        try:
            if not await self._first(self._connected, CONNECT_S):
                return "left" if self._gone.is_set() else "unreachable"
            following = asyncio.create_task(self._follow())
            gone = asyncio.create_task(self._gone.wait())
            try:
                await asyncio.wait((following, gone), return_when=asyncio.FIRST_COMPLETED)
                return following.result() if following.done() else "left"
            finally:
                following.cancel()
                gone.cancel()
                await asyncio.gather(following, gone, return_exceptions=True)
        finally:
            await self.close()

    async def close(self) -> None:
        """Whatever was opened for it."""
        self._clock.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        if state == "connected":
            self._connected.set()
        elif state in OVER:
            self._gone.set()

    async def _first(self, event: asyncio.Event, limit_s: float) -> bool:
        """Whether it comes within the limit and before the end."""
        waits = [asyncio.create_task(one.wait()) for one in (event, self._gone)]
        await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return event.is_set() and not self._gone.is_set()

    async def _row(self) -> dict[str, Any]:
        """The session in ``status``."""
        rows: list[dict[str, Any]] = (await self._control.request("status"))["sessions"]
        row = next((one for one in rows if one["session_id"] == self.sid), None)
        if row is None:
            raise ApiError("NOT_FOUND", f"there is no session {self.sid}: start_session makes one")
        if row["mode"] != "realtime":
            message = f"{self.sid} is not paced (mode {row['mode']}): watch it by /ws or recording.mp4"
            raise ApiError("UNSUPPORTED", message)
        return row

    async def _follow(self) -> str:
        """From where the session's clock is to its end."""
        try:
            row = await self._row()
            playout = self._clock.playout = Playout(row["clock"], now_us(), self._most)
            viewer = Viewer(self.sid)
            first = max(0, (row["newest_seq"] or 0) - BACK)
            async with self._hub.watch(viewer, from_seq=first) as messages:
                async for message in messages:
                    await self._take(playout, message)
            await self._played_out(playout)
        except ApiError as error:
            return error.code.lower()
        return "ended"

    async def _take(self, playout: Playout, message: Message) -> None:
        if message.media:
            if playout.wants(message.header["gen"], message.header["pts"]):
                segment = await asyncio.to_thread(self._unpack, message.header, message.payload)
                playout.add(segment, now_us())
        elif message.event == "turn.interrupted":
            playout.cut(message.header["data"]["flush_from"])
        self._clock.changed.set()

    async def _played_out(self, playout: Playout) -> None:
        """What was published before the end is still shown."""
        until = time.monotonic() + self._most / 1e6
        while playout.next_due is not None and time.monotonic() < until:
            await asyncio.sleep(PLAYED_S)


def _h264() -> list[RTCRtpCodecCapability]:
    """Those that are wanted, retransmission with them."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    return [one for one in codecs if one.mimeType in ("video/H264", "video/rtx")]
