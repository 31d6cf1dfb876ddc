"""Engines are synchronous; a library that is not runs its loop here, in one thread per engine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from models.api import Cancel

T = TypeVar("T")

LOOK_S = 0.04
"""How often a cancel flag is looked at: it has no way to wake anybody."""
AHEAD = 256
"""Items that a stream may be ahead of who takes them."""
GRACE_S = 0.03
"""From a cancel to the cancellation of the task."""
CLOSE_S = 2.0


class Loop:
    """An event loop in a thread of its own. Its methods may be called from any other thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let a coroutine run."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """The result of a coroutine.

        Raises:
            TimeoutError: it has not ended within ``timeout_s``; it is cancelled.
        """
        future = self.begin(work)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def stream(self, make: Callable[[], AsyncIterator[T]], cancel: Cancel) -> Iterator[T]:
        """What an asynchronous iterator gives. It is cancelled, and with it whatever it has opened is closed, when
        ``cancel`` is set, and when nobody takes from this iterator any more.
        """
        made: deque[T] = deque()
        moved = threading.Condition()
        room = asyncio.Event()
        over: list[BaseException | None] = []

        stopped = threading.Event()
        waiting: list[asyncio.TimerHandle] = []

        async def pump() -> None:
            failure: BaseException | None = None
            source = make()
            try:
                async for item in source:
                    if stopped.is_set():
                        break
                    with moved:
                        made.append(item)
                        moved.notify()
                    if len(made) >= AHEAD:
                        room.clear()
                        await room.wait()
            except BaseException as error:  # who waits must hear of it, whatever it is
                failure = error
            finally:
                for timer in waiting:
                    timer.cancel()
                close = getattr(source, "aclose", None)
                if close is not None:
                    await close()
                with moved:
                    over.append(failure)
                    moved.notify()

        async def begin() -> asyncio.Task[None]:
            return asyncio.get_running_loop().create_task(pump())

        def stop() -> None:
            """What is about to end by itself ends so: httpx keeps a connection whose closing is cancelled."""
            stopped.set()
            room.set()
            waiting.append(self._loop.call_later(GRACE_S, task.cancel))

        task = self.run(begin())
        try:
            while True:
                with moved:
                    while not made and not over:
                        if cancel.is_set():
                            return
                        moved.wait(LOOK_S)
                    if cancel.is_set():
                        return
                    if not made:
                        if over[0] is not None:
                            raise over[0]
                        return
                    item = made.popleft()
                if len(made) == AHEAD // 2:
                    self._loop.call_soon_threadsafe(room.set)
                yield item
        finally:
            if not over:
                self._loop.call_soon_threadsafe(stop)

    def close(self) -> None:
        """End all that runs, and the thread."""

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):  # the thread is a daemon
                self.run(end(), CLOSE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()
