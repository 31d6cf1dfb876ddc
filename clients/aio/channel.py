"""One session for all its viewers, ``seq`` and ``n`` without holes: what PUB/SUB lost is read back for all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import structlog

from clients.aio.control import Control
from clients.aio.messages import Message, init_message, skipped
from clients.aio.order import Merged
from clients.aio.viewer import ENDED, GONE, RESTART, Viewer
from clients.client import RequestError

JOIN_S = 1.0
"""The ``init`` that a subscription brings says that it is in force; waited for so long."""
QUIET_S, QUIET_MAX_S = 2.0, 10.0
"""After so long without a message it is asked whether one was lost; less often while nothing was."""
KEEP_ALIVE_S = 3.0
"""A third of the shortest ``idle_timeout_s``."""
RETRY_S = 1.0
LATER = ("NOT_READY", "BUSY")
"""Errors of a daemon that may answer the next time."""
READ_SEGMENTS = 16
READ_EVENTS = 256
BEYOND = 1 << 53
"""A ``seq`` that no session reaches: asks for the ``init`` and the newest number alone."""


class Channel:
    """One session: its viewers, and which numbers come next.

    Args:
        sid: the session.
        control: requests to the daemon.
    """

    def __init__(self, sid: str, control: Control) -> None:
        self.sid = sid
        self.viewers: set[Viewer] = set()
        self.users = 0
        """Viewers, and those who wait to become one."""
        self.init: Message | None = None
        self.next_seq = 0
        self.next_n = 0
        self.gen: int | None = None
        """Of the last segment."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the numbers are known; has the error where there is no such session."""
        self.ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.joined = asyncio.Event()
        self.ended = False
        self.unsubscribe: asyncio.TimerHandle | None = None
        self._control = control
        self._repair: asyncio.Task[None] | None = None
        self._missed = False
        self._over = False
        """The daemon has said that its last segment is published."""
        self._last: Message | None = None
        """The ``session.ended`` that has come, while it is asked whether media before it was lost."""
        self._heard_at = self._kept_at = time.monotonic()
        self._quiet_s = QUIET_S

    # --- from the stream ---

    def media(self, message: Message) -> None:
        """``init`` or a segment has come."""
        if message.header["kind"] == "init":
            self.init = self.init or message
            self.joined.set()
        elif self._takes(message.header["seq"], self.next_seq):
            self._deliver(message)

    def event(self, message: Message) -> None:
        """An event has come."""
        if not self._takes(message.header["n"], self.next_n):
            return
        if message.event == "session.ended":  # no later segment will show that the one before it was lost
            self._last = message
            self.repair()
        else:
            self._deliver(message)

    def _takes(self, number: int, expected: int) -> bool:
        self._heard_at, self._quiet_s = time.monotonic(), QUIET_S
        if self._repair is not None or not self.ready.done():
            self._missed = True  # read back by the repair
            return False
        if number > expected:
            self.repair()
        return number == expected

    def _deliver(self, message: Message) -> None:
        header = message.header
        if message.event is None:
            self.next_seq, self.gen = header["seq"] + 1, header["gen"]
        elif "n" in header:
            self.next_n = header["n"] + 1
        for viewer in self.viewers:
            viewer.put(message)
        if message.event == "session.ended":
            # A daemon that stops ends its sessions: come back to the next one, which tells that they are gone.
            self.finish(RESTART if header["data"]["reason"] == "shutdown" else ENDED)

    def finish(self, code: int) -> None:
        """Nothing more will come."""
        self.ended = True
        for viewer in self.viewers:
            viewer.close(code)

    # --- reading back ---

    def repair(self) -> None:
        """Read back whatever is published and was not delivered."""
        if self._repair is None and not self.ended:
            self._repair = asyncio.create_task(self._read_back())
            self._repair.add_done_callback(self._repaired)

    def _repaired(self, task: asyncio.Task[None]) -> None:
        self._repair = None
        if not task.cancelled() and (error := task.exception()) is not None:
            structlog.get_logger().error("repair_failed", sid=self.sid, error=repr(error))
            self.finish(GONE)

    async def start(self) -> None:
        """Find out which numbers come next, once the subscription is in force; ``ready`` has what failed."""
        try:
            media = await self._control.request("segments", {"session_id": self.sid, "from_seq": BEYOND, "max": 1})
            if not media["end"] and not self.joined.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(JOIN_S):
                        await self.joined.wait()
                media = await self._control.request(
                    "segments", {"session_id": self.sid, "from_seq": BEYOND, "max": 1}
                )
            events = await self._control.request("events", {"session_id": self.sid, "from_n": BEYOND, "max": 1})
        except Exception as error:  # whatever it is, those who wait for it are told
            self.ready.set_exception(error)
            return
        self.next_seq, self.next_n = _after(media["newest_seq"]), _after(events["newest_n"])
        if self.init is None and media["init"]:
            self.init = init_message(self.sid, media["init"])
        self.ended = bool(media["end"])
        self.ready.set_result(None)
        if self._missed:
            self.repair()

    async def _read_back(self) -> None:
        while True:
            self._missed = False
            over = self._over  # then the events that are asked for now have the last one among them
            try:
                async for message in self.read(self.next_seq, self.next_n):
                    self._deliver(message)
            except RequestError as error:
                if self._last is not None:
                    self._deliver(self._last)
                    return
                if error.code in LATER:
                    await asyncio.sleep(RETRY_S)
                    continue
                structlog.get_logger().info("session_lost", sid=self.sid, code=error.code)
                self.finish(GONE)
                return
            if self.ended:
                return
            if over:
                self.finish(ENDED)
            elif not self._missed and not self._over:
                if self._last is not None:
                    self._deliver(self._last)
                return

    async def read(
        self, seq: int, n: int, end_seq: int | None = None, end_n: int | None = None
    ) -> AsyncIterator[Message]:
        """What the daemon still has from these numbers on, in the order of the stream.

        What it has not any more is named by a ``gateway.skipped``.

        Args:
            seq, n: the first of each.
            end_seq, end_n: the first ones not wanted; None: all.
        """
        gen = self.gen if seq == self.next_seq else None
        first = max(0, seq - 1) if gen is None else seq
        merged = Merged(await self._events(n, end_n), gen)
        while end_seq is None or first < end_seq:
            reply = await self._control.request(
                "segments", {"session_id": self.sid, "from_seq": first, "max": READ_SEGMENTS}
            )
            self._over = self._over or reply["end"]
            oldest = reply["oldest_seq"]
            if oldest is not None and oldest > seq:
                yield skipped(self.sid, seq, oldest - 1 if end_seq is None else min(oldest, end_seq) - 1)
                seq = oldest
            got = [Message(raw, payload) for raw, payload in reply["segments"]]
            for message in got:
                first = message.header["seq"] + 1
                if end_seq is not None and message.header["seq"] >= end_seq:
                    break
                if message.header["seq"] < seq:
                    merged = Merged(merged.rest(), message.header["gen"])
                    continue
                for one in merged.add(message):
                    yield one
            if not got or first > reply["newest_seq"]:
                break
        for one in merged.rest():
            yield one

    async def _events(self, n: int, end: int | None) -> list[Message]:
        found: list[Message] = []
        while end is None or n < end:
            reply = await self._control.request(
                "events", {"session_id": self.sid, "from_n": n, "max": READ_EVENTS}
            )
            got = [Message(raw) for raw in reply["events"]]
            found += [one for one in got if end is None or one.header["n"] < end]
            if not got:
                break
            n = got[-1].header["n"] + 1
            if n > reply["newest_n"]:
                break
        return found

    # --- time ---

    def tick(self, now: float) -> bool:
        """Once a second: look for what was lost; whether the session is to be kept alive now."""
        if self.ended or not self.ready.done() or self.ready.exception() is not None or not self.viewers:
            return False
        if now - self._heard_at > self._quiet_s:
            self._heard_at, self._quiet_s = now, min(QUIET_MAX_S, self._quiet_s * 2)
            self.repair()
        if now - self._kept_at < KEEP_ALIVE_S or not any(viewer.keeps_alive for viewer in self.viewers):
            return False
        self._kept_at = now
        return True

    def close(self) -> None:
        """Stop what runs for it."""
        if self._repair is not None:
            self._repair.cancel()
        if not self.ready.done():
            self.ready.cancel()


def _after(newest: int | None) -> int:
    return 0 if newest is None else newest + 1
