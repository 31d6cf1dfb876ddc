"""WHEP against a real daemon: what is seen and heard, what a cut does, how it ends."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np

from tests.adapters.webrtc.watcher import LOUD, Watcher, post, watching
from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon
from tests.support.gateway_process import GatewayProcess, error_of

LONG = "One, two, three, four, five. I go on and on, sentence after sentence. Nobody knows where this will end."
PAUSE = 60
"""Pieces of 20 ms: longer than any between two words."""
TEXT = 5 * 6 * 50
"""Pieces that five times the text takes, at the very least."""
FRAME = 3600
"""Ticks of 90 kHz."""


def steps(found: list[int]) -> list[int]:
    return [after - before for before, after in itertools.pairwise(found)]


async def _picture(watcher: Watcher, count: int = 1) -> None:
    await watcher.until(lambda: len(watcher.frames) >= count, f"{count} pictures")


async def _voice(watcher: Watcher, session: Session, text: str = LONG) -> None:
    before = watcher.loud
    session.say(text)
    await watcher.until(lambda: watcher.loud >= before + 5, "voice")


def test_pictures_and_sound_come_in_order_are_cut_and_end_with_the_session(
    webrtc: GatewayProcess, stranger: Stranger
) -> None:
    """A cut is silence, and what comes behind it is heard."""
    session = stranger.session(idle="loop")

    async def scene() -> None:
        async with watching(webrtc.url) as watcher:
            await watcher.watch(session.sid)
            await _picture(watcher, 20)
            first = watcher.frames[0]
            assert (first.width, first.height) == (session.reply["width"], session.reply["height"])
            assert np.std(first.to_ndarray(format="gray")) > 10  # a face, not one colour
            assert not watcher.loud
            await _voice(watcher, session, " ".join([LONG] * 5))
            times = [frame.pts for frame in watcher.frames]
            assert all(step > 0 for step in steps(times)), times
            assert FRAME in steps(times)
            heard = [sound.pts for sound in watcher.sounds]
            assert all(step > 0 and step % 960 == 0 for step in steps(heard)), heard
            session.control.ok("interrupt", session_id=session.sid)
            # What is on its way, and waits in a receiver that is slow, is far less than the whole text.
            await watcher.until(lambda: max(watcher.peaks[-PAUSE:]) < LOUD, "silence")
            assert watcher.loud < TEXT / 2
            await _voice(watcher, session)
            await asyncio.to_thread(session.end, drain=False)
            await watcher.gone()

    asyncio.run(scene())


def test_a_viewer_ends_by_its_own_address(webrtc: GatewayProcess, stranger: Stranger) -> None:
    session = stranger.session(idle="loop")

    async def scene() -> None:
        async with watching(webrtc.url) as watcher:
            await watcher.watch(session.sid)
            await _picture(watcher)
            stranger_to_it = watcher.location.replace(session.sid, "another")
            assert (await watcher.http.delete(stranger_to_it)).status_code == 404
            assert (await watcher.http.delete(watcher.location)).status_code == 200
            await watcher.gone()
            again = await watcher.http.delete(watcher.location)
            assert (again.status_code, error_of(again.json())) == (404, "NOT_FOUND")

    asyncio.run(scene())


def test_without_sound_it_is_a_silent_film(webrtc: GatewayProcess, stranger: Stranger) -> None:
    session = stranger.session(idle="loop")

    async def scene() -> None:
        async with watching(webrtc.url) as watcher:
            reply = await post(watcher.http, session.sid, await watcher.offer("video"))
            assert "m=audio" not in reply.text
            await watcher.take(reply.text)
            await _picture(watcher, 3)

    asyncio.run(scene())


def test_a_gateway_that_stops_lets_its_viewers_go(daemon: Daemon, stranger: Stranger) -> None:
    session = stranger.session(idle="loop")
    process = GatewayProcess(daemon, "gateway.webrtc=true")

    async def scene() -> None:
        async with watching(process.url) as watcher:
            await watcher.watch(session.sid)
            await _picture(watcher)
            assert await asyncio.to_thread(process.stop) == 0
            await watcher.gone()

    asyncio.run(scene())
