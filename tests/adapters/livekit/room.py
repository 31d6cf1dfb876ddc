"""A room without a server: what LiveKit's runner needs of one."""

from __future__ import annotations

from typing import Any

from livekit import rtc


class Publication:
    async def wait_for_subscription(self) -> None:
        """Somebody listens."""


class Participant:
    identity = "agent"

    def __init__(self) -> None:
        self.tracks: list[str] = []

    async def publish_track(self, track: Any, options: Any) -> Publication:
        self.tracks.append(track.name)
        return Publication()


class Room(rtc.EventEmitter[str]):
    name = "a-room"

    def __init__(self) -> None:
        super().__init__()
        self.local_participant = Participant()

    def isconnected(self) -> bool:
        return True
