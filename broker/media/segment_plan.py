"""How a turn's speech is cut into segments: latency first, then efficiency. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from configs.grid import QUANTUM_SAMPLES

RAMP = (1, 1, 2)
"""Quanta of the first segments of a turn."""
STEADY = 3
"""Quanta that later segments have at least."""
PRE_ROLL = 4 * 1024
POST_ROLL = 2 * 1024
"""Samples of the AAC frames around a segment that make its joints silent."""


def _nearest(sample: int) -> int:
    return (2 * sample + QUANTUM_SAMPLES) // (2 * QUANTUM_SAMPLES)


def opens(starts: Iterable[int], planned: int) -> bool:
    """Whether the turn or one of the sentences that begin at ``starts`` begins with the quantum at ``planned``."""
    return not planned or any(_nearest(start) * QUANTUM_SAMPLES == planned for start in starts)


def joint_after(starts: Iterable[int], planned: int) -> int | None:
    """The quantum after ``planned`` that begins nearest to where the next of the sentences does; in order."""
    return next((joint for start in starts if (joint := _nearest(start)) * QUANTUM_SAMPLES > planned), None)


def quanta_ready(end: int, planned: int, look_ahead: int, *, ended: bool) -> int:
    """Whole quanta that can be rendered after sample ``planned``.

    Args:
        end: samples of the turn's audio that are known.
        planned: samples already cut into segments.
        look_ahead: samples that must be known beyond a segment.
        ended: no more audio will come; the last quantum is padded with silence.
    """
    if ended:
        return max(0, -(-(end - planned) // QUANTUM_SAMPLES))
    return max(0, (end - look_ahead - planned) // QUANTUM_SAMPLES)


def segment_quanta(index: int, ready: int, longest: int, *, flush: bool) -> int:
    """Length of segment ``index`` of a turn in quanta, 0 to wait for more audio.

    Args:
        ready: quanta that could be rendered now.
        longest: ``max_segment_ms`` in quanta.
        flush: cut what there is: the turn has ended, its call wants an answer, or the clock is near.
    """
    if index < len(RAMP):
        least = most = min(RAMP[index], longest)
    else:
        least, most = min(STEADY, longest), longest
    if ready >= least:
        return min(ready, most)
    return ready if flush else 0
