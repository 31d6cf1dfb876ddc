"""A template prepared for the tiny MuseTalk, and an engine that speaks with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch

from configs.schema import Config, Musetalk
from models.api import Preparer, Progress
from models.musetalk.constants import PARSED
from models.musetalk.faces import Found, Part
from models.musetalk.prepare import MuseTalkPreparer
from models.musetalk.tensors import PreparationNetworks
from models.templates.origin import Entry
from models.templates.store import Template, open_template
from models.templates.writer import TemplateWriter
from models.warp.preparer import WarpPreparer
from models.warp.warmup import synthetic_landmarks
from tests.support.doubles import CancelAfter, quiet


class Drawn:
    """Faces where the test's picture has them, without looking at it."""

    name = "drawn"

    def __init__(self, missing: frozenset[int] = frozenset()) -> None:
        self.missing = missing

    def find(self, frames: Sequence[np.ndarray], progress: Progress) -> list[Found | str]:
        return ["no face" if k in self.missing else self._face(frames[k], k) for k in range(len(frames))]

    def _face(self, frame: np.ndarray, k: int) -> Found:
        height, width = frame.shape[:2]
        dx = 3 * np.sin(2 * np.pi * k / 24)
        outline = np.array([width * 0.25 + dx, width * 0.75 + dx, height * 0.45, height * 0.75], np.float32)
        return Found(outline, None, None, None)

    def classes(self, parts: Sequence[Part], progress: Progress) -> list[np.ndarray]:
        drawn = np.zeros((PARSED, PARSED), np.uint8)
        cv2.ellipse(drawn, (PARSED // 2, PARSED // 2), (150, 190), 0, 0, 360, 1, -1)
        return [drawn for _ in parts]


PATIENT_S = 1e9
"""Of an item: on a CPU it limits the batches, and how fast the machine is now is not what is tested. Also of the
stage of stand-ins, for MuseTalk is one where it is not the first of its chain."""


def config(root: Path, **more: Any) -> Config:
    settings: dict[str, Any] = {"max_batch": 8, "encoder_steps": 160, **more}
    stages = Config().stages
    patient = {
        name: msgspec.structs.replace(getattr(stages, name), item_timeout_s=PATIENT_S)
        for name in ("lipsync", "fallback")
    }
    return msgspec.structs.replace(
        Config(), weights_dir=str(root), musetalk=Musetalk(**settings),
        stages=msgspec.structs.replace(stages, **patient),
    )  # fmt: skip


def write(
    root: Path,
    config: Config,
    source: Drawn | None = None,
    box: int = 256,
    frames: int = 24,
    *,
    warp: bool = False,
) -> Template:
    """A gradient with texture that moves, prepared, if need be for ``warp`` too."""
    size = box + 64
    random = np.random.default_rng(5)
    texture = cv2.GaussianBlur(random.integers(0, 256, (size, size, 3), np.uint8), (0, 0), 3)
    alpha = np.full((box, box), 255, np.uint8)
    alpha[[0, -1], :] = alpha[:, [0, -1]] = 0
    networks = PreparationNetworks(Path(config.weights_dir), torch.device("cpu"))
    preparers: list[Preparer] = [MuseTalkPreparer(config, networks, source=source or Drawn())]
    preparers += [WarpPreparer()] if warp else []
    with TemplateWriter(
        root, f"scene-{box}", "builtin", (size, size), (box, box), alpha, Entry("x" * 64)
    ) as writer:
        for k in range(frames):
            writer.add(np.roll(texture, 2 * (k % 4), axis=1), (32, 32))
        writer.save("landmarks.npy", np.repeat(synthetic_landmarks(box)[None], frames, axis=0))
        path = writer.finish(preparers, quiet, CancelAfter(10_000))
    return open_template(str(path), "")
