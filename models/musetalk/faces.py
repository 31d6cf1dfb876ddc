"""Landmarks and face regions of a template's frames: the networks of the official layout, or the face mesh.

The mesh (``models.landmarks``) serves where the preparation weights are not there: boxes from its outline, the
mask from the outline of the lower face. No torch: the networks run where the device is, see ``asks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import EngineError, Progress, TensorSource
from models.musetalk import asks, pose, track
from models.musetalk.constants import PARSED
from models.musetalk.geometry import Box, outline
from models.musetalk.manifest import converted_entry
from models.musetalk.masks import MOUTH, SKIN, parser_picture

F32 = NDArray[np.float32]
Points = NDArray[np.floating]
U8 = NDArray[np.uint8]
Classes = NDArray[np.integer]

DETECT_SIDE = 640
"""Longest side of the picture that the face detector sees (refined)."""
SECOND_PASS_MARGIN = 0.35
"""How much larger than the face the second landmark pass looks, on each side."""
SURE = 0.3
"""Least mean score of the 68 points."""
NETWORKS = ("dwpose", "s3fd", "face-parse")


class Found(NamedTuple):
    """One frame's face.

    Attributes:
        outline: f32 ``[4]``: left, right, nose bridge, chin.
        points: f64 ``[68, 2]`` in frame pixels, or None where the source has no 68 points.
        face: the detector's box.
        lower: f32 ``[n, 2]``, the polygon of the lower face, where there is no parser.
        nose: f32 ``[3]``, heights (y) of points 28, 29 and 30 down the nose; for the range of ``bbox_shift``.
    """

    outline: F32
    points: Points | None
    face: Box | None
    lower: F32 | None
    nose: F32 = np.zeros(3, np.float32)


class Part(NamedTuple):
    """What is to be parsed: the square of a frame, and the face in it."""

    frame: U8
    square: Box
    found: Found


class FaceSource(Protocol):
    """Where landmarks and regions come from."""

    name: str
    """Part of the preparation's version."""

    def find(self, frames: Sequence[U8], progress: Progress) -> list[Found | str]:
        """The face of each u8 BGR frame of a film, or why there is none to be used.

        Frames are made when they are asked for; only a few are held at a time.
        """
        ...

    def classes(self, parts: Sequence[Part], progress: Progress) -> list[Classes]:
        """A class map ``[512, 512]`` of each square; at most ``asks.BATCH`` of them."""
        ...


class Networks:
    """DWPose, S3FD and BiSeNet.

    Args:
        tensors: who runs them.
        strict: upstream's way: every frame alone, detection at full size, one landmark pass over the whole
            frame, whole steps.
    """

    name = "networks"

    def __init__(self, tensors: TensorSource, *, strict: bool) -> None:
        self._tensors, self._strict = tensors, strict
        self._batch = 1 if strict else asks.BATCH

    def find(self, frames: Sequence[U8], progress: Progress) -> list[Found | str]:
        """See ``FaceSource.find``."""
        if self._strict:
            return [self._strictly(frames[k], k, len(frames), progress) for k in range(len(frames))]
        return self._refined(frames, progress)

    def _strictly(self, frame: U8, k: int, count: int, progress: Progress) -> Found | str:
        (boxes,) = self._faces([frame], progress)
        progress("faces", k + 1, count)
        if not len(boxes):
            return "no face"
        points, _ = self._points([frame], [_whole(frame)], asks.STRICT_POINTS, progress)
        return _found(points[0], boxes[0, :4])

    def _refined(self, frames: Sequence[U8], progress: Progress) -> list[Found | str]:
        count = len(frames)
        looks: dict[int, track.Look] = {}
        self._detect(frames, track.anchors(count), looks, progress)
        self._detect(frames, track.unclear(looks, count), looks, progress)
        boxes = track.tracked(looks, count)
        faces = [k for k in range(count) if not isinstance(boxes[k], str)]
        points: dict[int, Points] = {}
        scores: dict[int, float] = {}
        for numbers in _batches(faces, self._batch):
            pictures = [frames[k] for k in numbers]
            first, _ = self._points(pictures, [_whole(one) for one in pictures], asks.POINTS, progress)
            second, sure = self._points(pictures, [_around(one) for one in first], asks.POINTS, progress)
            points |= zip(numbers, second, strict=True)
            scores |= zip(numbers, sure, strict=True)
            progress("faces", numbers[-1] + 1, count)
        own = {k: np.concatenate([one.min(axis=0), one.max(axis=0)]) for k, one in points.items()}
        again = track.lost(looks, boxes, own)
        self._detect(frames, again, looks, progress)
        for k in again:
            boxes[k] = looks[k]
        return [_judged(boxes[k], points.get(k), scores.get(k, 0.0)) for k in range(count)]

    def _detect(
        self, frames: Sequence[U8], numbers: Sequence[int], looks: dict[int, track.Look], progress: Progress
    ) -> None:
        """Let the detector look at these frames, made smaller."""
        for batch in _batches(numbers, self._batch):
            pictures = [frames[k] for k in batch]
            height, width = pictures[0].shape[:2]
            scale = min(1.0, DETECT_SIDE / max(width, height))
            if scale < 1:
                size = (round(width * scale), round(height * scale))
                pictures = [
                    np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_AREA), np.uint8) for one in pictures
                ]
            for k, boxes in zip(batch, self._faces(pictures, progress), strict=True):
                looks[k] = "no face" if not len(boxes) else several(boxes) or boxes[0, :4] / np.float32(scale)
            progress("detect", batch[-1] + 1, len(frames))

    def _faces(self, pictures: Sequence[U8], progress: Progress) -> list[F32]:
        boxes, counts = self._tensors.tensors(asks.FACES, [np.stack(pictures)], progress)
        return np.split(boxes, np.cumsum(counts)[:-1])

    def _points(
        self, pictures: Sequence[U8], regions: Sequence[pose.Region], kind: str, progress: Progress
    ) -> tuple[list[Points], list[float]]:
        """The 68 points of each frame, f64 ``[68, 2]``, and how sure they are."""
        views = np.stack([pose.picture(one, box) for one, box in zip(pictures, regions, strict=True)])
        found, score = self._tensors.tensors(kind, [views], progress)
        points: list[Points] = [
            pose.to_frame(one[pose.FACE], box) for one, box in zip(found, regions, strict=True)
        ]
        return points, [float(one[pose.FACE].mean()) for one in score]

    def classes(self, parts: Sequence[Part], progress: Progress) -> list[Classes]:
        """See ``FaceSource.classes``."""
        pictures = np.stack([parser_picture(part.frame, part.square) for part in parts])
        (found,) = self._tensors.tensors(asks.CLASSES, [pictures], progress)
        return list(found)


