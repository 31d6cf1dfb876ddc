"""One face for a framework that has speech and wants pictures: a session of the daemon that outlives the daemon.

An ordinary client of the two public sockets; LiveKit's and Pipecat's adapters put their own words on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import structlog

from clients.adapters.decoder import TICK_US, Decoder, Pixels, Tick
from clients.adapters.speech import Piece, Speech
from clients.adapters.waiting import Ended, Waiting
from clients.aio.control import Control
from clients.aio.hub import Hub
from clients.aio.messages import Message
from clients.aio.viewer import Viewer
from clients.client import RequestError
from clients.keys import Keys
from models.meter import Meter

log = structlog.get_logger()

START_S = 30.0
"""From ``start`` to the first session."""
RETRY_S, RETRY_MAX_S = 0.5, 5.0
"""Between two tries to begin a session; each wait is twice as long as the one before."""
LATER = ("NOT_READY", "BUSY")
"""Refusals of a daemon that may take the session the next time."""
AWAY_S = 3.0
"""A broker is replaced in less: after so long without a connection, what was being said counts as lost."""
SPEECH_S = 5.0
"""For the answer to a piece of sound, with all times that the daemon was busy."""
BUSY_S = 0.1
INTERRUPT_S = 1.5
"""LiveKit's agent waits 2 s for what it interrupts."""
PAUSE_S, PAUSE_MAX_S = 1.0, 60.0
"""The daemon closes a turn after 2 s without a call: in a pause an empty one is sent this often. After so long a
pause the piece counts as forgotten by who began it."""
END_S = 2.0
"""For the answer to ``end_session``."""
AHEAD_US = 320_000
"""So much is decoded before it is taken."""
DEFAULTS = {"idle": "loop", "barge_in": False, "mode": "realtime"}
"""Arguments of ``start_session``: a face before the first word, and the framework decides who may interrupt."""


class Over(NamedTuple):
    """A piece of speech is over, all of it was handed out: ``finish`` was called and nothing more comes."""

    reason: str
    """"ended", "failed", "interrupted" (by somebody else), "lost" (the daemon) or "refused"."""


