"""Who of a chain is asked, and for how long: pure, with the time handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

LONGEST_RETRY_S = 300.0
"""A member that does not load is tried again after ``probe_s``, twice that, ... up to this."""
SLOWNESS_KEPT = 0.8
"""Share of the older measurements in the measured speed."""


class State(StrEnum):
    """Of one member, as ``status`` shows it."""

    SERVING = "serving"
    STANDBY = "standby"
    BROKEN = "broken"
    UNAVAILABLE = "unavailable"


class Limits(NamedTuple):
    """The section ``chain`` of the configuration, for one kind."""

    first_output_s: float
    next_output_s: float
    break_after: int
    probe_s: float
    last_s: float
    """For the last voice or recogniser that is left: nobody else would be sooner, so what the stage allows."""


class Standing(NamedTuple):
    """One line of ``status.stages[].chain``."""

    engine: str
    state: State


@dataclass(slots=True)
class _Member:
    name: str
    loaded: bool = False
    failures: int = 0
    """In a row."""
    open_since: float | None = None
    """The circuit breaker is open: asked only when nobody else is left."""
    due: float | None = None
    """When to try loading or an item of our own (half-open)."""
    retry_s: float = 0.0
    reason: str = ""
    slowness: float | None = None
    """Seconds of work per second of audio."""


class Roster:
    """The members' circuit breakers.

    Args:
        names: in the order of the configuration.
        limits: see ``Limits``.
    """

    def __init__(self, names: Sequence[str], limits: Limits) -> None:
        self._members = {name: _Member(name) for name in names}
        self._limits = limits

    # --- what happened ---

    def loaded(self, name: str) -> None:
        """It is loaded and warm."""
        member = self._members[name]
        member.loaded, member.reason, member.retry_s = True, "", 0.0
        member.failures, member.open_since, member.due = 0, None, None

    def unavailable(self, name: str, reason: str, now: float, *, again: bool) -> None:
        """It did not load; ``again``: another try may help."""
        member = self._members[name]
        member.loaded, member.reason = False, reason
        member.retry_s = min(LONGEST_RETRY_S, member.retry_s * 2 or self._limits.probe_s)
        member.due = now + member.retry_s if again else None

    def succeeded(self, name: str) -> None:
        """It did an item, or passed a probe."""
        member = self._members[name]
        member.failures, member.open_since, member.reason = 0, None, ""
        if member.loaded:
            member.due = None

    def failed(self, name: str, reason: str, now: float, *, at_once: bool = False) -> None:
        """It failed an item, or a probe. ``at_once``: do not wait for more failures before it is passed over."""
        member = self._members[name]
        member.failures += 1
        member.reason = reason
        if at_once or member.open_since is not None or member.failures >= self._limits.break_after:
            member.open_since = now
            member.due = now + self._limits.probe_s

    def worked(self, name: str, audio_s: float, took_s: float) -> None:
        """It heard ``audio_s`` seconds of audio in ``took_s``."""
        if audio_s > 0:
            member = self._members[name]
            fresh = took_s / audio_s
            old = fresh if member.slowness is None else member.slowness
            member.slowness = old * SLOWNESS_KEPT + fresh * (1 - SLOWNESS_KEPT)

    # --- what follows ---

    def order(self) -> list[str]:
        """Who is asked, in this order: the sound ones, then, rather than nobody, the broken ones."""
        there = [member for member in self._members.values() if member.loaded]
        return [member.name for member in sorted(there, key=lambda member: member.open_since is not None)]

    def sound(self, name: str) -> bool:
        """Whether it is loaded and its breaker is closed."""
        member = self._members[name]
        return member.loaded and member.open_since is None

    def reason(self, name: str) -> str:
        """Why it is passed over; "" when it is not."""
        return self._members[name].reason

    def patience_s(self, name: str, audio_s: float, *, last: bool) -> float:
        """How long it may take over so much audio: it grows with the audio and the measured speed."""
        slowness = self._members[name].slowness
        patience_s = self._limits.first_output_s + 2 * audio_s * (0.5 if slowness is None else slowness)
        return max(patience_s, self._limits.last_s) if last else patience_s

    def due(self, now: float) -> list[str]:
        """Members to be tried now, in the background."""
        return [m.name for m in self._members.values() if m.due is not None and m.due <= now]

    def trying(self, name: str) -> None:
        """It is being tried: not due until the result is told."""
        self._members[name].due = None

    @property
    def wake(self) -> float | None:
        """When the next member is due."""
        return min((m.due for m in self._members.values() if m.due is not None), default=None)

    @property
    def serving(self) -> str:
        """The first that is asked; "" when there is none."""
        return next(iter(self.order()), "")

    def standings(self) -> list[Standing]:
        """The state of every member, in the order of the configuration."""
        serving = self.serving
        return [Standing(m.name, self._state(m, serving)) for m in self._members.values()]

    def _state(self, member: _Member, serving: str) -> State:
        if not member.loaded:
            return State.UNAVAILABLE
        if member.open_since is not None:
            return State.BROKEN
        return State.SERVING if member.name == serving else State.STANDBY
