"""The stream for all viewers: one subscription per session, however many look at it.

The loop that receives never waits for a viewer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
import zmq

from clients.aio.channel import Channel
from clients.aio.control import Control
from clients.aio.messages import Header, Message
from clients.aio.reader import Reader
from clients.aio.viewer import ENDED, TOO_SLOW, Viewer
from clients.client import RequestError
from clients.keys import Keys, connect
from models.meter import Meter

STREAM_HWM = 1000
LINGER_S = 10.0
"""A session that nobody looks at stays subscribed for so long: pages reload, connections break."""
TICK_S = 1.0


class Hub:
    """Receives the stream and gives it to viewers. ``run`` it in one task; use it from that loop alone.

    Args:
        stream: address of the daemon's XPUB.
        meter: counts what slow viewers cost them, and how long media waits for a viewer.
        control: requests to the daemon.
        keys: where the daemon has them on.
    """

    def __init__(self, stream: str, control: Control, meter: Meter, keys: Keys | None = None) -> None:
        self._control = control
        self._meter = meter
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._reader = Reader(self._socket, self._received)
        self._socket.setsockopt(zmq.RCVHWM, STREAM_HWM)
        self._socket.setsockopt(zmq.LINGER, 0)
        # Of sessions that nobody looks at, too: it is one of these that tells who wants to be recorded.
        for topic in (b"sys.", b"evt."):
            self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        connect(self._socket, stream, keys)
        self._channels: dict[str, Channel] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._start: tuple[str, float] | None = None
        self.on_started: Callable[[Header], None] = lambda _: None
        """Is told the ``session.started`` of every session."""
        self.on_restart: Callable[[], None] = lambda: None
        """Is told that the daemon or its broker was started anew."""

    @property
    def viewers(self) -> int:
        """How many look at a session; not those that only record it."""
        viewers = (viewer for channel in self._channels.values() for viewer in channel.viewers)
        return sum(viewer.keeps_alive for viewer in viewers)

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            with self._reader.running():
                await self._tick()
        finally:
            for task in (*self._tasks,):
                task.cancel()
            for channel in self._channels.values():
                channel.close()
            self._context.destroy(linger=0)

    def _received(self, parts: list[zmq.Frame]) -> None:
        try:
            topic, raw, payload = parts
            self._dispatch(topic.bytes, raw.bytes, payload.buffer)
        except Exception:  # one message, of whoever it may be, is not the end of all viewers
            structlog.get_logger().exception("stream.broken_message")

    def _dispatch(self, topic: bytes, raw: bytes, payload: memoryview) -> None:
        if topic == b"sys.":
            self._beacon(Message(raw).header)
            return
        if b"session.started" in raw:
            self.on_started(Message(raw).header)
        channel = self._channels.get(topic[4:-1].decode())
        if channel is None:
            return
        message = Message(raw, payload)
        if message.event is None:
            channel.media(message)
        else:
            channel.event(message)

    def _beacon(self, header: Header) -> None:
        """A daemon, or a broker, that was started anew may have lost sessions, and messages in any case."""
        before, self._start = self._start, (header["boot"], header["uptime_s"])
        if before is not None and (before[0] != header["boot"] or header["uptime_s"] < before[1]):
            self.on_restart()
            for channel in self._channels.values():
                if channel.ready.done():
                    channel.repair()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for channel in self._channels.values():
                if channel.tick(now):
                    self._background(self._keep_alive(channel.sid))
                for viewer in channel.viewers:
                    self._meter.took("waiting", viewer.backlog.age(now))

    async def _keep_alive(self, sid: str) -> None:
        with contextlib.suppress(RequestError):  # the repair finds out what became of the session
            await self._control.request("keep_alive", {"session_id": sid})

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def watch(
        self, viewer: Viewer, *, from_seq: int | None = None, from_n: int | None = None
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """Messages for this viewer: ``init``, what it missed from these numbers on, then what comes.

        The iterator ends when the session has (``viewer.closing`` says how), the block unsubscribes.

        Raises:
            RequestError: there is no such session, or the daemon does not answer.
        """
        channel = self._open(viewer.sid)
        channel.users += 1
        try:
            await asyncio.shield(channel.ready)
            # In one step with the joining: what the hub gives from here on begins with these two.
            seq, n = channel.next_seq, channel.next_n
            if from_seq is not None or from_n is not None:
                viewer.hold()
            channel.viewers.add(viewer)
            self._meter.count("viewers")
            if channel.ended:
                viewer.close(ENDED)
            yield self._follow(channel, viewer, (from_seq, seq), (from_n, n))
        finally:
            channel.users -= 1
            channel.viewers.discard(viewer)
            self._meter.count("segments.skipped", viewer.backlog.skipped)
            self._meter.count("viewers.too_slow", int(viewer.closing == TOO_SLOW))
            if not channel.users:
                self._leave(channel)

    async def _follow(
        self, channel: Channel, viewer: Viewer, segments: tuple[int | None, int], events: tuple[int | None, int]
    ) -> AsyncIterator[Message]:
        """``init``, then what was asked for and lies before what is given live, then that."""
        if channel.init is not None:
            yield channel.init
        (from_seq, seq), (from_n, n) = segments, events
        if from_seq is not None or from_n is not None:
            first_seq = seq if from_seq is None else min(from_seq, seq)
            first_n = n if from_n is None else min(from_n, n)
            async for message in channel.read(first_seq, first_n, seq, n):
                yield message
            viewer.release()
        while (live := await viewer.take()) is not None:
            yield live

    def _open(self, sid: str) -> Channel:
        channel = self._channels.get(sid)
        if channel is None:
            channel = self._channels[sid] = Channel(sid, self._control)
            self._socket.setsockopt(zmq.SUBSCRIBE, f"seg.{sid}.".encode())
            self._reader.look()
            self._background(channel.start())
        if channel.unsubscribe is not None:
            channel.unsubscribe.cancel()
            channel.unsubscribe = None
        return channel

    def _leave(self, channel: Channel) -> None:
        failed = channel.ready.done() and not channel.ready.cancelled() and channel.ready.exception() is not None
        if channel.ended or failed or not channel.ready.done():
            self._close(channel)
        else:
            channel.unsubscribe = asyncio.get_running_loop().call_later(LINGER_S, self._close, channel)

    def _close(self, channel: Channel) -> None:
        if self._channels.get(channel.sid) is channel:
            del self._channels[channel.sid]
            self._socket.setsockopt(zmq.UNSUBSCRIBE, f"seg.{channel.sid}.".encode())
            self._reader.look()
        channel.close()
