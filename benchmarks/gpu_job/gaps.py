"""Whether a live stream was one: lateness against an open-loop schedule, and the gaps that a viewer sees. Pure.

Frame k is due at ``40 * k`` ms after the stream's start, whatever became of the frames before it, so a producer
that stalls is late for all that it should have made meanwhile (no coordinated omission). A viewer shows frame k
at ``40 * k + buffer`` ms, or when it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_job.figures import figures

FRAME_MS = 40.0
LEAST_FPS = 24.9
P99_GAP_MS, MAX_GAP_MS = 60.0, 120.0
LEAST_FRESH = 0.995


def judge(arrivals: NDArray[np.float64], end_ms: float, buffer_ms: float) -> dict[str, Any]:
    """One stream by the gap rule.

    Args:
        arrivals: f64 ``[frames]``, ms since the stream's start at which each frame was received; inf: never.
        end_ms: when watching ended: what has not come by then is at least so late.
        buffer_ms: how far behind the schedule the viewer shows.

    Returns:
        ``lateness_ms`` of every frame against its due time, ``gap_ms`` between frames as shown, ``fresh``, the
        share of frames that were there when they were to be shown, ``fps`` received by the time the last was to
        be shown, and ``passes``.
    """
    due = FRAME_MS * np.arange(len(arrivals))
    known = np.minimum(arrivals, end_ms)
    shown = np.maximum.accumulate(np.maximum(known, due + buffer_ms))
    gaps = np.diff(shown)
    fresh = float((arrivals <= due + buffer_ms).mean())
    in_time = int((arrivals <= due[-1] + buffer_ms + FRAME_MS).sum())
    fps = 1000 * in_time / (FRAME_MS * len(arrivals))
    passes = (
        fps >= LEAST_FPS
        and float(np.percentile(gaps, 99)) <= P99_GAP_MS
        and float(gaps.max()) <= MAX_GAP_MS
        and fresh >= LEAST_FRESH
    )
    return {"lateness_ms": known - due, "gap_ms": gaps, "fresh": fresh, "fps": fps, "passes": bool(passes)}


def verdict(streams: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All streams of a step: they pass when every one does; the figures of the worst stream, and of all frames."""
    lateness = np.concatenate([one["lateness_ms"] for one in streams])
    gaps = np.concatenate([one["gap_ms"] for one in streams])
    return {
        "streams": len(streams),
        "passes": all(one["passes"] for one in streams),
        "passing": sum(one["passes"] for one in streams),
        "fps_least": round(min(one["fps"] for one in streams), 2),
        "fresh_least": round(min(one["fresh"] for one in streams), 4),
        "gap_p99_worst_ms": round(max(float(np.percentile(one["gap_ms"], 99)) for one in streams), 2),
        "lateness": figures(lateness),
        "gap": figures(gaps),
    }
