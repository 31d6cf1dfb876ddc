"""When a turn's segments are given up, and when they are held back: what a viewer would choose.

A face that begins late or pauses between two sentences is right, a voice from a shut mouth is not. So crops are
waited for as long as their engine lives, and where it is measured to be slow a sentence begins later instead of
pausing in its middle.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from broker.media.throughput import Part, Throughput, wait_needed
from broker.sessions.segment import Segment, SegmentState
from broker.workers.ledger import Ledger
from configs.grid import FRAME_US, QUANTUM_FRAMES, QUANTUM_US

SILENT_US = 2_500_000
"""Without a sign of life from lip-sync for so long, crops whose time has come are not waited for any more."""
OVERDUE_US = 10_000_000
"""The longest that a turn waits for the crops of one segment, whatever signs of life there are."""
HOLD_MOST_US = 2_000_000
"""The longest that a sentence is held back so that it need not pause later."""
SLOW = 0.6
"""Share of real time that a session's frames may cost before its sentences are cut and begun one by one."""
GENTLE = 2
"""Quanta of the longest segment then: shorter ones pass the stages side by side."""


def given_up_at(due: int, *, sign: int, since: int, patience: int = OVERDUE_US) -> int:
    """When crops are not waited for any more. All times are monotonic microseconds.

    Args:
        due: when they have to be there, by the clock as it runs now.
        sign: the engine's last sign of life, or when it was asked if that is later.
        since: since when the turn waits for them and nothing else.
        patience: how long it may, while there are signs of life.
    """
    return max(due, min(sign + SILENT_US, since + patience))


class Lateness:
    """The waits of one turn, and the account of what the stages owe it.

    Args:
        sid: of a live session, or ``throughput.OFFLINE``.
    """

    def __init__(self, ledger: Ledger, throughputs: dict[str, Throughput], sid: str) -> None:
        self._ledger = ledger
        self._throughputs = throughputs
        self._sid = sid
        self._head = (-1, 0)
        """Sample of the turn that is to be shown next, and since when it is."""
        self._patience = OVERDUE_US
        self._held = (-1, 0)
        """Sample of the segment that is held back, and since when."""
        self._delayed = -1
        """Sample of the sentence that was last given a later place."""

    # --- what is owed ---

    def asked(self, segment: Segment, stage: str, now: int) -> None:
        """The segment is given to a stage."""
        self._throughputs[stage].asked(now, self._sid, segment.frames)

    def made(self, stage: str, frames: int, now: int) -> None:
        """A stage has made so many frames."""
        self._throughputs[stage].made(now, self._sid, frames)

    def unmade(self, segment: Segment, now: int) -> None:
        """What is still owed of a segment will not come."""
        if segment.state is SegmentState.ANIMATING:
            self._throughputs[segment.via].dropped(now, self._sid, segment.frames - segment.crop_frames)
        elif segment.state is SegmentState.ENCODING:
            self._throughputs["encode"].dropped(now, self._sid, segment.frames)

    # --- giving up ---

    def leads(self, segment: Segment, now: int) -> None:
        """It is the next to be shown; one that is made anew for a later place waits on."""
        if self._head[0] != segment.first:
            self._head = segment.first, now

    def starts_over(self) -> None:
        """What is to be shown next is made anew for the last time, and waited for from now on."""
        self._head = (-1, 0)

    def given_up_at(self, segment: Segment, due: int) -> int:
        """When this segment's crops are not waited for any more."""
        sign = self._sign(segment)
        first, since = self._head
        if segment.first != first:
            since = max(since, segment.asked_at)
        return given_up_at(due, sign=sign, since=since, patience=self._patience)

    def _sign(self, segment: Segment) -> int:
        sign = self._ledger.moved(segment.via, segment.item.id if segment.item is not None else "")
        # Nobody has been asked while no process is there.
        return max(sign, segment.asked_at) if self._ledger.serving(segment.via) else sign

    def give_up(self, segment: Segment, now: int) -> str:
        """Its crops are given up; says why. An engine that is hopelessly slow is not waited for again."""
        silent = now - self._sign(segment)
        if silent >= SILENT_US:
            return f"nothing has come from lip-sync for {silent / 1e6:.1f} s"
        self._patience = 0
        return f"lip-sync has not made a segment within {OVERDUE_US / 1e6:.0f} s"

    # --- holding back ---

    def longest(self, most: int, *, yields: bool = False) -> int:
        """Quanta of the longest segment to be cut now; those that yield do not hold up others for long."""
        return min(most, GENTLE) if self.slow or yields else most

    @property
    def _cost(self) -> tuple[float, float]:
        """Microseconds per frame of this session in lip-sync and in encode, while others want theirs."""
        lipsync, encode = self._throughputs["lipsync"], self._throughputs["encode"]
        return lipsync.frame_us * max(1, lipsync.sharers), encode.frame_us * max(1, encode.sharers)

    @property
    def slow(self) -> bool:
        """Whether the stages come close to real time, or are behind it."""
        return max(self._cost) > SLOW * FRAME_US

    def hold(self, segments: Sequence[Segment], rest: int, longest: int, *, ahead: int, now: int) -> int:
        """How much longer the first of these segments, which is ready and opens a sentence, is held back so that
        the sentence need not pause later.

        Args:
            segments: those that are cut.
            rest: quanta of the sentence cut last that are not cut yet.
            longest: quanta of a segment.
            ahead: media that is published and not yet shown.
        """
        first, *behind = segments
        sentence = [first, *itertools.takewhile(lambda s: not s.opens, behind)]
        if len(sentence) < len(segments):
            rest = 0
        if self._held[0] != first.first:
            self._held = first.first, now
        wait = wait_needed([*map(_part, sentence), *_parts(rest, longest)], *self._cost) - ahead
        return max(0, min(wait, self._held[1] + HOLD_MOST_US - now))

    def delay(self, planned: int, rest: int, longest: int, *, ahead: int) -> int:
        """By how many quanta a sentence that is about to be cut should begin later for the same reason; asked
        once for each sentence.
        """
        return 0 if self._delayed == planned else self.room(planned, rest, longest, ahead=ahead)

    def room(self, planned: int, rest: int, longest: int, *, ahead: int) -> int:
        """The same for what is cut anew in the middle of a sentence."""
        self._delayed = planned
        if not self.slow:
            return 0
        wait = min(wait_needed(_parts(rest, longest), *self._cost) - ahead, HOLD_MOST_US)
        return max(0, -(-wait // QUANTUM_US))


def _part(segment: Segment) -> Part:
    return Part(segment.dur, *segment.owed)


def _parts(quanta: int, longest: int) -> Iterable[Part]:
    """What is not cut yet, as it will be."""
    for at in range(0, quanta, longest):
        length = min(longest, quanta - at)
        yield Part(length * QUANTUM_US, length * QUANTUM_FRAMES, length * QUANTUM_FRAMES)
