"""Whether the stages can take one more live turn, and when to ask again if not. Pure; microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from configs.grid import FRAME_US

BEHIND_US = 1_000_000
"""So much later than its time may the latest accepted segment be foreseen to come before turns are refused."""
RETRY_LEAST_US = 250_000
RETRY_MOST_US = 60_000_000


class Owed(NamedTuple):
    """A segment on its way: when it is due, from now, and how many of its frames each stage still owes."""

    due_us: int
    lipsync: int
    encode: int


class Load(NamedTuple):
    """What one speaking session still asks of the stages."""

    owed: Sequence[Owed]
    rest: int
    """Frames of its turn that are known and not asked for yet."""

    @property
    def frames(self) -> int:
        """All that are known."""
        return self.rest + sum(max(o.lipsync, o.encode) for o in self.owed)


class Cost(NamedTuple):
    """Microseconds that a frame takes, of all sessions together, by measurement; 0: not known."""

    lipsync: float
    encode: float


def behind(loads: Sequence[Load], cost: Cost) -> int:
    """By how much the latest segment is foreseen to miss its time, most urgent first; below 0: by how much not."""
    drawn = encoded = 0.0
    worst = float(-RETRY_MOST_US)
    for one in sorted(owed for load in loads for owed in load.owed):
        drawn += one.lipsync * cost.lipsync
        encoded = max(encoded, drawn if one.lipsync else 0.0) + one.encode * cost.encode
        worst = max(worst, encoded - one.due_us)
    return int(worst)


def retry_after(loads: Sequence[Load], cost: Cost) -> int | None:
    """None when one more live turn can be served beside these, else when to ask again.

    That is when what is behind is worked off, and so many of the turns have ended that what is left of them and
    the new one keep up with real time. Turns that cannot be served at once share the stages equally.
    """
    if not loads or not any(cost) or (late := behind(loads, cost)) <= BEHIND_US:
        return None
    frame_us = max(cost)
    served = max(1, int(FRAME_US / frame_us))
    left = sorted(load.frames for load in loads)
    ended = len(left) + 1 - served
    wait = float(late)
    if ended > 0:
        last = left[ended - 1]
        wait = max(wait, frame_us * (sum(left[:ended]) + (len(left) - ended) * last))
    return int(min(max(wait, RETRY_LEAST_US), RETRY_MOST_US))
