"""The media clock of contract 3, as a subscriber computes it from when each segment was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.support.client import Message

TOLERANCE_US = 250_000
"""A daemon on a busy machine may lose the processor for so long between deciding to send and writing the time."""
CLOCKS_APART_NS = 50_000_000
"""Nothing arrives before it was sent, but for the corrections of the machine's clock."""


def ahead_of_clock_us(media: Sequence[Message], lead_us: int = 1_000_000) -> int:
    """By how much the worst segment was published earlier than ``pts <= clock + lead`` allows; <= 0 is fine.

    When it arrived says little: a subscriber that sleeps sees the segment that sets the anchor late and the next
    one in time. That nothing arrives before it was sent shows that ``sent_ns`` is no later than the truth.
    """
    anchor: tuple[int, float] | None = None
    end = 0
    worst = -lead_us
    for message in media:
        assert message.header["sent_ns"] <= message.at_ns + CLOCKS_APART_NS, "sent after it has arrived"
        pts, now = message.header["pts"], message.sent
        clock = None if anchor is None else anchor[0] + int((now - anchor[1]) * 1e6)
        if clock is None or clock >= end:
            anchor, clock = (pts, now), pts
        worst = max(worst, pts - clock - lead_us)
        end = pts + message.header["dur"]
    return worst


def assert_paced(
    media: Sequence[Message], another: Callable[[], Sequence[Message]], lead_us: int = 1_000_000
) -> None:
    """Not ahead of the clock; ``another`` session has to do where the daemon stood still just when the clock was
    anchored: then all that follows looks as if it came too early.
    """
    worst = ahead_of_clock_us(media, lead_us)
    if worst > TOLERANCE_US:
        worst = ahead_of_clock_us(another(), lead_us)
    assert worst <= TOLERANCE_US, f"{worst} us ahead of the clock"
