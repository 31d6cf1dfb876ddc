"""Taking one process out of service for a while, and back: it finishes what it holds, others get the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import Message, Rest, Resume
from broker.timers import Timer, Timers
from broker.workers.asr_streams import AsrStreams
from broker.workers.ledger import Ledger
from broker.workers.status import WorkerStatus

log = structlog.get_logger()

Then = Callable[[ControlError | None], None]
"""Called once: None, it is done; or why not."""


@dataclass(slots=True, eq=False)
class Waiter:
    """Someone who waits until an instance is out of service, or back in it."""

    instance: str
    out: bool
    then: Then
    limit: Timer


class Drains:
    """Which instances are being drained, and who waits for it.

    Args:
        cancel: tells an instance to give items up.
        tell: sends to the supervisor.
        now: monotonic microseconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        streams: AsrStreams,
        status: WorkerStatus,
        cancel: Callable[[str, list[str]], None],
        tell: Callable[[Message], None],
        timers: Timers,
        now: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._streams = streams
        self._status = status
        self._cancel = cancel
        self._tell = tell
        self._timers = timers
        self._now = now
        self._draining: dict[str, bool] = {}
        """By instance: whether the supervisor has been told that it holds nothing."""
        self._waiters: list[Waiter] = []

    def check(self, instance: str) -> None:
        """Raises ControlError for what is no process of a stage."""
        known = [row.instance for row in self._status.rows if row.stage != "broker"]
        if instance not in known:
            raise ControlError(ErrorCode.NOT_FOUND, f"no instance {instance!r}; there are {', '.join(known)}")

    def drain(self, instance: str, timeout_s: float, then: Then) -> None:
        """Give an instance no more work; call ``then`` when it holds nothing and its process has ended."""
        if instance not in self._draining:
            log.info("instance.draining", instance=instance)
            self._draining[instance] = False
            self._status.draining.add(instance)
            background = self._ledger.drain(instance)
            if background:
                self._cancel(instance, background)
            self._streams.drain(instance)
        self._wait(instance, timeout_s, then, out=True)
        if self._draining[instance]:
            self.reported()  # it may be out of service already

    def resume(self, instance: str, timeout_s: float, then: Then) -> None:
        """Use an instance again; call ``then`` when it has a process, or none is needed yet."""
        self._draining.pop(instance, None)
        self._status.draining.discard(instance)
        self._ledger.resume(instance)
        self._streams.resume(instance)
        self._tell(Resume(instance=instance))
        for waiter in [w for w in self._waiters if w.instance == instance and w.out]:
            resumed = f"{instance} was resumed before it held nothing: drain it again"
            self._answer(waiter, ControlError(ErrorCode.FAILED, resumed))
        self._wait(instance, timeout_s, then, out=False)

    def _wait(self, instance: str, timeout_s: float, then: Then, *, out: bool) -> None:
        def late() -> None:
            self._answer(waiter, ControlError(ErrorCode.FAILED, self._late(instance, timeout_s, out=out)))

        limit = self._timers.at(self._now() + int(timeout_s * 1_000_000), late)
        waiter = Waiter(instance, out, then, limit)
        self._waiters.append(waiter)

    def _late(self, instance: str, timeout_s: float, *, out: bool) -> str:
        if not out:
            return f"{instance} was not started within {timeout_s:g} s: see status, and the log"
        items, streams = self._ledger.held(instance), self._streams.held(instance)
        if not items and not streams:
            return f"{instance} holds nothing any more, but has not ended within {timeout_s:g} s: see status"
        return (
            f"{instance} still holds {items} items and {streams} microphones after {timeout_s:g} s; it gets no "
            "more: ask again to wait on, or use it again with resume_instance"
        )

    def _answer(self, waiter: Waiter, error: ControlError | None) -> None:
        self._waiters.remove(waiter)
        waiter.limit.cancel()
        waiter.then(error)

    def look(self) -> None:
        """See which instances hold nothing any more; after whatever has happened."""
        for instance, told in self._draining.items():
            if not told and not self._ledger.held(instance) and not self._streams.held(instance):
                self._draining[instance] = True
                self._tell(Rest(instance=instance))

    def reported(self) -> None:
        """The supervisor has told how everyone is: answer those whose wish is fulfilled."""
        states = {row.instance: (row.state, row.pid) for row in self._status.rows}
        for waiter in list(self._waiters):
            state, pid = states.get(waiter.instance, ("", None))
            out = state == "draining" and pid is None
            back = not out and state not in ("", "fatal")
            if out if waiter.out else back:
                self._answer(waiter, None)
