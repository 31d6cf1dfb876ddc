"""BlazeFace, short range: boxes and six keypoints of every face in a picture.

After "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (Bazarevsky et al., 2019) and the
published model card: 128x128 input, 896 anchors of unit size, blending instead of suppression.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

SIDE = 128
MIN_SCORE = 0.5
OVERLAP = 0.3
"""Boxes that share more than this (intersection over union) are one face."""
GRIDS = ((16, 2), (8, 6))
"""Cells per side, anchors per cell."""


class Detection(NamedTuple):
    """One face, in pixels of the picture."""

    box: F32
    """``[4]``: x0, y0, x1, y1; from the brows to the chin."""
    keypoints: F32
    """``[6, 2]``: eyes (left in the picture first), tip of the nose, mouth, ears."""
    score: float


def anchors() -> F32:
    """Centres of the 896 anchors, 0 to 1: ``[896, 2]``."""
    rows = []
    for cells, each in GRIDS:
        y, x = np.mgrid[0:cells, 0:cells]
        centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        rows.append(np.repeat(centres, each, axis=0))
    return np.concatenate(rows).astype(np.float32)


_ANCHORS = anchors()


class Detector:
    """A loaded detector; used by one thread."""

    def __init__(self, interpreter: Any) -> None:
        self._net = interpreter
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        shapes = {int(d["shape"][-1]): d["index"] for d in self._net.get_output_details()}
        self._regressors, self._scores = shapes[16], shapes[1]

    def detect(self, bgr: U8) -> list[Detection]:
        """Faces that fill at least about a tenth of the picture, best first."""
        height, width = bgr.shape[:2]
        scale = SIDE / max(height, width)
        matrix = np.array([[scale, 0, (SIDE - width * scale) / 2], [0, scale, (SIDE - height * scale) / 2]])
        small = _shrunk(bgr, matrix)
        self._net.set_tensor(self._input, small[None, ..., ::-1].astype(np.float32) / 127.5 - 1)
        self._net.invoke()
        logits = self._net.get_tensor(self._scores)[0, :, 0]
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        keep = scores >= MIN_SCORE
        if not keep.any():
            return []
        raw = self._net.get_tensor(self._regressors)[0][keep].reshape(-1, 8, 2) / SIDE
        raw[:, [0, 2, 3, 4, 5, 6, 7]] += _ANCHORS[keep][:, None]
        half = raw[:, 1] / 2
        boxes = np.concatenate([raw[:, 0] - half, raw[:, 0] + half], axis=1)
        rows = np.concatenate([boxes, raw[:, 2:].reshape(-1, 12)], axis=1)
        merged = _blend(rows, scores[keep])
        offset = matrix[:, 2]
        found = []
        for row, score in merged:
            points = (row.reshape(-1, 2) * SIDE - offset) / scale
            found.append(Detection(points[:2].reshape(4).astype(np.float32), points[2:].astype(np.float32), score))
        return found


def _shrunk(bgr: U8, matrix: NDArray[np.float64]) -> U8:
    """The letterboxed input. Averaged first where bilinear sampling would skip pixels."""
    height, width = bgr.shape[:2]
    scale = float(matrix[0, 0])
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    left, top = round(float(matrix[0, 2])), round(float(matrix[1, 2]))
    canvas[top : top + size[1], left : left + size[0]] = small[: SIDE - top, : SIDE - left]
    return canvas


def _blend(rows: F32, scores: F32) -> list[tuple[F32, float]]:
    """Every group of overlapping boxes becomes their mean, weighted by score."""
    order = np.argsort(-scores)
    merged = []
    while len(order):
        best = order[0]
        near = _overlap(rows[best], rows[order]) > OVERLAP
        near[0] = True
        group = order[near]
        weights = scores[group]
        merged.append(((rows[group] * weights[:, None]).sum(axis=0) / weights.sum(), float(scores[best])))
        order = order[~near]
    return merged


def _overlap(one: F32, many: F32) -> F32:
    low = np.maximum(one[:2], many[:, :2])
    high = np.minimum(one[2:4], many[:, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(np.clip(many[:, 2:4] - many[:, :2], 0, None), axis=1)
    own = float(np.prod(np.clip(one[2:4] - one[:2], 0, None)))
    return np.asarray(shared / np.maximum(own + areas - shared, 1e-9), np.float32)
