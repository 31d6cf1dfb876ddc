"""What is told of a list of numbers. Pure, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def figures(values: Sequence[float] | NDArray[np.float64], unit: str = "ms") -> dict[str, float]:
    """``p50``, ``p95``, ``p99``, ``max`` and ``n`` of a list; only ``n`` of an empty one."""
    if not len(values):
        return {"n": 0}
    ordered = np.asarray(values, np.float64)
    shares = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    found = {f"{name}_{unit}": round(float(np.percentile(ordered, q)), 3) for name, q in shares.items()}
    return {**found, "n": len(ordered)}
