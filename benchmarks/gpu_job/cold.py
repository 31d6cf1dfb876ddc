"""Cold numbers, of a process that has done nothing yet: start to ready, first request, first use of each batch.

``python -m benchmarks.gpu_job.cold CONFIG TEMPLATE`` is the process; ``measure`` starts it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.gpu_job.child import Child, adopt
from benchmarks.gpu_job.figures import figures
from configs.schema import Config

AGAIN = 5


def measure(config: Path, template: Path, until: float) -> dict[str, Any]:
    """Run the process; milliseconds since it was started. ``limit_s`` in the answer: how long it might take.

    Raises:
        TimeoutError: it was not through by ``until`` (monotonic).
    """
    limit_s = round(until - time.monotonic(), 1)
    with Child("benchmarks.gpu_job.cold", str(config), str(template)) as child:
        found: dict[str, Any] = child.hear(until)
    since = {name: round((at - child.started) * 1000, 1) for name, at in found.pop("moments").items()}
    return {"ms_since_start": since, "limit_s": limit_s, **found}


def main() -> None:
    """Load, use, tell."""
    say = adopt()
    moments = {"python": time.monotonic()}
    import torch

    from benchmarks.gpu_job.speaker import BEFORE
    from benchmarks.gpu_job.world import speech
    from configs.grid import QUANTUM_US
    from models.api import FRAME_SAMPLES, FUTURE_US, PAST_US, SAMPLE_RATE, SpeechWindow
    from models.musetalk.engine import MuseTalkLipSync
    from models.templates.store import open_template

    moments["imports"] = time.monotonic()
    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)
    engine = MuseTalkLipSync(config)
    warming: list[float] = []

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "warming":
            warming.append(time.monotonic())
        elif phase == "weights" and done == total:
            moments["weights"] = time.monotonic()

    engine.load(progress)
    moments["ready"] = time.monotonic()
    capture = np.diff(warming) * 1000
    template = open_template(sys.argv[2], "")
    frames = max(8, *engine.buckets)
    pcm = speech((PAST_US + FUTURE_US) / 1e6 + frames * 0.04 + 0.01)

    def jobs(count: int) -> list[Any]:
        length = (PAST_US + FUTURE_US) * SAMPLE_RATE // 1_000_000 + count * FRAME_SAMPLES
        return engine.plan(
            SpeechWindow(template, 0, count, 0, pcm[:length], [], [], 0.5, -QUANTUM_US * BEFORE, None)
        )

    def request(count: int) -> float:
        begin = time.perf_counter()
        engine.render(jobs(count)[:count])
        return (time.perf_counter() - begin) * 1000

    first = request(8)
    moments["first request"] = time.monotonic()
    uses = []
    cuda = torch.cuda.is_available() and config.stages.lipsync.devices != "cpu"
    order = reversed(engine.buckets) if cuda else engine.buckets
    for size, capture_ms in zip(order, capture, strict=True):
        cold_ms, again = request(size), [request(size) for _ in range(AGAIN)]
        uses.append(
            {
                "batch": size, "first_run_ms": round(float(capture_ms), 2), "first_use_ms": round(cold_ms, 2),
                "then": figures(again),
            }
        )  # fmt: skip
    say(
        {
            "moments": moments, "first_request_ms": round(first, 2), "batches": uses,
            "vram_peak_mb": torch.cuda.max_memory_reserved() >> 20 if cuda else None,
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
