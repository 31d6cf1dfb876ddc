"""All faces of a picture, each with the points of the face mesh."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import EngineError
from models.landmarks import files
from models.landmarks.detector import Detection, Detector
from models.landmarks.measure import (
    LEFT_EYE_OUTER,
    OUTER_LIPS,
    OUTER_LIPS_MIRRORED,
    RIGHT_EYE_OUTER,
    face_width,
    roll_degrees,
    scatter,
)
from models.quiet import without_line

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

DELEGATE = b"INFO: Created TensorFlow Lite XNNPACK delegate"
"""What the interpreter says on standard error, with no setting against it."""
MESH_SIDE = 192
MESH_MARGIN = 1.5
"""Side of the mesh's window in sides of the face's box, as the model was trained."""
PASSES = 2
"""The second takes its window from the points of the first; more change nothing."""
FACES_MAX = 16
PART_PRESENCE = 0.9
"""Of a face that only a part of the picture shows."""
LEAN_SIDE = 640
"""Pixels of the longer side in which ``lean`` looks."""
AROUND = 1.5
"""Sides of a small face's box that are looked at on each side of its middle."""
LEAN_MAX = 60.0
"""Degrees up to which the detector is to be trusted."""
UPRIGHT_WORTH = 0.1
"""How much surer a face of a turned picture must be than one of the picture as it is."""


class Look(NamedTuple):
    """One window upon a face."""

    scale: float = 1.0
    turn: float = 0.0
    """Radians."""
    mirrored: bool = False


UNSURE, SURE = 0.5, 0.9
"""Presence between which the mesh leaves it open: drawn faces have that, and covered ones."""
AGREED = 0.025
"""Of ``Agreement.lips``: below 0.024 of drawn faces the mesh is unsure of, covered mouths above 0.044."""
LOOKS = (Look(), Look(scale=1.2), Look(scale=0.85), Look(turn=0.2), Look(turn=-0.2), Look(1.1, mirrored=True))


class Face(NamedTuple):
    """One face, in pixels of the picture."""

    box: F32
    """``[4]``: x0, y0, x1, y1, as the detector sees it: brows to chin."""
    score: float
    """The detector's, 0 to 1."""
    points: F32
    """``[468, 3]``: x and y in pixels, z in the same unit, smaller is nearer."""
    presence: float
    """How sure the mesh is that a face looks out of its window, 0 to 1; ``SURE`` where it is not, but several
    looks agree where the mouth is.
    """


class Agreement(NamedTuple):
    """How alike the mesh sees one place in several windows. A face is seen the same in all; where there is none,
    each window shows another.
    """

    lips: float
    """Mean distance of the lips' points from their median, in widths of the face."""
    presence: float
    """The least of the mesh's confidences."""
    score: float
    """The detector's, see ``Face``."""


