"""One session for all who look at it: while somebody does, it does not expire."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from clients.aio.channel import KEEP_ALIVE_S, Channel
from clients.aio.viewer import ENDED, Viewer

SHORTEST_S = 10
"""The least ``idle_timeout_s``."""


def test_a_session_is_kept_alive_while_somebody_watches_it() -> None:
    async def kept() -> list[bool]:
        channel = Channel("s", cast(Any, None))  # which is asked nothing before the loop goes on
        channel.ready.set_result(None)
        now = channel._kept_at + SHORTEST_S
        nobody = channel.tick(now)
        channel.viewers.add(Viewer("s", keeps_alive=False))
        recorded = channel.tick(now)
        channel.viewers.add(Viewer("s"))
        watched = [channel.tick(now + s) for s in (0, KEEP_ALIVE_S - 0.1, KEEP_ALIVE_S)]
        channel.finish(ENDED)
        ended = channel.tick(now + SHORTEST_S)
        channel.close()
        return [nobody, recorded, *watched, ended]

    assert asyncio.run(kept()) == [False, False, True, False, True, False]
    assert 3 * KEEP_ALIVE_S < SHORTEST_S, "two may be lost"
