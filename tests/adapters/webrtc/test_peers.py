"""Viewers that leave without a word, or never come: in this process, so that the limits can be short."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aioice import ice

from clients.aio.control import Control
from clients.aio.hub import Hub
from clients.daemon import door
from clients.gateway.auth import Tokens
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway
from clients.gateway.webrtc import peer
from clients.gateway.webrtc.peers import Peers
from configs.load import load, resolve
from tests.adapters.webrtc.watcher import eventually, watching
from tests.support.client import Stranger
from tests.support.daemon import Daemon


@contextlib.asynccontextmanager
async def peers_of(daemon: Daemon, directory: Path) -> AsyncIterator[Peers]:
    sets = (
        f"endpoints.control={daemon.control}",
        f"endpoints.stream={daemon.stream}",
        f"runtime_dir={directory}",
        f"state_dir={directory}",
        "gateway.webrtc=true",
    )
    config = resolve(load(None, sets, {}), {"HOME": str(directory)})
    there = door(config)
    control = Control(*there, refused=ApiError)
    gateway = Gateway(config, there, control, Tokens(config.gateway, config.runtime_dir))
    async with control.running():
        await eventually(lambda: asyncio.sleep(0, control.connected), "the daemon")
        hub = Hub(there.stream, control, gateway.meter, there.keys)
        running = asyncio.create_task(hub.run())
        peers = Peers(gateway, hub)
        try:
            yield peers
        finally:
            await peers.end_all()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def test_a_viewer_whose_network_is_gone_is_given_up(
    daemon: Daemon, stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice, "CONSENT_INTERVAL", 0.2)
    monkeypatch.setattr(ice, "CONSENT_FAILURES", 3)
    session = stranger.session(idle="loop")
    ended: list[str] = []

    async def on_end() -> None:
        ended.append(session.sid)

    async def scene() -> None:
        async with peers_of(daemon, tmp_path) as peers, watching("http://127.0.0.1:1") as watcher:
            _, answer = await peers.open(session.sid, await watcher.offer(), on_end=on_end)
            await watcher.take(answer)
            await watcher.until(lambda: bool(watcher.frames), "picture")
            assert len(peers.of_session(session.sid)) == 1
            watcher.lose_network()
            await eventually(lambda: asyncio.sleep(0, ended == [session.sid]), "the end of the viewer")
            assert peers.of_session(session.sid) == []

    asyncio.run(scene())


@pytest.mark.parametrize(("connect_s", "token_s"), [(0.5, math.inf), (600.0, 0.5)])
def test_a_viewer_that_never_comes_or_whose_token_expires_is_given_up(
    daemon: Daemon,
    stranger: Stranger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connect_s: float,
    token_s: float,
) -> None:
    monkeypatch.setattr(peer, "CONNECT_S", connect_s)
    session = stranger.session(idle="loop")

    async def scene() -> None:
        async with peers_of(daemon, tmp_path) as peers, watching("http://127.0.0.1:1") as watcher:
            offer = await watcher.offer()
            await peers.open(session.sid, offer, until=time.time() + token_s)
            await eventually(lambda: asyncio.sleep(0, not peers.of_session(session.sid)), "the end of the viewer")

    asyncio.run(scene())
