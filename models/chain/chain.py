"""What the chains of all kinds share: members, their limits, and a thread that brings lost ones back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import structlog

from models.api import Cancel, Engine, EngineError, Progress
from models.chain.attempt import Attempt
from models.chain.policy import Limits, Roster, Standing
from models.meter import Meter

E = TypeVar("E", bound=Engine)
T = TypeVar("T")

Told = Callable[[str, str], None]
"""``told(engine, reason)``: who does the item from here on; ``reason``: whom it stands in for and why, or ""."""
ITEMS_FAULT = frozenset({"INVALID_ARGUMENT", "UNSUPPORTED", "TOO_LARGE"})
"""Codes that speak of the item: they count against no engine. From ``load``: another try does not help."""
CLOSE_S = 1.0

log = structlog.get_logger(__name__)


def nobody(engine: str, reason: str) -> None:
    """A ``Told`` for whoever does not care."""


class Chain(Generic[E]):
    """Members of one kind. Its methods may be called from any thread.

    Args:
        kind: "asr", "llm" or "tts".
        factories: by name, in the order in which they are asked; each makes an engine that is not loaded.
        limits: see ``Limits``.
        meter: gets ``items.<engine>``, ``failed.<engine>`` and ``ms.first.<engine>``.
        probe: does a small item of our own with a member that was broken; raises when it still fails.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        kind: str,
        factories: Mapping[str, Callable[[], E]],
        limits: Limits,
        meter: Meter,
        probe: Callable[[E, Cancel], Iterator[object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = kind
        self.limits = limits
        self.meter = meter
        self._factories = factories
        self._engines: dict[str, E] = {}
        self._probe = probe
        self._clock = clock
        self._lock = threading.RLock()
        self._roster = Roster(list(factories), limits)
        self._changed = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"chain.{kind}", daemon=True)

    @property
    def names(self) -> list[str]:
        """All members, in the order of the configuration."""
        return list(self._factories)

    @property
    def serving(self) -> str:
        """Who is asked first now."""
        with self._lock:
            return self._roster.serving

    @property
    def standings(self) -> list[Standing]:
        """For ``status``."""
        with self._lock:
            return self._roster.standings()

    def order(self) -> list[tuple[str, E]]:
        """Who is asked, in this order."""
        with self._lock:
            return [(name, self._engines[name]) for name in self._roster.order()]

    def patience_s(self, name: str, audio_s: float, *, last: bool) -> float:
        """See ``Roster.patience_s``."""
        with self._lock:
            return self._roster.patience_s(name, audio_s, last=last)

    def worked(self, name: str, audio_s: float, took_s: float) -> None:
        """See ``Roster.worked``."""
        self.meter.took(f"first.{name}", took_s)
        with self._lock:
            self._roster.worked(name, audio_s, took_s)

    def reason(self, name: str, wanted: Sequence[str]) -> str:
        """Why ``name`` does what those before it in ``wanted`` would do if they were well; else ""."""
        with self._lock:
            before = wanted[: wanted.index(name)]
            return "; ".join(f"{one}: {self._roster.reason(one)}" for one in before if not self._roster.sound(one))

    # --- life ---

    def load(self, progress: Progress) -> None:
        """Load and warm all members. Those that do not load are tried again in the background.

        Raises:
            EngineError: ``FAILED`` when none loads, with each one's reason; the only member's own error.
        """
        failures: dict[str, EngineError] = {}
        for name in self._factories:
            error = self._load(name, progress)
            if error is not None:
                failures[name] = error
        if len(failures) == len(self._factories):
            if len(failures) == 1:
                raise next(iter(failures.values()))
            reasons = "; ".join(f"{name}: {error}" for name, error in failures.items())
            fact = f"no {self.kind} engine loads: {reasons or 'the chain is empty'}"
            raise EngineError("FAILED", fact, f"See engines.{self.kind}")
        if len(self._factories) > 1:
            self._keeper.start()

    def close(self) -> None:
        """Release all members."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._keeper.is_alive():
            self._keeper.join(CLOSE_S)
        with self._lock:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.close()

    def _load(self, name: str, progress: Progress) -> EngineError | None:
        """Make and load one member; returns why it could not be."""
        engine: E | None = None
        try:
            engine = self._factories[name]()
            engine.load(progress)
        except Exception as error:  # a package that breaks on import is one engine less, not a dead process
            failure = as_engine_error(name, error)
            if engine is not None:
                engine.close()
            with self._changed:
                again = failure.code not in ITEMS_FAULT
                self._roster.unavailable(name, str(failure), self._clock(), again=again)
                self._changed.notify_all()
            log.warning("engine.unavailable", kind=self.kind, engine=name, code=failure.code, reason=str(failure))
            return failure
        with self._lock:
            if self._closing.is_set():
                engine.close()
                return None
            self._engines[name] = engine
            self._roster.loaded(name)
        return None

    # --- items ---

    def attempt(self, name: str, make: Callable[[Cancel], Iterator[T]], cancel: Cancel) -> Attempt[T]:
        """Begin one member's work; its limits are told by the chain's clock."""
        return Attempt(name, make, cancel, self._clock)

    def outputs(
        self, name: str, make: Callable[[Cancel], Iterator[T]], cancel: Cancel, *, last: bool = False
    ) -> Iterator[T]:
        """One member's outputs for an item, each within its limit; its success is noted.

        Raises:
            EngineError: the member failed or was too slow; ``cancel`` ends it quietly.
        """
        attempt = self.attempt(name, make, cancel)
        began = self._clock()
        first = True
        try:
            while True:
                key, limit_s = f"chain.first_output_s.{self.kind}", self.limits.first_output_s
                if not first:
                    key, limit_s = f"chain.next_output_s.{self.kind}", self.limits.next_output_s
                if last:
                    key, limit_s = f"stages.{self.kind}.item_timeout_s", max(limit_s, self.limits.last_s)
                taken = list(attempt.take(limit_s, key))
                if not taken:
                    break
                if first:
                    first = False
                    self.meter.took(f"first.{name}", self._clock() - began)
                yield taken[0]
        except Exception as error:
            raise as_engine_error(name, error) from error
        finally:
            attempt.abandon()
        if not cancel.is_set():
            self.succeeded(name)

    def succeeded(self, name: str) -> None:
        """An item is done."""
        self.meter.count(f"items.{name}")
        with self._lock:
            self._roster.succeeded(name)

    def failed(self, name: str, error: EngineError, *, at_once: bool = False) -> None:
        """An item has failed with this member; see ``Roster.failed``."""
        self.meter.count(f"failed.{name}")
        log.warning("engine.failed", kind=self.kind, engine=name, code=error.code, reason=str(error))
        if error.code in ITEMS_FAULT:
            return
        with self._changed:
            self._roster.failed(name, str(error), self._clock(), at_once=at_once)
            self._changed.notify_all()

    # --- bringing members back ---

    def _keep(self) -> None:
        """Load what did not load, and ask what is broken something of our own: no user pays for the test."""
        while not self._closing.is_set():
            with self._changed:
                wake = self._roster.wake
                now = self._clock()
                if wake is None or wake > now:
                    self._changed.wait(None if wake is None else wake - now)
                    continue
                due = self._roster.due(now)
                for name in due:
                    self._roster.trying(name)
            for name in due:
                if self._closing.is_set():
                    return
                self._try(name)

    def _try(self, name: str) -> None:
        with self._lock:
            engine = self._engines.get(name)
        if engine is None:
            if self._load(name, _quiet) is None:
                log.info("engine.available", kind=self.kind, engine=name)
            return
        try:
            attempt = self.attempt(name, lambda cancel: self._probe(engine, cancel), self._closing)
            try:
                list(attempt.take(self.limits.first_output_s, f"chain.first_output_s.{self.kind}"))
            finally:
                attempt.abandon()
        except Exception as error:
            failure = as_engine_error(name, error)
            with self._changed:
                self._roster.failed(name, str(failure), self._clock(), at_once=True)
            return
        with self._lock:
            self._roster.succeeded(name)
        log.info("engine.recovered", kind=self.kind, engine=name)


def as_engine_error(name: str, error: Exception) -> EngineError:
    """Any exception of a member, as the one kind that stages know."""
    if isinstance(error, EngineError):
        return error
    return EngineError("FAILED", f"{name} broke: {type(error).__name__}: {error}", retryable=True)


def exhausted(kind: str, failures: Mapping[str, EngineError]) -> EngineError:
    """What an item ends with when nobody is left; a single member's own error."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = "; ".join(f"{name}: {error}" for name, error in failures.items())
    fact = f"no {kind} engine could do it: {reasons or 'none is loaded'}"
    return EngineError("FAILED", fact, f"See engines.{kind}")


def _quiet(phase: str, done: int, total: int) -> None:
    """Nobody watches a load in the background."""
