"""The agent's side, the worker that it asks, and what passes between the two: all but LiveKit's server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from livekit import api, rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput

from clients.adapters.livekit import AvatarSession, Worker
from clients.adapters.livekit.dispatcher import Dispatcher
from tests.adapters.livekit.room import Room, linked
from tests.adapters.voice import RATE, pieces, run, until
from tests.support.daemon import Daemon

SERVER = {"livekit_url": "ws://127.0.0.1:1", "api_key": "a-key", "api_secret": "a secret of thirty-two bytes...."}


class Here(Worker):
    """Joins a room that is no server's."""

    room: Room

    async def join(self, url: str, token: str) -> None:
        assert url == SERVER["livekit_url"]
        claims = api.TokenVerifier(SERVER["api_key"], SERVER["api_secret"]).verify(token)
        assert (claims.identity, claims.kind) == ("musecast-avatar", "agent")
        assert claims.attributes == {"lk.publish_on_behalf": "agent"}
        assert claims.video is not None
        assert (claims.video.room_join, claims.video.room) == (True, "a-room")
        await self.show(self.room)


class Output:
    """Of an agent's session: where its voice goes."""

    def __init__(self) -> None:
        self.tail: DataStreamAudioOutput | None = None

    def replace_audio_tail(self, sink: DataStreamAudioOutput) -> None:
        self.tail = sink


class Agent(rtc.EventEmitter[str]):
    def __init__(self) -> None:
        super().__init__()
        self.output = Output()


@asynccontextmanager
async def worker(daemon: Daemon, room: Room, **arguments: Any) -> AsyncIterator[TestServer]:
    def make(**session: Any) -> Here:
        made = Here(daemon.control, daemon.stream, **session)
        made.room = room
        return made

    async with TestServer(Dispatcher(make, **arguments).app()) as server:
        yield server


def frame(pcm: bytes) -> rtc.AudioFrame:
    return rtc.AudioFrame(pcm, RATE, 1, len(pcm) // 2)


def test_an_agent_speaks_through_a_worker_elsewhere(daemon: Daemon) -> None:
    async def test() -> None:
        here, there = linked("agent", "musecast-avatar")
        async with worker(daemon, there, token="a token") as server:
            agent = Agent()
            session = AvatarSession(
                worker_url=str(server.make_url("/")), worker_token="a token", template_id="default", **SERVER
            )
            await session.start(agent, here)  # type: ignore[arg-type]
            assert (session.avatar_identity, session.provider) == ("musecast-avatar", "musecast")
            await session.wait_for_join()
            voice = agent.output.tail
            assert voice is not None
            started: list[Any] = []
            finished: list[Any] = []
            voice.on("playback_started", started.append)
            voice.on("playback_finished", finished.append)
            for pcm in pieces(0.5):
                await voice.capture_frame(frame(pcm))
            voice.flush()
            await until(lambda: finished, "lk.playback_finished")
            assert len(started) == 1
            assert (finished[0].interrupted, finished[0].playback_position) == (False, pytest.approx(0.64))
            for pcm in pieces(3.0):
                await voice.capture_frame(frame(pcm))
            await until(lambda: len(started) == 2, "lk.playback_started")
            voice.clear_buffer()
            voice.flush()
            await until(lambda: len(finished) == 2, "lk.playback_finished of what was cleared")
            assert finished[1].interrupted
            for pcm in pieces(0.3):
                await voice.capture_frame(frame(pcm))
            voice.flush()
            await until(lambda: len(finished) == 3, "lk.playback_finished of the next segment")
            assert not finished[2].interrupted
            await session.aclose()

    run(test)


def test_a_worker_refuses_in_words(daemon: Daemon) -> None:
    async def test() -> None:
        _, there = linked("agent", "musecast-avatar")
        async with (
            worker(daemon, there, token="a token", limit=1) as server,
            aiohttp.ClientSession(server.make_url("/")) as http,
        ):
            good = {"Authorization": "Bearer a token"}
            cases: list[tuple[dict[str, str], Any, int, str]] = [
                ({}, {}, 401, "UNAUTHENTICATED"),
                ({"Authorization": "Bearer other"}, {}, 401, "UNAUTHENTICATED"),
                ({**good, "Origin": "http://evil"}, {}, 403, "UNAUTHENTICATED"),
                (good, {}, 400, "INVALID_ARGUMENT"),
                (good, ["url"], 400, "INVALID_ARGUMENT"),
                (good, {"url": "ws://x", "token": "y", "session": 3}, 400, "INVALID_ARGUMENT"),
            ]
            for headers, body, status, code in cases:
                async with http.post("/avatars", json=body, headers=headers) as answer:
                    assert (answer.status, (await answer.json())["error"]["code"]) == (status, code), body
            async with http.post("/avatars", data=b"url", headers=good) as answer:
                assert answer.status == 400
            token = AvatarSession(**SERVER).token("a-room", "agent")
            body = {"url": SERVER["livekit_url"], "token": token, "session": {"template_id": "none-such"}}
            async with http.post("/avatars", json=body, headers=good) as answer:
                assert answer.status == 404
                assert "none-such" in (await answer.json())["error"]["message"]
            body["session"] = {"control": "tcp://127.0.0.1:1"}  # where the daemon is, is the worker's own business
            async with http.post("/avatars", json=body, headers=good) as answer:
                assert answer.status == 201
            async with http.post("/avatars", json=body, headers=good) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (429, "BUSY")

    run(test)


def test_a_worker_that_refuses_is_an_error_of_the_start(daemon: Daemon) -> None:
    async def test() -> None:
        here, there = linked("agent", "musecast-avatar")
        async with worker(daemon, there, token="a token") as server:
            session = AvatarSession(worker_url=str(server.make_url("/")), **SERVER)
            with pytest.raises(RuntimeError, match="401"):
                await session.start(Agent(), here)  # type: ignore[arg-type]
            await session.aclose()

    run(test)


def test_without_keys_of_livekit_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="LIVEKIT_API_SECRET"):
        AvatarSession()
