"""Media time of one session: contiguous pts, pacing by the media clock, cuts. Pure: ``now`` is handed in.

All values are integer microseconds. The rules are docs/protocol.md's, under Pacing: when a segment is
published and nothing published is still ahead of the clock, the clock is anchored at that segment; between turns
it stands still at the end of what was published.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from configs.grid import FRAME_US, QUANTUM_US

CUT_MARGIN_US = FRAME_US
"""A cut lies at least one frame ahead of the clock, so that a player can still act on it; some ask for more."""
REPORT_US = 10_000_000
"""So long after its last report a play head is taken to move on at the speed of the clock."""


class Stamp(NamedTuple):
    """Place of a published segment."""

    seq: int
    pts: int
    late: bool


class MediaTime(Protocol):
    """A session's timeline for those who only read it: it is the session's output that publishes and cuts."""

    @property
    def paced(self) -> bool:
        """False: an offline session, which has no clock."""
        ...

    @property
    def lead_us(self) -> int:
        """How far ahead of the clock a segment may be published."""
        ...

    @property
    def gen(self) -> int:
        """Cuts so far."""
        ...

    @property
    def seq(self) -> int:
        """Number of the next segment."""
        ...

    @property
    def end(self) -> int:
        """Where the next segment begins: the end of what is published and valid."""
        ...

    @property
    def late(self) -> int:
        """Segments that viewers have waited for."""
        ...

    @property
    def started(self) -> bool:
        """Whether the clock has been anchored."""
        ...

    def clock(self, now: int) -> int:
        """What a player without delay shows at ``now``."""
        ...

    def overdue(self, now: int) -> int:
        """For how long the clock has stood at the end of what was published."""
        ...

    def shown(self, now: int) -> int:
        """Where the viewer's play head is: by what it has reported of late, else the clock."""
        ...

    def heard_by(self, flush_from: int, now: int) -> int:
        """Until where the viewer has heard what is cut now at ``flush_from``."""
        ...

    def wait(self, pts: int, now: int) -> int:
        """Microseconds until a segment at ``pts`` may be published; 0: now."""
        ...


class Timeline:
    """One session's clock, sequence numbers and generations.

    Args:
        paced: False for offline sessions, which publish as fast as they can.
        lead_us: how far ahead of the clock a segment may be published; may change.
        anchor: of the clock: (pts, now).
        cut_margin_us: how far ahead of the clock a cut lies at least.
    """

    def __init__(
        self,
        seq: int = 0,
        gen: int = 0,
        end: int = 0,
        late: int = 0,
        anchor: tuple[int, int] | None = None,
        *,
        paced: bool,
        lead_us: int,
        cut_margin_us: int = CUT_MARGIN_US,
    ) -> None:
        self.paced = paced
        self.lead_us = lead_us
        self._cut_margin_us = cut_margin_us
        self.gen = gen
        self.seq = seq
        self.end = end
        """Where the next segment begins: the end of what is published and valid."""
        self.late = late
        """Segments that viewers have waited for."""
        self.anchor = anchor
        self._played: tuple[int, int] | None = None
        """Newest report of a play head, and when it came."""

    @property
    def started(self) -> bool:
        """Whether the clock has been anchored."""
        return self.anchor is not None

    def clock(self, now: int) -> int:
        """The media clock: what a player without delay shows now. Offline: the end of what is published."""
        if self.anchor is None or not self.paced:
            return self.end
        pts, at = self.anchor
        return min(pts + now - at, self.end)

    def overdue(self, now: int) -> int:
        """For how long the clock has stood at the end of what was published."""
        if self.anchor is None or not self.paced:
            return 0
        pts, at = self.anchor
        return max(0, pts + now - at - self.end)

    def played(self, pts: int, now: int) -> None:
        """The viewer's play head has reached ``pts``; of several viewers the newest report counts."""
        self._played = (pts, now)

    def _reported(self, now: int) -> int | None:
        """Where the play head has come since its last report; None without one of late."""
        if self._played is None or now - self._played[1] > REPORT_US:
            return None
        pts, at = self._played
        return min(pts + now - at, self.clock(now))

    def shown(self, now: int) -> int:
        """Where the viewer's play head is: by what it has reported of late, else the clock."""
        reported = self._reported(now)
        return self.clock(now) if reported is None else reported

    def heard_by(self, flush_from: int, now: int) -> int:
        """Until where the viewer has heard what is cut now at ``flush_from``. One that tells where it is hears no
        more than that, one that does not is taken to play on to the cut.
        """
        reported = self._reported(now)
        return flush_from if reported is None else min(flush_from, reported)

    def wait(self, pts: int, now: int) -> int:
        """Microseconds until a segment at ``pts`` may be published; 0: now."""
        if not self.paced:
            return 0
        return max(0, pts - self.lead_us - self.clock(now))

    def publish(self, dur: int, now: int, *, first: bool) -> Stamp:
        """Give the next segment its place. ``first`` of its turn is never late: nobody waited for media."""
        pts = self.end
        late = False
        if self.paced and (self.anchor is None or self.clock(now) >= pts):
            self.anchor = (pts, now)
            late = not first
        self.late += late
        self.end = pts + dur
        seq, self.seq = self.seq, self.seq + 1
        return Stamp(seq, pts, late)

    def cut(self, now: int) -> int:
        """Begin a new generation; returns ``flush_from``."""
        flush_from = self.end
        if self.paced:
            reach = self.clock(now) + self._cut_margin_us
            flush_from = min(self.end, -(-reach // QUANTUM_US) * QUANTUM_US)
        self.end = flush_from
        self.gen += 1
        return flush_from
