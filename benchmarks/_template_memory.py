"""What a process that shows a template holds because of it: run by ``benchmarks.prepare``, one process per stage.

    python -m benchmarks._template_memory lipsync|encode FOLDER

Prints megabytes that belong to this process alone: after one loop of the template, and the most meanwhile. What
the same work leaves behind with a small template, shown first, is not counted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2

from configs.schema import Config
from models.api import FrameJob
from models.media.h264 import SegmentVideo, choose_encoder, settings_for
from models.templates.store import Template, open_template
from models.warp.engine import WarpLipSync
from models.warp.face import FaceState
from models.warp.track import MouthState
from models.warp.warmup import synthetic_template
from stages.pictures import compose

SEGMENT = 32
"""Frames of the longest segment by default."""
AH = FaceState(MouthState(open=0.6, teeth=0.3, tongue=0.2, weight=1.0))


def own_mb() -> float:
    """Memory of this process that is no mapped file: nobody shares it."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        fields = dict(line.split(":") for line in rollup.read().splitlines()[1:])
    return int(fields["Anonymous"].split()[0]) / 1024


def lipsync(template: Template) -> Iterator[None]:
    """One loop of crops, segment by segment."""
    engine = WarpLipSync(Config())
    for first in range(0, template.frames, SEGMENT):
        poses = range(first, min(first + SEGMENT, template.frames))
        crops = [engine.render([FrameJob(template, pose, AH)]) for pose in poses]
        yield
        crops.clear()


def encode(template: Template) -> Iterator[None]:
    """One loop of video with a crop pasted into every frame, an encoder per segment."""
    settings = settings_for(choose_encoder(), template.width, template.height, "high", Config().video)
    engine = WarpLipSync(Config())
    for first in range(0, template.frames, SEGMENT):
        video = SegmentVideo(settings)
        for pose in range(first, min(first + SEGMENT, template.frames)):
            compose(video, template, pose, engine.render([FrameJob(template, pose, AH)])[0], "warp")
            video.encode()
        yield
        video.close()


def main() -> None:
    stage = {"lipsync": lipsync, "encode": encode}[sys.argv[1]]
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="musecast-bench-") as folder:
        for _ in stage(synthetic_template(Path(folder))):
            pass
    before = own_mb()
    most = max(own_mb() for _ in stage(open_template(sys.argv[2], "")))
    print(f"{own_mb() - before:.1f} {most - before:.1f}")


if __name__ == "__main__":
    main()
