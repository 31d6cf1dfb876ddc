"""The media clock of contract 3, as a subscriber computes it from its own arrival times."""

from __future__ import annotations

from collections.abc import Sequence

from tests.contract.client import Message

TOLERANCE_US = 250_000
"""A subscriber on a busy machine may see the segment that sets the anchor this much later than the next."""


def ahead_of_clock_us(media: Sequence[Message], lead_us: int = 1_000_000) -> int:
    """By how much the worst segment was published earlier than ``pts <= clock + lead`` allows; <= 0 is fine."""
    anchor: tuple[int, float] | None = None
    end = 0
    worst = -lead_us
    for message in media:
        pts, now = message.header["pts"], message.at
        clock = None if anchor is None else anchor[0] + int((now - anchor[1]) * 1e6)
        if clock is None or clock >= end:
            anchor, clock = (pts, now), pts
        worst = max(worst, pts - clock - lead_us)
        end = pts + message.header["dur"]
    return worst
