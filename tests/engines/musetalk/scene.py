"""A template prepared for the tiny MuseTalk, and an engine that speaks with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from configs.schema import Config, Musetalk
from models.musetalk.bisenet import SIDE
from models.musetalk.faces import Found
from models.musetalk.geometry import Box
from models.musetalk.prepare import MuseTalkPreparer
from models.templates.store import Template, open_template
from models.templates.writer import TemplateWriter
from tests.engines.doubles import CancelAfter, quiet


class Drawn:
    """Faces where the test's picture has them: the frame's place is in its upper left pixel."""

    name = "drawn"

    def __init__(self, missing: frozenset[int] = frozenset()) -> None:
        self.missing, self.seen = missing, 0

    def find(self, frame: np.ndarray) -> Found | str:
        k, self.seen = self.seen, self.seen + 1
        if k in self.missing:
            return "no face"
        height, width = frame.shape[:2]
        dx = 3 * np.sin(2 * np.pi * k / 24)
        outline = np.array([width * 0.25 + dx, width * 0.75 + dx, height * 0.45, height * 0.75], np.float32)
        return Found(outline, None, None, None)

    def classes(self, frame: np.ndarray, square: Box, found: Found) -> np.ndarray:
        drawn = np.zeros((SIDE, SIDE), np.uint8)
        cv2.ellipse(drawn, (SIDE // 2, SIDE // 2), (150, 190), 0, 0, 360, 1, -1)
        return drawn.astype(np.int64)


def config(root: Path, **more: Any) -> Config:
    settings: dict[str, Any] = {"max_batch": 8, "encoder_steps": 160, **more}
    return msgspec.structs.replace(Config(), weights_dir=str(root), musetalk=Musetalk(**settings))


def write(root: Path, config: Config, source: Drawn | None = None, box: int = 256, frames: int = 24) -> Template:
    """A gradient with texture that moves, prepared."""
    size = box + 64
    random = np.random.default_rng(5)
    texture = cv2.GaussianBlur(random.integers(0, 256, (size, size, 3), np.uint8), (0, 0), 3)
    alpha = np.full((box, box), 255, np.uint8)
    alpha[[0, -1], :] = alpha[:, [0, -1]] = 0
    preparer = MuseTalkPreparer(config, source or Drawn())
    with TemplateWriter(root, f"scene-{box}", "builtin", (size, size), (box, box), alpha, "x" * 64) as writer:
        for k in range(frames):
            writer.add(np.roll(texture, 2 * (k % 4), axis=1), (32, 32))
        path = writer.finish([preparer], quiet, CancelAfter(10_000))
    return open_template(str(path), "")
