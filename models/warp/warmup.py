"""A synthetic template in a temporary folder, so that the first real frame is as fast as the hundredth."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.api import CROP, FRAME_SAMPLES, FUTURE_US, PAST_US, SAMPLE_RATE, LipSync, Progress, Span, SpeechWindow
from models.templates.origin import Entry
from models.templates.store import Template, open_template
from models.templates.writer import TemplateWriter
from models.warp.geometry import COLUMNS
from models.warp.preparer import WarpPreparer


def synthetic_landmarks(box: int) -> NDArray[np.float32]:
    """A mouth in the middle of a box that begins at (32, 32): f32 ``[4 * COLUMNS + 2, 2]``, frame pixels."""
    x = np.linspace(-1, 1, COLUMNS, dtype=np.float32)
    middle, half, seam = box / 2 + 32, 0.15 * box, 32 + 0.68 * box
    arc = (1 - x * x) * 0.12 * box
    curves = [seam - 0.4 * arc, seam + 0 * x, seam + 0 * x, seam + 0.6 * arc]
    points = [np.stack([middle + x * half, y], axis=1) for y in curves]
    anchors = np.array([[middle, 32 + 0.55 * box], [middle, 32 + 0.88 * box]])
    return np.vstack([*points, anchors]).astype(np.float32)


def synthetic_template(root: Path, frames: int = 8, box: int = CROP) -> Template:
    """A plain template with a mouth: a skin-coloured gradient with lips, ``frames`` poses."""
    size = box + 64
    ramp = np.linspace(120, 220, size, dtype=np.float32)
    picture = np.stack(
        [ramp[:, None] * 0.7 + 0 * ramp, ramp[:, None] * 0.8 + 0 * ramp, ramp[:, None] + 0 * ramp], axis=-1
    )
    alpha = np.full((box, box), 255, np.uint8)
    alpha[[0, -1], :] = 0
    alpha[:, [0, -1]] = 0
    name = f"synthetic-{box}"
    with TemplateWriter(
        root, name, "builtin", (size, size), (box, box), alpha, Entry(f"{name}-{frames}")
    ) as writer:
        for index in range(frames):
            writer.add(picture.astype(np.uint8), (32, 32 + 2 * (index % 2)))
        writer.save("landmarks.npy", np.repeat(synthetic_landmarks(box)[None], frames, axis=0))
        path = writer.finish([WarpPreparer()], lambda *_: None, threading.Event())
    return open_template(str(path), "")


def warm(engine: LipSync, progress: Progress) -> None:
    """Let the engine plan and render a batch of every size."""
    with tempfile.TemporaryDirectory(prefix="musecast-warm-") as folder:
        template = synthetic_template(Path(folder))
        samples = (PAST_US + FUTURE_US) * SAMPLE_RATE // 1_000_000 + 8 * FRAME_SAMPLES
        pcm = (np.sin(np.arange(samples) * 0.05) * 8000).astype(np.int16)
        for spans in ([], [Span("a", 0, 200_000), Span("m", 200_000, 320_000)]):
            jobs = engine.plan(SpeechWindow(template, 0, 8, 0, pcm, spans, [], 0.3, -PAST_US, None))
            for size in engine.buckets:
                engine.render(jobs[:size])
                progress("warp", size, engine.buckets[-1])