class Avatar:
    """Speech in, pictures and sound out. From one event loop.

    Args:
        control: address of the daemon's control socket, such as ``tcp://127.0.0.1:28880``.
        stream: of its stream.
        pixels: what pictures are made of.
        keys: where the daemon has them on; of the scope control.
        session: arguments of ``start_session``, such as ``template_id``; they go before ``DEFAULTS``.
    """

    def __init__(
        self, control: str, stream: str, *, pixels: Pixels, keys: Keys | None = None, **session: Any
    ) -> None:
        self._arguments = {**DEFAULTS, **session}
        self._pixels = pixels
        self._control = Control(control, stream, keys)
        self._control.on_connection = self._connection
        self._hub = Hub(stream, self._control, Meter(), keys)
        self._speech = Speech()
        self._waiting = Waiting()
        self._ticks: deque[Tick | Ended] = deque()
        self._decoder: Decoder | None = None
        self._come, self._made, self._taken = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()
        self._cuts = 0
        self._cut = asyncio.Event()
        self._started: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._away: asyncio.TimerHandle | None = None
        self._paused_s = 0.0
        self._rate = 0
        self._there = asyncio.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "musecast-decoder")
        self.session_id: str | None = None
        """Of the session that is open; another one after a daemon was lost."""
        self.width = self.height = 0

    @property
    def speaking(self) -> bool:
        """Whether a piece of speech is open, for ``finish``."""
        return self._speech.open is not None

    @property
    def busy(self) -> bool:
        """Whether an ``Over`` is still to come."""
        return self._speech.busy

    # --- its life ---

    async def start(self, limit_s: float = START_S) -> None:
        """Connect and begin the first session.

        Raises:
            RequestError: the daemon refuses it, or is not there within ``limit_s`` (NOT_READY): ``close`` then, or
                leave it to try on.
        """
        self._started = asyncio.get_running_loop().create_future()
        self._spawn(self._live())
        self._spawn(self._decode())
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.shield(self._started)
        except TimeoutError:
            message = f"no session within {limit_s:g} s: is the daemon running? `musecast up` starts it"
            raise RequestError("NOT_READY", message, op="start_session") from None

    async def close(self) -> None:
        """End the session; ``outputs`` end. Twice does no harm."""
        if self._closed:
            return
        self._closed = True
        self._made.set()
        for timer in (self._pause, self._away):
            if timer is not None:
                timer.cancel()
        if self.session_id is not None:
            with contextlib.suppress(RequestError):
                await self._control.request("end_session", {"session_id": self.session_id, "drain": False}, END_S)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
        self._waiting = Waiting()
        self._ticks.clear()

    async def _live(self) -> None:
        """One session after another, until it is cancelled."""
        async with self._control.running():
            receiving = asyncio.create_task(self._hub.run())
            try:
                wait_s = RETRY_S
                while True:
                    await self._there.wait()
                    try:
                        reply = await self._control.request("start_session", self._arguments, START_S)
                        wait_s = RETRY_S
                        await self._one_session(reply)
                        log.warning("avatar.session_lost", session_id=reply["session_id"])
                        await asyncio.sleep(RETRY_S)
                    except RequestError as error:
                        if self._started is not None and not self._started.done() and error.code not in LATER:
                            self._started.set_exception(error)
                            return
                        log.warning("avatar.no_session", code=error.code, reason=error.message, again_s=wait_s)
                        await asyncio.sleep(wait_s)
                        wait_s = min(2 * wait_s, RETRY_MAX_S)
            finally:
                self.session_id = None
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)

    async def _one_session(self, reply: dict[str, Any]) -> None:
        """Until it has ended."""
        self._speech.another_session()
        self._waiting.another_session()
        self._ticks = deque(one for one in self._ticks if isinstance(one, Tick) or one.turn < 0)
        self.width, self.height = reply["width"], reply["height"]
        viewer = Viewer(reply["session_id"])
        try:
            async with self._hub.watch(viewer, from_seq=0, from_n=0) as messages:
                self.session_id = reply["session_id"]
                if self._started is not None and not self._started.done():
                    self._started.set_result(None)
                async for message in messages:
                    self._take(message)
        finally:
            self.session_id = None
            self._lost()

    # --- speech ---

    async def speak(self, pcm: bytes, sample_rate: int, channels: int = 1) -> None:
        """More speech: s16le, 8 to 48 kHz. What the daemon does not take is left out, and logged."""
        cuts = self._cuts
        if channels > 1:
            pcm = np.frombuffer(pcm, "<i2").reshape(-1, channels).mean(axis=1).astype("<i2").tobytes()
        async with self._sending:
            if cuts == self._cuts and not self._closed:
                self._rate, self._paused_s = sample_rate, 0.0
                await self._send(self._speech.piece(), pcm, sample_rate)

    async def finish(self) -> None:
        """That was all of this piece of speech: an ``Over`` comes behind it. Nothing is done without one."""
        cuts = self._cuts
        async with self._sending:
            piece = self._speech.open
            if cuts != self._cuts or piece is None:
                return
            if piece.turns:
                await self._send(piece, b"", self._rate, last=True)
            if not piece.cut:
                self._speech.close()
                self._put(Ended(0, "refused"))

    def interrupt(self) -> Awaitable[None]:
        """Be silent, at once; what is returned waits until the daemon knows it.

        Nothing of what was said before comes out of ``outputs`` any more, also no ``Over``.
        """
        self._cuts += 1
        self._cut.set()
        self._cut = asyncio.Event()
        self._speech.cut()
        self._waiting.cut_all()
        self._waiting.cut(self._speech.newest)
        self._ticks = deque(one for one in self._ticks if isinstance(one, Tick) and not one.turn)
        self._taken.set()
        return self._interrupted()

    async def _interrupted(self) -> None:
        try:
            async with asyncio.timeout(INTERRUPT_S), self._sending:
                if self.session_id is not None:
                    await self._control.request("interrupt", {"session_id": self.session_id}, INTERRUPT_S)
        except (RequestError, TimeoutError) as error:
            log.warning("avatar.not_interrupted", reason=str(error) or "no answer in time")
        self._waiting.cut(self._speech.newest)

    async def _send(self, piece: Piece, pcm: bytes, sample_rate: int, *, last: bool = False) -> None:
        """A call of ``process_segment``; one at a time."""
        cuts = self._cuts
        try:
            async with asyncio.timeout(SPEECH_S):
                while cuts == self._cuts:
                    try:
                        turn = await self._process(pcm, sample_rate, last)
                    except RequestError as error:
                        if error.code != "BUSY":
                            raise
                        await self._until_cut((error.retry_after_ms or 0) / 1000 or BUSY_S)
                        continue
                    self._speech.accepted(piece, turn)
                    if piece.cut:
                        self._waiting.cut(turn)
                    break
        except (RequestError, TimeoutError) as error:
            if not piece.refused:
                log.warning("avatar.not_spoken", reason=str(error) or f"no answer within {SPEECH_S:g} s")
            piece.refused = True
        self._arm(piece)

    async def _process(self, pcm: bytes, sample_rate: int, last: bool) -> int:
        if self.session_id is None:
            raise RequestError("NOT_READY", "there is no session: the daemon is away, another one is tried for")
        reply = await self._control.request(
            "process_segment",
            {
                "session_id": self.session_id, "audio": pcm, "format": "s16le", "sample_rate": sample_rate,
                "last": last,
            },
            SPEECH_S,
        )  # fmt: skip
        return int(reply["turn"])

    async def _until_cut(self, seconds: float) -> None:
        cut = self._cut
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await cut.wait()

    def _arm(self, piece: Piece) -> None:
        """Keep the turn open while the framework makes a pause."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if piece is self._speech.open and not piece.closed and not self._closed:
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(PAUSE_S, lambda: self._spawn(self._fill(piece)))

    async def _fill(self, piece: Piece) -> None:
        self._paused_s += PAUSE_S
        if self._paused_s > PAUSE_MAX_S:
            log.warning("avatar.speech_forgotten", paused_s=self._paused_s)
            if piece is self._speech.open:
                await self.finish()
            return
        async with self._sending:
            if piece is self._speech.open and piece.turns and not piece.cut:
                await self._send(piece, b"", self._rate)
            else:
                self._arm(piece)

    # --- from the daemon ---

    def _connection(self, there: bool) -> None:
        if self._away is not None:
            self._away.cancel()
            self._away = None
        if there:
            self._there.set()
            return
        self._there.clear()
        if not self._closed:
            self._away = asyncio.get_running_loop().call_later(AWAY_S, self._lost)

    def _lost(self) -> None:
        """Whatever is being said will not be heard to its end."""
        if self._speech.busy:
            log.warning("avatar.speech_lost", newest_turn=self._speech.newest)
        self._put(Ended(self._speech.lost(), "lost"))

    def _take(self, message: Message) -> None:
        header = message.header
        if message.event is None:
            before = self._waiting.left_out_us
            self._waiting.put(message)
            if self._waiting.left_out_us > before:
                log.warning("avatar.not_taken", left_out_ms=(self._waiting.left_out_us - before) // 1000)
            self._come.set()
        elif message.event in ("turn.ended", "turn.failed", "turn.interrupted"):
            reason = str(message.event)[5:]
            if reason == "interrupted":
                self._waiting.flush(header["data"]["flush_from"])
            elif reason == "failed":
                log.warning("avatar.turn_failed", turn=header["turn"], **header["data"])
            self._speech.terminal(header["turn"])
            self._put(Ended(header["turn"], reason))
        elif message.event == "gateway.skipped":
            log.warning("avatar.skipped", **header["data"])

    def _put(self, end: Ended) -> None:
        self._waiting.put(end)
        self._come.set()

    # --- to the framework ---

    async def outputs(self) -> AsyncIterator[Tick | Over]:
        """Pictures with their sound, idle motion too, and the ends of pieces of speech; until ``close``.

        As they come and not paced: a second of them may come at once.
        """
        while True:
            while not self._ticks:
                if self._closed:
                    return
                self._made.clear()
                await self._made.wait()
            one = self._ticks.popleft()
            self._taken.set()
            if isinstance(one, Ended):
                self._speech.shown(one.turn)
                while self._speech.over():
                    yield Over(one.reason)
            elif not self._waiting.void(one.gen, one.turn, one.pts):
                yield one

    async def _decode(self) -> None:
        """Make ticks of what waits, a little ahead of who takes them."""
        while True:
            while len(self._ticks) * TICK_US > AHEAD_US:
                self._taken.clear()
                await self._taken.wait()
            item = self._waiting.take()
            if item is None:
                self._come.clear()
                await self._come.wait()
                continue
            if isinstance(item, Ended):
                self._ticks.append(item)
            else:
                cuts = self._cuts
                ticks = await self._ticks_of(item)
                self._ticks += [tick for tick in ticks if cuts == self._cuts or not tick.turn]
            self._made.set()

    async def _ticks_of(self, message: Message) -> list[Tick]:
        """None where it is damaged."""
        run = asyncio.get_running_loop().run_in_executor
        try:
            if not message.media:
                self._decoder = await run(self._thread, Decoder, message.payload, self._pixels)
            elif self._decoder is not None:
                return await run(self._thread, self._decoder.decode, message.header, message.payload)
        except ValueError as error:
            log.warning("avatar.damaged", reason=str(error))
        return []

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