class Landmarker:
    """The loaded models; used by one thread at a time.

    Args:
        models: content by file name, see ``files.load``.
        threads: of the interpreter.

    Raises:
        EngineError: FAILED when ``ai-edge-litert`` is not installed.
    """

    def __init__(self, models: dict[str, bytes], threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise EngineError(
                "FAILED", f"reading faces needs ai-edge-litert: {error}", "pip install 'musecast[landmarks]'"
            ) from error
        with without_line(DELEGATE):
            self._detector = Detector(Interpreter(model_content=models[files.DETECTOR], num_threads=threads))
            self._mesh = Interpreter(model_content=models[files.MESH], num_threads=threads)
            self._mesh.allocate_tensors()
        self._input = self._mesh.get_input_details()[0]["index"]
        sizes = {int(np.prod(d["shape"])): d["index"] for d in self._mesh.get_output_details()}
        self._points, self._flag = sizes[468 * 3], sizes[1]

    def faces(self, bgr: U8) -> list[Face]:
        """Every face in ``bgr`` (u8 ``[H, W, 3]``), the largest first.

        Small faces (below a tenth of the picture) are looked for in parts of it when the whole shows none.
        """
        found = self._detector.detect(bgr)
        faces = [self._face(bgr, one) for one in found[:FACES_MAX]]
        if not faces:
            # Among so many windows the detector errs once in a while; the mesh is asked as well.
            candidates = [self._face(bgr, one) for one in self._in_parts(bgr)[:FACES_MAX]]
            faces = [face for face in candidates if face.presence >= PART_PRESENCE]
        faces = [self._assured(bgr, face) for face in faces]
        return sorted(faces, key=lambda face: -float(face.box[2] - face.box[0]))

    def follow(self, bgr: U8, points: F32) -> Face:
        """The face that was at ``points`` in the frame before; costs half of ``faces``."""
        moved, presence = self._points_in(bgr, *_window_of_points(points))
        return Face(_box_of(moved), presence, moved, presence)

    def lean(self, bgr: U8, faces: Sequence[Face] = ()) -> float | None:
        """How far the picture's face leans, degrees clockwise, -180 to 180; None where there is none.

        What looks for faces is used to upright ones, and sees one even in a face that is upside down: the picture
        is looked at in four positions, and the one in which a face is found most surely says where its chin is.

        Args:
            bgr: the picture.
            faces: what ``faces`` found in it; it is looked at around the first when none fills a tenth of it.
        """
        lean = self._lean(bgr)
        return self._lean(_around(bgr, faces[0])) if lean is None and faces else lean

    def _lean(self, bgr: U8) -> float | None:
        scale = min(1.0, LEAN_SIDE / max(bgr.shape[:2]))
        small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else bgr
        best, lean = 0.0, None
        for quarters in range(4):
            turned = np.ascontiguousarray(np.rot90(small, quarters), np.uint8)
            for found in self._detector.detect(turned)[:FACES_MAX]:
                face = self._face(turned, found)
                roll = roll_degrees(face.points)
                score = face.score - (UPRIGHT_WORTH if quarters else 0.0)
                if score > best and face.presence >= PART_PRESENCE and abs(roll) <= LEAN_MAX:
                    best, lean = score, (roll + 90 * quarters + 180) % 360 - 180
        return lean

    def agreement(self, bgr: U8, face: Face) -> Agreement:
        """How sure it is that there is a face, and where its mouth: costs ``len(LOOKS)`` times ``follow``."""
        centre, side, angle = _window_of_points(face.points)
        mirrored = np.ascontiguousarray(bgr[:, ::-1])
        last = bgr.shape[1] - 1
        seen, sure = [], []
        for look in LOOKS:
            if look.mirrored:
                there = np.array([last - centre[0], centre[1]], np.float32)
                points, presence = self._points_in(mirrored, there, side * look.scale, -angle)
                lips = points[list(OUTER_LIPS_MIRRORED), :2] * np.array([-1, 1]) + np.array([last, 0])
            else:
                points, presence = self._points_in(bgr, centre, side * look.scale, angle + look.turn)
                lips = points[list(OUTER_LIPS), :2]
            seen.append(lips)
            sure.append(presence)
        return Agreement(scatter(np.stack(seen)) / max(face_width(face.points), 1e-6), min(sure), face.score)

    def _face(self, bgr: U8, found: Detection) -> Face:
        centre, side, angle = _window_of_detection(found)
        points, presence = self._points_in(bgr, centre, side, angle)
        for _ in range(PASSES - 1):
            if presence >= 0.5:
                points, presence = self._points_in(bgr, *_window_of_points(points))
        return Face(found.box, found.score, points, presence)

    def _assured(self, bgr: U8, face: Face) -> Face:
        unsure = UNSURE <= face.presence < SURE
        return face._replace(presence=SURE) if unsure and self.agreement(bgr, face).lips <= AGREED else face

    def _in_parts(self, bgr: U8) -> list[Detection]:
        height, width = bgr.shape[:2]
        for share in (2, 4):
            side = max(height, width) // share
            if side < 96:
                break
            found: list[Detection] = []
            for top in _starts(height, side):
                for left in _starts(width, side):
                    part = bgr[top : top + side, left : left + side]
                    found += [_moved(one, left, top) for one in self._detector.detect(part)]
            if found:
                return _distinct(found)
        return []

    def _points_in(self, bgr: U8, centre: F32, side: float, angle: float) -> tuple[F32, float]:
        """Points of the face in a turned square window, and the mesh's confidence."""
        scale = MESH_SIDE / side
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        shift = MESH_SIDE / 2 - turn @ centre.astype(np.float64)
        matrix = np.column_stack([turn, shift])
        window = _window(bgr, matrix, scale)
        self._mesh.set_tensor(self._input, window[None, ..., ::-1].astype(np.float32) / 255)
        self._mesh.invoke()
        raw = self._mesh.get_tensor(self._points).reshape(468, 3).astype(np.float64)
        flat = (raw[:, :2] - shift) @ np.linalg.inv(turn).T
        presence = 1 / (1 + np.exp(-float(self._mesh.get_tensor(self._flag).reshape(-1)[0])))
        return np.column_stack([flat, raw[:, 2] / scale]).astype(np.float32), float(presence)


def _window(bgr: U8, matrix: NDArray[np.float64], scale: float) -> U8:
    """The mesh's input; large faces are averaged down first, so that nothing is skipped."""
    if scale < 0.5:
        half = np.asarray(cv2.resize(bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        # Pixel centres: p' = (p + 0.5) / 2 - 0.5, and back.
        wider = np.column_stack([matrix[:, :2] * 2, matrix[:, 2] + matrix[:, :2] @ np.array([0.5, 0.5])])
        return _window(half, wider, scale * 2)
    size = (MESH_SIDE, MESH_SIDE)
    return np.asarray(cv2.warpAffine(bgr, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)


def _around(bgr: U8, face: Face) -> U8:
    """The part of a picture in which this face fills a third of the side."""
    (x, y), side = (face.box[:2] + face.box[2:]) / 2, float((face.box[2:] - face.box[:2]).max())
    left, top = max(0, int(x - AROUND * side)), max(0, int(y - AROUND * side))
    return bgr[top : int(y + AROUND * side), left : int(x + AROUND * side)]


def _window_of_detection(found: Detection) -> tuple[F32, float, float]:
    eyes = found.keypoints[1] - found.keypoints[0]
    size = found.box[2:] - found.box[:2]
    centre = np.asarray((found.box[2:] + found.box[:2]) / 2, np.float32)
    return centre, float(size.max()) * MESH_MARGIN, float(np.arctan2(eyes[1], eyes[0]))


def _window_of_points(points: F32) -> tuple[F32, float, float]:
    eyes = points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    upright = points[:, :2] @ turn.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    return np.asarray(turn.T @ ((low + high) / 2), np.float32), float((high - low).max()) * MESH_MARGIN, angle


def _box_of(points: F32) -> F32:
    return np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])


def _starts(length: int, side: int) -> list[int]:
    """Where windows of ``side`` begin that overlap by half and cover ``length``."""
    if length <= side:
        return [0]
    count = -(-(length - side) // (side // 2)) + 1
    return [round(k * (length - side) / (count - 1)) for k in range(count)]


def _moved(one: Detection, left: int, top: int) -> Detection:
    shift = np.array([left, top], np.float32)
    return Detection(one.box + np.tile(shift, 2), one.keypoints + shift, one.score)


def _distinct(found: list[Detection]) -> list[Detection]:
    """One detection per face: parts overlap, so most faces are seen several times."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.score):
        centre = (one.box[:2] + one.box[2:]) / 2
        inside = any(((centre > k.box[:2]) & (centre < k.box[2:])).all() for k in kept)
        if not inside:
            kept.append(one)
    return kept


_loaded = threading.Lock()


@lru_cache(maxsize=4)
def _landmarker(weights_dir: str) -> Landmarker:
    return Landmarker(files.load(weights_dir))


def landmarker(weights_dir: str) -> Landmarker:
    """The models, loaded once per process.

    Raises:
        EngineError: as ``files.load`` and ``Landmarker``.
    """
    with _loaded:
        return _landmarker(os.path.abspath(weights_dir))


def face_landmarks(bgr: U8, weights_dir: str | None = None) -> list[Face]:
    """Every face in ``bgr``, u8 ``[H, W, 3]``, the largest first.

    Args:
        bgr: the picture.
        weights_dir: where the models lie when they are not in the environment; None: the default of the
            configuration.

    Raises:
        EngineError: as ``landmarker``.
    """
    if weights_dir is None:
        from configs.load import load, resolve

        weights_dir = resolve(load(None, [])).weights_dir
    with _loaded:
        return _landmarker(os.path.abspath(weights_dir)).faces(bgr)