def _judged(look: track.Look, points: Points | None, score: float) -> Found | str:
    if isinstance(look, str):
        return look
    assert points is not None
    if score < SURE:
        return f"landmarks are unsure ({score:.2f} of {SURE})"
    return _found(points, look)


def _found(points: Points, box: F32) -> Found:
    face: Box = tuple(int(value) for value in np.clip(box, 0, None))  # type: ignore[assignment]
    return Found(outline(points[None])[0], points, face, None, points[28:31, 1].astype(np.float32))


def _batches(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[at : at + size] for at in range(0, len(numbers), size))


def _whole(frame: U8) -> pose.Region:
    height, width = frame.shape[:2]
    return 0.0, 0.0, float(width), float(height)


def several(boxes: F32) -> str:
    """A reason when a second face is at least half as large as the best one, else ""."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    rivals = int((area > 0.5 * area[0]).sum())
    return f"{rivals} faces" if rivals > 1 else ""


def _around(points: Points) -> tuple[float, float, float, float]:
    low, high = points.min(axis=0), points.max(axis=0)
    pad = np.maximum((high - low) * SECOND_PASS_MARGIN, 1)  # where no face is, all points may be one
    x0, y0 = (float(value) for value in low - pad)
    x1, y1 = (float(value) for value in high + pad)
    return x0, y0, x1, y1


# --- the face mesh ------------------------------------------------------------------------------------------

BRIDGE, CHIN = 5, 152
NOSE = (197, 5, 4)
"""Where the mesh has points 28, 29 and 30 of 68."""
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

    def find(self, frames: Sequence[U8], progress: Progress) -> list[Found | str]:
        """See ``FaceSource.find``."""
        found: list[Found | str] = []
        for k in range(len(frames)):
            points = self._points(frames[k])
            found.append(points if isinstance(points, str) else _from_mesh(points))
            progress("faces", k + 1, len(frames))
        return found

    def classes(self, parts: Sequence[Part], progress: Progress) -> list[Classes]:
        """Skin below the line from ear to ear, and the mouth; background elsewhere."""
        return [_drawn(part) for part in parts]


def _from_mesh(points: F32) -> Found:
    oval = points[list(OVAL), :2]
    edges = np.array([oval[:, 0].min(), oval[:, 0].max(), points[BRIDGE, 1], oval[:, 1].max()], np.float32)
    lower = np.concatenate([points[list(LOWER), :2], points[list(LIPS), :2]])
    return Found(edges, None, None, lower, points[list(NOSE), 1])


def _drawn(part: Part) -> Classes:
    assert part.found.lower is not None
    scale = PARSED / (part.square[2] - part.square[0])
    points = np.rint((part.found.lower - np.array(part.square[:2], np.float32)) * scale).astype(np.int32)
    drawn = np.zeros((PARSED, PARSED), np.uint8)
    cv2.fillPoly(drawn, [points[: len(LOWER)]], SKIN)
    cv2.fillPoly(drawn, [points[len(LOWER) :]], MOUTH[0])
    return drawn


def mesh_points(root: Path) -> Callable[[U8], F32 | str]:
    """The points of the only face of a frame, by the models that ``models.landmarks`` keeps in ``root``."""
    from models.landmarks import face_landmarks

    def points(frame: U8) -> F32 | str:
        faces = face_landmarks(frame, str(root))
        if len(faces) != 1:
            return "no face" if not faces else f"{len(faces)} faces"
        return np.asarray(faces[0].points, np.float32)

    return points


def choose_source(root: Path, tensors: TensorSource, setting: str) -> FaceSource:
    """The networks where they can run, else the mesh; ``strict`` insists on the networks.

    What is there decides, and nothing that may pass: the same installation always makes the same template.

    Raises:
        EngineError: FAILED, with what is missing for ``strict``.
    """
    if setting == "strict":
        for name in NETWORKS:
            converted_entry(root, name)
        return Networks(tensors, strict=True)
    if source_name(root, setting) == Networks.name:
        return Networks(tensors, strict=False)
    return Mesh(mesh_points(root))


def source_name(root: Path, setting: str) -> str:
    """Which source ``choose_source`` chooses."""
    if setting == "strict":
        return Networks.name
    try:
        for name in NETWORKS:
            converted_entry(root, name)
    except EngineError:
        return Mesh.name
    return Networks.name if find_spec("mmcv") else Mesh.name
