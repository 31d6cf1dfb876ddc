"""Paste and colour, beside a whole-frame float blend of the same pictures in the same run.

    python -m benchmarks.paste [--rounds 20] [--json]

Both make the I420 picture that the encoder takes from a cached 720p frame and a 256x256 crop. CPU time of the
process, one thread; the two take turns, and the median over the rounds is shown, so that a busy machine
touches both alike. Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from models.media.paste import bgr_to_i420, paster, planes
from models.templates.store import Template, open_template
from tests.support.templates import moving_picture, write_template

WIDTH, HEIGHT, BOX, FRAMES = 1280, 720, 300, 8
MOST_MS, LEAST_RATIO, MOST_LEVELS = 0.8, 10.0, 1


class FloatBlend:
    """The straightforward way: a mask as large as the picture, float32, then a conversion of it all."""

    def __init__(self, template: Template, frames: NDArray[np.uint8]) -> None:
        self.frames, self.boxes = frames, template.boxes
        self.alpha = template.alpha.astype(np.float32)[..., None] / 255

    def blend(self, pose: int, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """u8 BGR [H, W, 3]."""
        x0, y0, x1, y1 = self.boxes[pose]
        face = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        mask = np.zeros((HEIGHT, WIDTH, 1), np.float32)
        face[y0:y1, x0:x1] = cv2.resize(crop, (BOX, BOX))
        mask[y0:y1, x0:x1] = self.alpha
        mixed = self.frames[pose] * (1 - mask) + face * mask
        return np.asarray(np.rint(mixed), np.uint8)


def cpu_ms(action: Callable[[int], object], frames: int) -> float:
    """Mean CPU milliseconds per frame over one round."""
    begin = time.process_time()
    for k in range(frames):
        action(k)
    return (time.process_time() - begin) / frames * 1000


def levels_apart(template: Template, slow: FloatBlend, crops: NDArray[np.uint8]) -> int:
    """Largest difference of the two blends in any pixel and channel of whole BGR pictures."""
    worst = 0
    inner = np.flatnonzero(template.alpha.any(axis=0))
    low, high = inner[0] & ~1, (inner[-1] + 2) & ~1  # square box and symmetric alpha: both axes alike
    for pose in range(FRAMES):
        x0, y0 = template.boxes[pose][:2]
        mine = slow.frames[pose].astype(np.int16)
        mine[y0 + low : y0 + high, x0 + low : x0 + high] = paster(template).blend(template.roi[pose], crops[pose])
        worst = max(worst, int(np.abs(mine - slow.blend(pose, crops[pose])).max()))
    return worst


def measure(rounds: int) -> dict[str, float]:
    """Run both and compare."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        ref = write_template(Path(folder) / "bench", FRAMES, WIDTH, HEIGHT, box=BOX)
        template = open_template(ref.path, ref.hash)
        slow = FloatBlend(template, moving_picture(FRAMES, HEIGHT, WIDTH))
        crops = np.random.default_rng(0).integers(0, 256, (FRAMES, 256, 256, 3), np.uint8)
        out = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        views, tool = planes(out), paster(template)

        def fast_frame(k: int) -> None:
            np.copyto(out, template.i420[k % FRAMES])
            tool.paste(views, template.roi[k % FRAMES], template.boxes[k % FRAMES], crops[k % FRAMES])

        def slow_frame(k: int) -> None:
            bgr_to_i420(slow.blend(k % FRAMES, crops[k % FRAMES]))

        def slow_blend(k: int) -> None:
            slow.blend(k % FRAMES, crops[k % FRAMES])

        cpu_ms(fast_frame, FRAMES), cpu_ms(slow_frame, FRAMES)
        timed = [(cpu_ms(fast_frame, 50), cpu_ms(slow_blend, 4), cpu_ms(slow_frame, 4)) for _ in range(rounds)]
        fast, blend, whole = (statistics.median(column) for column in zip(*timed, strict=True))
        return {
            "paste_cpu_ms": round(fast, 3),
            "float_blend_cpu_ms": round(blend, 2),
            "float_blend_and_colour_cpu_ms": round(whole, 2),
            "ratio_to_blend": round(blend / fast, 1),
            "ratio_to_blend_and_colour": round(whole / fast, 1),
            "levels_apart": levels_apart(template, slow, crops),
        }


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds)
    if options.json:
        print(json.dumps({"machine": describe(), **found}))
    else:
        print(f"paste + colour, {WIDTH}x{HEIGHT}, box of {BOX} px, CPU-ms per frame, 1 thread")
        print(f"  here                           {found['paste_cpu_ms']:7.3f}   (bound {MOST_MS})")
        print(
            f"  whole-frame float blend        {found['float_blend_cpu_ms']:7.2f}   "
            f"{found['ratio_to_blend']:.1f}x   (bound {LEAST_RATIO:.0f}x)"
        )
        print(
            f"  ... and its colour conversion  {found['float_blend_and_colour_cpu_ms']:7.2f}   "
            f"{found['ratio_to_blend_and_colour']:.1f}x"
        )
        print(f"  most levels apart in RGB       {found['levels_apart']:7.0f}   (bound {MOST_LEVELS})")
        print(describe())
    good = (
        found["paste_cpu_ms"] <= MOST_MS
        and found["ratio_to_blend"] >= LEAST_RATIO
        and found["levels_apart"] <= MOST_LEVELS
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
