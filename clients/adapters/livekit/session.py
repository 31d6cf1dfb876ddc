"""The agent's side of a room: sends the agent's voice to the avatar instead of publishing it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import aiohttp
from livekit import api, rtc
from livekit.agents import AgentSession, get_job_context
from livekit.agents import voice as agents_voice
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF
from livekit.agents.voice.avatar import DataStreamAudioOutput

from clients.adapters.livekit.worker import Worker

IDENTITY = "musecast-avatar"
SAMPLE_RATE = 24_000
"""Of the voice on its way to the avatar: that of most voices; lips and AAC take it as it is."""
TOKEN_TTL = timedelta(hours=6)
DISPATCH_S = 65.0
"""For a worker's answer: it begins a session of the daemon and joins the room first."""


class AvatarSession(agents_voice.avatar.AvatarSession[Any]):
    """``await AvatarSession().start(session, ctx.room)``, before ``session.start``.

    Turn off ``resume_false_interruption`` of the agent's session: what was interrupted cannot be resumed.

    Args:
        worker_url: of a ``python -m clients.adapters.livekit``; empty: the face is made in this process.
        worker_token: that the worker asks for.
        livekit_url, api_key, api_secret: of LiveKit's server; from ``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` and
            ``LIVEKIT_API_SECRET`` where they are empty.
        worker: arguments of ``Worker``: addresses of the daemon, ``template_id`` and more; with a ``worker_url``
            only those of ``start_session``.
    """

    def __init__(
        self,
        *,
        worker_url: str = "",
        worker_token: str = "",
        livekit_url: str = "",
        api_key: str = "",
        api_secret: str = "",
        **worker: Any,
    ) -> None:
        super().__init__()
        self._url = livekit_url or os.environ.get("LIVEKIT_URL", "")
        self._key = api_key or os.environ.get("LIVEKIT_API_KEY", "")
        self._secret = api_secret or os.environ.get("LIVEKIT_API_SECRET", "")
        if not (self._url and self._key and self._secret):
            raise ValueError("set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or give them as arguments")
        self._worker_url, self._worker_token = worker_url, worker_token
        self._arguments = worker
        self._worker: Worker | None = None

    @property
    def avatar_identity(self) -> str:
        """The avatar's participant."""
        return IDENTITY

    @property
    def provider(self) -> str:
        """For metrics."""
        return "musecast"

    async def start(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        """Bring the avatar into the room, and send the agent's voice to it.

        Raises:
            RequestError: the daemon is not there, or refuses the session.
            RuntimeError: the worker refuses.
            TimeoutError, aiohttp.ClientError, rtc.ConnectError: worker or server are not to be reached.
        """
        await super().start(agent_session, room)
        context = get_job_context(required=False)
        agent = context.local_participant_identity if context is not None else room.local_participant.identity
        token = self.token(room.name, agent)
        if self._worker_url:
            await self._dispatch(token)
        else:
            self._worker = Worker(**self._arguments)
            try:
                await self._worker.join(self._url, token)
            except BaseException:
                await self._worker.close()
                raise
        agent_session.output.replace_audio_tail(
            DataStreamAudioOutput(
                room,
                destination_identity=self.avatar_identity,
                sample_rate=SAMPLE_RATE,
                wait_remote_track=rtc.TrackKind.KIND_VIDEO,
                wait_playback_start=True,
            )
        )

    def token(self, room: str, agent: str) -> str:
        """With which the avatar joins this room and publishes on the agent's behalf."""
        return (
            api.AccessToken(self._key, self._secret)
            .with_kind("agent")
            .with_identity(self.avatar_identity)
            .with_name(self.avatar_identity)
            .with_ttl(TOKEN_TTL)
            .with_grants(api.VideoGrants(room_join=True, room=room))
            .with_attributes({ATTRIBUTE_PUBLISH_ON_BEHALF: agent})
            .to_jwt()
        )

    async def aclose(self) -> None:
        """The avatar leaves."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()
        await super().aclose()

    async def _dispatch(self, token: str) -> None:
        headers = {"Authorization": f"Bearer {self._worker_token}"} if self._worker_token else {}
        body = {"url": self._url, "token": token, "session": self._arguments}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DISPATCH_S)) as http,
            http.post(f"{self._worker_url.rstrip('/')}/avatars", json=body, headers=headers) as answer,
        ):
            if answer.status != 201:
                raise RuntimeError(f"the worker at {self._worker_url} says {answer.status}: {await answer.text()}")
