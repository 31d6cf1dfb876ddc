"""When to restart, when to give up, when a process counts as hung. Pure: the clock is handed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from configs.schema import Supervisor

PHASE_S = 120.0
"""A process that loads has to reach its next phase within this. Importing torch and diffusers takes 3 s, and 60
on a machine with 15 times the work that it has processors for.
"""
DEAF_BEATS = 3
"""Whoever is told to stop says within so many beats that it does. One that stood still just then may say once more
that it goes on, and what it said before may be heard late: only more than that, and for so long, counts."""
STAGES_STOP_S = 2.0
"""Of ``stop_s``, what is kept for the stages after the broker has drained its sessions; at most a quarter."""


class State(StrEnum):
    """What a child is doing. STARTING to BUSY are what it says itself; the rest is the supervisor's."""

    STARTING = "starting"
    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    KILLING = "killing"
    """Hung: its stacks are being dumped, SIGKILL follows."""
    REAPING = "reaping"
    """Dead; what it left behind in its process group is being removed."""
    FENCING = "fencing"
    """Gone; the broker has not yet refused its last messages."""
    BACKOFF = "backoff"
    FATAL = "fatal"
    STOPPED = "stopped"
    """Ended as commanded, or on demand and not wanted yet."""


LIVE = frozenset({State.STARTING, State.LOADING, State.IDLE, State.BUSY, State.DRAINING})
READY = frozenset({State.IDLE, State.BUSY})
_DEAD = frozenset({State.BACKOFF, State.FATAL, State.STOPPED})

TRANSITIONS: dict[State, frozenset[State]] = {
    **{state: LIVE | {State.KILLING, State.REAPING} for state in LIVE},
    State.KILLING: frozenset({State.REAPING}),
    State.REAPING: frozenset({State.FENCING}) | _DEAD,
    State.FENCING: _DEAD,
    State.BACKOFF: frozenset({State.STARTING, State.STOPPED}),
    State.FATAL: frozenset({State.STOPPED}),
    State.STOPPED: frozenset({State.STARTING}),
}

PUBLIC: dict[State, str] = {
    **{state: state.value for state in (*LIVE, State.BACKOFF, State.FATAL)},
    State.KILLING: "backoff",
    State.REAPING: "backoff",
    State.FENCING: "backoff",
    State.STOPPED: "idle",
}
"""States as ``status`` names them; "idle" without a pid is a stage on demand."""


class RestartPolicy:
    """One child's record of unexpected ends (OTP's intensity and period)."""

    def __init__(self, backoff_s: Sequence[float], intensity: int, window_s: float) -> None:
        self._backoff_s = backoff_s
        self._intensity = intensity
        self._window_s = window_s
        self._ends: deque[float] = deque(maxlen=intensity + 1)
        self._in_a_row = 0
        self._unready = 0

    def adopt(self, backoff_s: Sequence[float], intensity: int, window_s: float) -> None:
        """Other settings from now on; what has ended so far counts."""
        self._backoff_s, self._intensity, self._window_s = backoff_s, intensity, window_s
        self._ends = deque(self._ends, maxlen=intensity + 1)

    def ended(self, now: float, lived_s: float, *, ready: bool) -> float | None:
        """It ended unexpectedly after ``lived_s``: seconds to wait before the restart, None to give up.

        Args:
            ready: whether this incarnation was ever ready. Ends before that count however far apart they are:
                what is too slow to load would be tried for ever.
        """
        self._unready = 0 if ready else self._unready + 1
        if self._unready > self._intensity:
            return None
        if lived_s >= self._window_s:
            self._in_a_row = 0
        self._ends.append(now)
        wait = self._backoff_s[min(self._in_a_row, len(self._backoff_s) - 1)]
        self._in_a_row += 1
        full = len(self._ends) > self._intensity
        return None if full and now - self._ends[0] <= self._window_s else wait

    @property
    def never_ready(self) -> bool:
        """Whether it was given up because none of its last incarnations was ever ready."""
        return self._unready > self._intensity

    def forget(self) -> None:
        """Begin anew, as if it had never ended."""
        self._ends.clear()
        self._in_a_row = self._unready = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a child may be silent."""

    beat_s: float
    beats_missed: int
    item_timeout_s: float
    load_timeout_s: float
    drain_s: float

    @property
    def silence_s(self) -> float:
        """Without any beat."""
        return self.beat_s * self.beats_missed


@dataclass(slots=True)
class Vitals:
    """What is known of a living child; times are monotonic seconds."""

    spawned: float
    beat: float
    """Last beat, or the spawn."""
    phase_since: float
    state: State = State.STARTING
    state_since: float = 0.0
    phase: str = ""
    item: str = ""
    busy_ms: int = 0
    heard: bool = False
    """Whether any beat has come."""
    ready: bool = False
    """Whether it was ever idle or busy."""
    ready_beats: int = 0
    """How often it has said that it is one of the two."""


def verdict(now: float, vitals: Vitals, limits: Limits) -> str | None:
    """Why the child counts as hung, or None."""
    if vitals.state in (State.STARTING, State.LOADING):
        if now - vitals.spawned > limits.load_timeout_s:
            return f"not ready {limits.load_timeout_s:g} s after its start (phase {vitals.phase or 'none'!r})"
        if now - vitals.phase_since > PHASE_S:
            return f"loading without a change of phase ({vitals.phase or 'none'!r}) for {PHASE_S:g} s"
        return None
    if now - vitals.beat > limits.silence_s:
        return f"no beat for {limits.silence_s:g} s"
    if vitals.state is State.DRAINING and now - vitals.state_since > limits.drain_s:
        return f"draining for more than {limits.drain_s:g} s"
    if vitals.busy_ms > limits.item_timeout_s * 1000:
        return f"no progress on {vitals.item} for {limits.item_timeout_s:g} s"
    return None


def deaf(told: float, beats_told: int, vitals: Vitals, beat_s: float) -> bool:
    """Whether it says again and again that it goes on, long after it was told to stop.

    Args:
        told: when that was, by the monotonic clock.
        beats_told: its ``ready_beats`` then.
    """
    again = vitals.ready_beats - beats_told > DEAF_BEATS
    return vitals.state in READY and again and vitals.beat - told > DEAF_BEATS * beat_s


def next_look(vitals: Vitals, limits: Limits) -> float:
    """When ``verdict`` may change without another beat."""
    if vitals.state in (State.STARTING, State.LOADING):
        return min(vitals.spawned + limits.load_timeout_s, vitals.phase_since + PHASE_S)
    due = vitals.beat + limits.silence_s
    return min(due, vitals.state_since + limits.drain_s) if vitals.state is State.DRAINING else due


def forgive(now: float, vitals: Vitals, limits: Limits) -> None:
    """The supervisor itself stood still: silence in that time proves nothing, one more beat is awaited."""
    vitals.beat = max(vitals.beat, now - limits.beat_s)
    vitals.phase_since = max(vitals.phase_since, now - PHASE_S / 2)


def broker_stop_s(settings: Supervisor) -> float:
    """How long the broker may drain when the daemon stops; the stages have the rest of ``stop_s``."""
    return settings.stop_s - min(STAGES_STOP_S, settings.stop_s / 4)
