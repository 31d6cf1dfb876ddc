"""The avatar's side of a room: joins it as a participant of its own and publishes the face."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from livekit import rtc
from livekit.agents.voice.avatar import AudioReceiver, AvatarOptions, AvatarRunner, DataStreamAudioReceiver

from clients.adapters.avatar import Avatar
from clients.adapters.livekit.generator import MusecastVideoGenerator
from clients.client import FPS, SAMPLE_RATE
from clients.keys import Keys

log = structlog.get_logger()

JOIN_S = 15.0
"""For the connection to LiveKit's server, and again for the agent to be in the room."""


class Worker:
    """One avatar in one room.

    Args:
        control: address of the daemon's control socket.
        stream: of its stream.
        keys: where the daemon has them on; of the scope control.
        session: arguments of ``start_session``, such as ``template_id``.
    """

    def __init__(
        self,
        control: str = "tcp://127.0.0.1:28880",
        stream: str = "tcp://127.0.0.1:28881",
        keys: Keys | None = None,
        **session: Any,
    ) -> None:
        self._avatar = Avatar(control, stream, pixels="yuv420p", keys=keys, **session)
        self._runner: AvatarRunner | None = None
        self._room: rtc.Room | None = None
        self._gone = asyncio.Event()

    async def join(self, url: str, token: str) -> None:
        """Connect to a room and show the face there.

        Args:
            url: of LiveKit's server.
            token: the avatar's, from the agent.

        Raises:
            RequestError: the daemon is not there, or refuses the session.
            TimeoutError, rtc.ConnectError: the server does not take it, or there is no agent.
        """
        await self._avatar.start()
        self._room = rtc.Room()
        async with asyncio.timeout(JOIN_S):
            await self._room.connect(url, token)
        await self._show(self._room)

    async def show(self, room: rtc.Room, receiver: AudioReceiver | None = None) -> None:
        """The same in a room that somebody else has connected and disconnects.

        Args:
            room: of LiveKit.
            receiver: where speech comes from; None: from the room's agent.

        Raises:
            RequestError: the daemon is not there, or refuses the session.
            TimeoutError: there is no agent.
        """
        await self._avatar.start()
        await self._show(room, receiver)

    async def _show(self, room: rtc.Room, receiver: AudioReceiver | None = None) -> None:
        generator = MusecastVideoGenerator(self._avatar)
        options = AvatarOptions(self._avatar.width, self._avatar.height, FPS, SAMPLE_RATE, 1)
        room.on("disconnected", self._left)
        self._runner = AvatarRunner(
            room, audio_recv=receiver or DataStreamAudioReceiver(room), video_gen=generator, options=options
        )
        generator.synchronizer = self._runner.av_sync
        async with asyncio.timeout(JOIN_S):  # it waits for the agent
            await self._runner.start()

    async def wait(self) -> None:
        """Until the room is left."""
        await self._gone.wait()

    def leave(self) -> None:
        """Let ``wait`` end."""
        self._gone.set()

    async def close(self) -> None:
        """Leave the room and end the session."""
        self._gone.set()
        await self._avatar.close()
        if self._runner is not None:
            await self._runner.aclose()
            self._runner = None
        if self._room is not None:
            await self._room.disconnect()
            self._room = None

    def _left(self, *_: Any) -> None:
        log.info("livekit.room_left")
        self._gone.set()
