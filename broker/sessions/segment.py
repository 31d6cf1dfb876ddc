"""A stretch of a turn on its way to the viewer. Its state changes in the renderer alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from broker.workers.ledger import Entry
from configs.grid import QUANTUM_FRAMES, QUANTUM_SAMPLES, QUANTUM_US


class SegmentState(Enum):
    """How far a segment is."""

    ANIMATING = "animating"
    """Lip-sync makes its crops."""
    ANIMATED = "animated"
    """They are there, or given up; encode has yet to be asked."""
    ENCODING = "encoding"
    READY = "ready"
    """It has yet to be published."""
    PUBLISHED = "published"
    VOID = "void"
    """Its turn is over, or what it shows is made anew for another place."""


TRANSITIONS: dict[SegmentState, frozenset[SegmentState]] = {
    SegmentState.ANIMATING: frozenset({SegmentState.ANIMATING, SegmentState.ANIMATED, SegmentState.VOID}),
    SegmentState.ANIMATED: frozenset({SegmentState.ENCODING, SegmentState.VOID}),
    SegmentState.ENCODING: frozenset({SegmentState.READY, SegmentState.VOID}),
    SegmentState.READY: frozenset({SegmentState.PUBLISHED, SegmentState.VOID}),
    SegmentState.PUBLISHED: frozenset(),
    SegmentState.VOID: frozenset(),
}
"""ANIMATING to itself: another engine makes the crops."""


@dataclass(slots=True, eq=False)
class Segment:
    """Whole quanta of one turn, at a fixed place of the media timeline."""

    index: int
    first: int
    """48 kHz sample of the turn."""
    quanta: int
    pts: int
    opens: bool = False
    """It begins the turn, or a sentence: a pause before it is a pause between sentences."""
    last: bool = False
    via: str = "lipsync"
    """Which stage makes the crops: "lipsync", or "fallback" (the next engine of the chain)."""
    skip: int = 1
    """Of so many frames one is drawn, the rest interpolated."""
    item: Entry | None = None
    """The item in the ledger that makes it: in lip-sync, then in encode."""
    asked_at: int = 0
    """When its crops were asked for (monotonic microseconds)."""
    crops: list[Any] = field(default_factory=list)
    crop_frames: int = 0
    ahead: Entry | None = None
    """The item with which encode has begun before all crops were there."""
    engine: str = ""
    """Who rendered the crops."""
    degraded: str | None = None
    reason: str = ""
    payload: Any = None
    marks: tuple[int, int, int] = (0, 0, 0)
    """Offsets of mfhd, video tfdt and audio tfdt in the payload."""
    _state: SegmentState = field(default=SegmentState.ANIMATING, init=False)

    @property
    def state(self) -> SegmentState:
        """How far it is."""
        return self._state

    def enter(self, state: SegmentState) -> None:
        """Go on to ``state``.

        Raises:
            RuntimeError: the change is not in ``TRANSITIONS``.
        """
        if state not in TRANSITIONS[self._state]:
            raise RuntimeError(f"segment {self.index}: {self._state.value} to {state.value} is no transition")
        self._state = state

    @property
    def frames(self) -> int:
        """Video frames."""
        return self.quanta * QUANTUM_FRAMES

    @property
    def samples(self) -> int:
        """48 kHz samples."""
        return self.quanta * QUANTUM_SAMPLES

    @property
    def end(self) -> int:
        """48 kHz sample of the turn behind its last one."""
        return self.first + self.samples

    @property
    def dur(self) -> int:
        """Microseconds."""
        return self.quanta * QUANTUM_US

    @property
    def frame0(self) -> int:
        """Number of the first frame on the media timeline."""
        return self.pts // QUANTUM_US * QUANTUM_FRAMES

    @property
    def owed(self) -> tuple[int, int]:
        """How many of its frames lip-sync and encode still have to make."""
        lipsync = self.frames - self.crop_frames if self._state is SegmentState.ANIMATING else 0
        return lipsync, 0 if self._state is SegmentState.READY else self.frames
