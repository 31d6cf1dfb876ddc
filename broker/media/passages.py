"""Passages: 30 s pieces of a turn, counted from its start, that a segment of quality "max" is made from. Pure.

An engine that hears whole passages gives the same features as for the whole recording, whatever the cut into
segments. The price: nothing of a passage is shown before all of it is known. All numbers are 48 kHz samples.
"""

from __future__ import annotations

from broker.media.speech_track import to_samples
from configs.grid import FUTURE_US, PASSAGE_MARGIN, PASSAGE_US

PASSAGE = to_samples(PASSAGE_US)
REACH = to_samples(FUTURE_US)
"""How far the features of a segment look beyond it, to either side."""


def complete(known: int) -> int:
    """End of the last passage that is complete, with its margin, when ``known`` samples are."""
    return max(0, known - PASSAGE_MARGIN) // PASSAGE * PASSAGE


def touched(first: int, samples: int, end: int) -> range:
    """Passages that the features of the segment [first, first + samples) reach in a turn of ``end`` samples."""
    last = min(first + samples + REACH, end)
    return range(_of(first), -(-last // PASSAGE))


def bounds(passage: int, end: int) -> tuple[int, int]:
    """First sample and end of what an item carries of a passage, margins included."""
    return passage * PASSAGE - PASSAGE_MARGIN, min((passage + 1) * PASSAGE, end) + PASSAGE_MARGIN


def needed_from(first: int) -> int:
    """The earliest sample that a segment at ``first`` or later is made from."""
    return _of(first) * PASSAGE - PASSAGE_MARGIN


def _of(first: int) -> int:
    return max(0, first - REACH) // PASSAGE
