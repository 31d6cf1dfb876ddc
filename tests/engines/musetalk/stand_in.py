"""Networks that find a red square instead of a face, and templates that show one. No torch in here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.api import Progress
from models.musetalk import asks, pose
from models.musetalk.layout import CONVERTED, MANIFEST
from models.musetalk.manifest import MANIFEST_VERSION
from models.templates.origin import Entry
from models.templates.store import Template, open_template
from models.templates.writer import TemplateWriter
from tests.support.doubles import CancelAfter, quiet

SIZE = 320
FACE = (110, 100, 210, 200)
"""Where the square is at rest."""


def squares(picture: np.ndarray) -> np.ndarray:
    """Boxes of the red squares, the largest first: f32 [n, 4]."""
    red = (picture[..., 2] > 150) & (picture[..., 1] < 90)
    count, _, stats, _ = cv2.connectedComponentsWithStats(red.astype(np.uint8))
    found = sorted((stats[k] for k in range(1, count) if stats[k][4] > 50), key=lambda row: -row[4])
    return np.array([[x, y, x + w, y + h] for x, y, w, h, _ in found], np.float32).reshape(-1, 4)


def face_points(box: np.ndarray) -> np.ndarray:
    """68 points whose extremes are the box: f32 [68, 2]; points 28, 29, 30 lie 8 % of its height apart."""
    x0, y0, x1, y1 = box
    points = np.tile(((x0 + x1) / 2, (y0 + y1) / 2), (68, 1))
    points[0], points[16] = (x0, y0 + (y1 - y0) * 0.4), (x1, y0 + (y1 - y0) * 0.4)
    points[8], points[19] = ((x0 + x1) / 2, y1), ((x0 + x1) / 2, y0)
    for number, share in ((28, 0.37), (29, 0.45), (30, 0.53)):
        points[number, 1] = y0 + (y1 - y0) * share
    return points.astype(np.float32)


class StandIn:
    """A ``models.api.TensorSource``; ``asked`` counts asks, ``pictures`` what was in them, per kind."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.pictures: Counter[str] = Counter()

    def tensors(self, kind: str, arrays: Sequence[np.ndarray], progress: Progress) -> list[np.ndarray]:
        (pictures,) = arrays
        self.asked[kind] += 1
        self.pictures[kind] += len(pictures)
        progress(kind, 1, 1)
        if kind == asks.FACES:
            found = [squares(one) for one in pictures]
            boxes = np.concatenate([np.pad(one, ((0, 0), (0, 1)), constant_values=0.9) for one in found])
            return [boxes.astype(np.float32), np.array([len(one) for one in found], np.int32)]
        if kind in (asks.POINTS, asks.STRICT_POINTS):
            return self._points(pictures)
        if kind == asks.CLASSES:
            drawn = np.zeros((512, 512), np.uint8)
            cv2.ellipse(drawn, (256, 256), (150, 190), 0, 0, 360, 1, -1)
            return [np.repeat(drawn[None], len(pictures), axis=0)]
        assert kind == asks.LATENTS
        small = np.stack([cv2.resize(one, (32, 32), interpolation=cv2.INTER_AREA) for one in pictures])
        return [np.repeat(small[:, None, ..., 1].astype(np.float32), 8, axis=1)]

    @staticmethod
    def _points(pictures: np.ndarray) -> list[np.ndarray]:
        points = np.zeros((len(pictures), 133, 2), np.float32)
        scores = np.zeros((len(pictures), 133), np.float32)
        for k, picture in enumerate(pictures):
            found = squares(picture)
            if len(found):
                points[k, pose.FACE], scores[k] = face_points(found[0]), 0.9
        return [points, scores]


def write(
    root: Path, preparers: Sequence[Any], place: Callable[[int], Sequence[tuple[int, int]]], frames: int = 24,
    kind: str = "builtin",
) -> Template:  # fmt: skip
    """A grey film with red squares, prepared.

    Args:
        root: folder of templates.
        preparers: what the writer runs.
        place: offsets of the squares of a frame from ``FACE``.
        frames: of the template.
        kind: of the template; "video": the way back shows the frames of the way there.
    """
    box = 256
    alpha = np.full((box, box), 255, np.uint8)
    alpha[[0, -1], :] = alpha[:, [0, -1]] = 0
    with TemplateWriter(root, "red", kind, (SIZE, SIZE), (box, box), alpha, Entry("x" * 64)) as writer:
        for k in range(frames):
            picture = np.full((SIZE, SIZE, 3), 128, np.uint8)
            for dx, dy in place(min(k, frames - k) if kind == "video" else k):
                x0, y0, x1, y1 = FACE
                picture[y0 + dy : y1 + dy, x0 + dx : x1 + dx] = (40, 40, 200)
            writer.add(picture, (32, 32))
        path = writer.finish(preparers, quiet, CancelAfter(1 << 30))
    return open_template(str(path), "")


def pretend_converted(root: Path) -> None:
    """Weights that are there by their record, and empty."""
    folder = root / CONVERTED
    folder.mkdir(parents=True)
    components: dict[str, dict[str, object]] = {}
    for name in ("vae", "dwpose", "s3fd", "face-parse"):
        (folder / f"{name}.safetensors").write_bytes(b"")
        components[name] = {
            "sha256": "", "source": name, "source_sha256": name * 8, "config": {}, "tensors": 0, "parameters": 0,
            "dtype": "float32",
        }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps({"v": MANIFEST_VERSION, "components": components}))
