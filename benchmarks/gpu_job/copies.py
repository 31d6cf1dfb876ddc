"""Uk: k independent processes of upstream's loop on one device, for k = 1, 2, 3 ...

``python -m benchmarks.gpu_job.copies CHECKOUT PROFILE DEVICE FOLDER`` is one of them. All are started once; for
each k the first k run at the same time while the others rest.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks._common import memory_mb
from benchmarks.gpu_job.child import Child, adopt
from benchmarks.gpu_job.figures import figures
from benchmarks.gpu_job.loops import between

PICTURE = "1280x720"
CLIP = 40
LIVE_FPS = 25
LEAD_S = 0.3
"""Between the order and the common start."""


def measure(
    checkout: Path, profile: str, device: str, folder: Path, most: int, until: float
) -> list[dict[str, Any]]:
    """A row per k: frames/s of all together and of the slowest, and what it costs; an error ends the list."""
    begin = time.monotonic()
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        children: list[Child] = []
        try:
            for k in range(most):
                own = folder / f"copy-{k}"
                own.mkdir()
                arguments = (str(checkout), profile, device, str(own))
                children.append(stack.enter_context(Child("benchmarks.gpu_job.copies", *arguments)))
            for child in children:
                child.hear(begin + 0.7 * (until - begin))
            seconds = max(1.0, (until - time.monotonic()) / (most + 1) - 1.0)
            for k in range(1, most + 1):
                if time.monotonic() + seconds > until:
                    rows.append({"k": k, "skipped": "no time left"})
                    break
                rows.append(_together(children[:k], seconds, until + seconds))
        except (RuntimeError, TimeoutError) as error:
            rows.append({"k": len(rows) + 1, "error": str(error)})
    return rows


def _together(children: list[Child], seconds: float, until: float) -> dict[str, Any]:
    start = time.monotonic() + LEAD_S
    for child in children:
        child.tell({"start": start, "seconds": seconds})
    found = [child.hear(until) for child in children]
    rates = [one["frames"] / seconds for one in found]
    frames = sum(one["frames"] for one in found)
    return {
        "k": len(children), "picture": PICTURE, "seconds": round(seconds, 1),
        "frames_per_s": round(sum(rates), 2), "frames_per_s_least": round(min(rates), 2),
        "streams_at_25": int(min(rates) >= LIVE_FPS) * len(children),
        "between_frames": figures([ms for one in found for ms in one["between_ms"]]),
        "cpu_ms_per_frame": round(sum(one["cpu_ms"] for one in found) / max(1, frames), 3),
        "rss_mb": [one["rss_mb"] for one in found], "vram_peak_mb": [one["vram_peak_mb"] for one in found],
    }  # fmt: skip


def main() -> None:
    """Play clips when told to, until standard input closes."""
    say = adopt()
    import torch

    from benchmarks.gpu_job.upstream import BATCH, Upstream

    checkout, profile, name, folder = sys.argv[1:]
    device = torch.device(name)
    cuda = device.type == "cuda"
    torch.backends.cudnn.benchmark = True
    dtype = torch.float16 if cuda else torch.float32
    with torch.cuda.device(device) if cuda else torch.inference_mode(False):
        upstream = Upstream(Path(checkout), profile, device, dtype, Path(folder))
        upstream.play(PICTURE, BATCH)
        say({"ready": os.getpid()})
        for line in sys.stdin:
            order = json.loads(line)
            begin, end = order["start"], order["start"] + order["seconds"]
            time.sleep(max(0.0, begin - time.monotonic()))
            cpu = time.process_time()
            stamps: list[float] = []
            while time.monotonic() < end:
                stamps += upstream.play(PICTURE, CLIP).stamps
            inside = [at for at in stamps if at <= end]
            say(
                {
                    "frames": len(inside), "between_ms": between(inside),
                    "cpu_ms": (time.process_time() - cpu) * 1000 * len(inside) / max(1, len(stamps)),
                    "rss_mb": round(memory_mb(os.getpid())["rss"], 1),
                    "vram_peak_mb": torch.cuda.max_memory_reserved() >> 20 if cuda else None,
                }
            )  # fmt: skip


if __name__ == "__main__":
    main()
