"""Landmarks and face regions of a template's frames: the networks of the official layout, or the face mesh.

The mesh (``models.landmarks``) serves where the preparation weights are not there: boxes from its outline, the
mask from the outline of the lower face.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.api import EngineError
from models.musetalk import s3fd
from models.musetalk.bisenet import SIDE
from models.musetalk.geometry import Box, outline
from models.musetalk.loading import load_module
from models.musetalk.masks import MOUTH, SKIN, parser_input

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

DETECT_SIDE = 640
"""Longest side of the picture that the face detector sees (refined)."""
SECOND_PASS_MARGIN = 0.35
"""How much larger than the face the second landmark pass looks, on each side."""
SURE = 0.3
"""Least mean score of the 68 points."""


class Found(NamedTuple):
    """One frame's face.

    Attributes:
        outline: f32 ``[4]``: left, right, nose bridge, chin.
        points: f32 ``[68, 2]`` in frame pixels, or None where the source has no 68 points.
        face: the detector's box.
        lower: f32 ``[n, 2]``, the polygon of the lower face, where there is no parser.
    """

    outline: F32
    points: F32 | None
    face: Box | None
    lower: F32 | None


class FaceSource(Protocol):
    """Where landmarks and regions come from."""

    name: str
    """Part of the preparation's version."""

    def find(self, frame: U8) -> Found | str:
        """The face in a u8 BGR frame, or why there is none to be used."""
        ...

    def classes(self, frame: U8, square: Box, found: Found) -> NDArray[np.int64]:
        """Class map ``[512, 512]`` of the square."""
        ...


class Networks:
    """DWPose, S3FD and BiSeNet.

    Args:
        root: ``weights_dir``.
        device: where they run.
        strict: upstream's way: one landmark pass over the whole frame, whole steps, detection at full size.
    """

    def __init__(self, root: Path, device: torch.device, *, strict: bool) -> None:
        from models.musetalk import dwpose

        self._dwpose, self._strict, self._device = dwpose, strict, device
        self.name = "networks"
        with torch.inference_mode():
            self._pose = load_module(root, "dwpose").to(device)
            self._detector = load_module(root, "s3fd").to(device)
            self._parser = load_module(root, "face-parse").to(device)

    def find(self, frame: U8) -> Found | str:
        """The face in a u8 BGR frame, or why there is none to be used."""
        boxes = self._detect(frame)
        if not len(boxes):
            return "no face"
        if not self._strict and (reason := several(boxes)):
            return reason
        face: Box = tuple(int(value) for value in np.clip(boxes[0, :4], 0, None))  # type: ignore[assignment]
        height, width = frame.shape[:2]
        points, score = self._points(frame, (0.0, 0.0, float(width), float(height)))
        if not self._strict:
            points, score = self._points(frame, _around(points))
            if score < SURE:
                return f"landmarks are unsure ({score:.2f} of {SURE})"
        return Found(outline(points[None])[0], points, face, None)

    @torch.inference_mode()
    def _detect(self, frame: U8) -> F32:
        height, width = frame.shape[:2]
        scale = 1.0 if self._strict else s3fd.scale_for(width, height, DETECT_SIDE)
        small = frame
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            small = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        boxes = s3fd.decode(self._detector(s3fd.network_input(small[None]).to(self._device)), 0)
        boxes[:, :4] /= scale
        return boxes

    def _points(self, frame: U8, box: tuple[float, float, float, float]) -> tuple[F32, float]:
        net = self._dwpose
        x = net.network_input(frame, box).to(self._device)
        found, score = net.keypoints(*net.scores(self._pose, x), sub_bin=not self._strict)
        points = net.to_frame(found[0, net.FACE], box)
        return points, float(score[0, net.FACE].mean())

    @torch.inference_mode()
    def classes(self, frame: U8, square: Box, found: Found) -> NDArray[np.int64]:
        """Class map ``[512, 512]`` of the square."""
        x = torch.from_numpy(parser_input(frame, square))[None].to(self._device)
        best: NDArray[np.int64] = self._parser(x)[0].argmax(dim=0).cpu().numpy()
        return best


def several(boxes: F32) -> str:
    """A reason when a second face is at least half as large as the best one, else ""."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    rivals = int((area > 0.5 * area[0]).sum())
    return f"{rivals} faces" if rivals > 1 else ""


def _around(points: F32) -> tuple[float, float, float, float]:
    low, high = points.min(axis=0), points.max(axis=0)
    pad = (high - low) * SECOND_PASS_MARGIN
    x0, y0 = (float(value) for value in low - pad)
    x1, y1 = (float(value) for value in high + pad)
    return x0, y0, x1, y1


# --- the face mesh ------------------------------------------------------------------------------------------

BRIDGE, CHIN = 5, 152
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The outline of the face, from the middle of the forehead, in order."""
LOWER = OVAL[8:29]
"""Its lower half, from ear to ear."""
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)


class Mesh:
    """The face mesh of ``models.landmarks``.

    Args:
        points: mesh points ``[468, 2 or 3]`` of the only face of a frame, or why there is none.
    """

    name = "mesh"

    def __init__(self, points: Callable[[U8], F32 | str]) -> None:
        self._points = points

    def find(self, frame: U8) -> Found | str:
        """The face in a u8 BGR frame, or why there is none to be used."""
        points = self._points(frame)
        if isinstance(points, str):
            return points
        oval = points[list(OVAL), :2]
        found = np.array([oval[:, 0].min(), oval[:, 0].max(), points[BRIDGE, 1], oval[:, 1].max()], np.float32)
        return Found(found, None, None, np.concatenate([points[list(LOWER), :2], points[list(LIPS), :2]]))

    def classes(self, frame: U8, square: Box, found: Found) -> NDArray[np.int64]:
        """Skin below the line from ear to ear, and the mouth; background elsewhere."""
        assert found.lower is not None
        scale = SIDE / (square[2] - square[0])
        points = np.rint((found.lower - np.array(square[:2], np.float32)) * scale).astype(np.int32)
        drawn = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(drawn, [points[: len(LOWER)]], SKIN)
        cv2.fillPoly(drawn, [points[len(LOWER) :]], MOUTH[0])
        return drawn.astype(np.int64)


def mesh_points(root: Path) -> Callable[[U8], F32 | str]:
    """The points of the only face of a frame, by the models that ``models.landmarks`` keeps in ``root``."""
    from models.landmarks import face_landmarks

    def points(frame: U8) -> F32 | str:
        faces = face_landmarks(frame, str(root))
        if len(faces) != 1:
            return "no face" if not faces else f"{len(faces)} faces"
        return np.asarray(faces[0].points, np.float32)

    return points


def choose_source(root: Path, device: torch.device, setting: str) -> FaceSource:
    """The networks where their weights are converted, else the mesh; ``strict`` insists on the networks.

    Raises:
        EngineError: FAILED, with what is missing for either.
    """
    try:
        return Networks(root, device, strict=setting == "strict")
    except EngineError:
        if setting == "strict":
            raise
    return Mesh(mesh_points(root))
