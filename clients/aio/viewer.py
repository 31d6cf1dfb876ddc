"""One viewer of a session: what the hub gives it and it has not taken yet."""

from __future__ import annotations

import asyncio
import time

from clients.aio.backlog import MAX_AGE_S, MAX_BYTES, Backlog
from clients.aio.messages import Message

ENDED, RESTART, TOO_SLOW, GONE = 1000, 1012, 1013, 4404
"""Close codes of a WebSocket; other viewers just end."""


class Viewer:
    """A queue that never makes the hub wait.

    Args:
        sid: the session.
        keeps_alive: whether somebody looks at the session, which therefore does not expire.
        goes_back: whether it shows cuts as they are; otherwise what is void is not given to it where that is known
            in time.
        max_age_s, max_bytes: see ``Backlog``.

    Attributes:
        closing: the close code once there is nothing more to come; what waits is still to be taken.
    """

    def __init__(
        self,
        sid: str,
        *,
        keeps_alive: bool = True,
        goes_back: bool = True,
        max_age_s: float = MAX_AGE_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.sid = sid
        self.keeps_alive = keeps_alive
        self.goes_back = goes_back
        self.closing: int | None = None
        self.backlog = Backlog(sid, max_age_s, max_bytes)
        self._come = asyncio.Event()

    def put(self, message: Message) -> None:
        """Add a message; never waits."""
        if self.closing is not None:
            return
        if message.event == "turn.interrupted" and not self.goes_back:
            self.backlog.drop_void(message.header["data"]["flush_from"])
        self.backlog.put(message, time.monotonic())
        if self.backlog.overfull:
            self.close(TOO_SLOW)
        self._come.set()

    def hold(self) -> None:
        """What it missed is being read back: until ``release``, what comes does not grow old for that."""
        self.backlog.hold()

    def release(self) -> None:
        """It has what it missed."""
        self.backlog.release(time.monotonic())

    def close(self, code: int) -> None:
        """Nothing more will come."""
        if self.closing is None:
            self.closing = code
        self._come.set()

    async def take(self) -> Message | None:
        """The next message; None when there is none and will be none: see ``closing``."""
        while True:
            message = None if self.closing == TOO_SLOW else self.backlog.take()
            if message is not None:
                return message
            if self.closing is not None:
                return None
            self._come.clear()
            await self._come.wait()
