"""Photos that cannot become a template are refused, each for its own reason, and leave nothing behind."""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.api import EngineError
from models.landmarks import Face, face_landmarks
from models.landmarks.measure import yaw_degrees
from models.templates.checks import Fault, blur, choose, describe, runs
from models.templates.make import prepare_source
from models.templates.work import Source, Workplace
from tests.support.doubles import CancelAfter
from tests.support.pictures import WEIGHTS, astronaut, astronaut_file, encoded, moved, nobody, turned


def refusal(folder: Path, data: bytes) -> EngineError:
    place = Workplace(str(folder), WEIGHTS)
    with pytest.raises(EngineError) as caught:
        prepare_source(Source("one", data=data), place, nobody, threading.Event())
    root = folder / "templates"
    assert [path.name for path in root.iterdir() if path.is_dir()] == [], "a refusal leaves nothing"
    assert caught.value.hint, "every refusal says what to do next"
    return caught.value


def test_no_face(tmp_path: Path) -> None:
    assert "no face was found" in refusal(tmp_path, encoded(astronaut()[300:, 100:])).message


def test_several_faces(tmp_path: Path) -> None:
    error = refusal(tmp_path, encoded(np.hstack([astronaut(), astronaut()])))
    assert "2 faces of similar size" in error.message


def test_someone_small_in_the_background_is_no_rival(tmp_path: Path) -> None:
    scene = np.hstack([astronaut(), cv2.resize(astronaut(), (256, 512))[:, :2]])
    scene = np.hstack([scene, np.vstack([cv2.resize(astronaut(), (230, 230)), np.zeros((282, 230, 3), np.uint8)])])
    place = Workplace(str(tmp_path), WEIGHTS)
    made = prepare_source(Source("one", data=encoded(scene)), place, nobody, threading.Event())
    assert made.width == 744


def test_a_face_too_small(tmp_path: Path) -> None:
    error = refusal(tmp_path, encoded(cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)))
    assert "46 pixels wide; at least 64" in error.message


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 1), (1, 900)])
def test_a_picture_without_room_for_a_face(tmp_path: Path, width: int, height: int) -> None:
    error = refusal(tmp_path, encoded(np.full((height, width, 3), 128, np.uint8)))
    assert error.code == "INVALID_ARGUMENT"
    assert f"{width}x{height} pixels; at least" in error.message


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(100, 512), slice(0, 512)), (slice(0, 150), slice(60, 400)),
        (slice(0, 512), slice(200, 512)), (slice(0, 512), slice(0, 250)),
    ],
    ids=["above", "below", "left", "right"],
)  # fmt: skip
def test_a_face_cut_off(tmp_path: Path, rows: slice, columns: slice) -> None:
    error = refusal(tmp_path, encoded(np.ascontiguousarray(astronaut()[rows, columns])))
    assert "cut off by the picture's border" in error.message
    assert "leave room" in error.hint


def test_half_a_face_is_none_and_the_hint_asks_for_a_whole_one(tmp_path: Path) -> None:
    error = refusal(tmp_path, encoded(np.ascontiguousarray(astronaut()[:, 225:])))
    assert "no face was found" in error.message
    assert "one whole face" in error.hint


def test_a_blurred_face(tmp_path: Path) -> None:
    error = refusal(tmp_path, encoded(cv2.GaussianBlur(astronaut(), (0, 0), 3)))
    assert "blurred" in error.message


@pytest.mark.parametrize("degrees", [-50, 45, 60, 75])
def test_a_side_face(tmp_path: Path, degrees: float) -> None:
    (face,) = face_landmarks(astronaut(), WEIGHTS)
    error = refusal(tmp_path, encoded(turned(astronaut(), face.points, degrees)))
    assert "the face is turned" in error.message


@pytest.mark.parametrize("degrees", [-20, 0, 20])
def test_a_face_that_looks_past_the_camera_will_do(degrees: float) -> None:
    (face,) = face_landmarks(astronaut(), WEIGHTS)
    picture = turned(astronaut(), face.points, degrees)
    found = face_landmarks(picture, WEIGHTS)
    assert yaw_degrees(found[0].points) == pytest.approx(degrees, abs=9)
    assert isinstance(choose(found, picture), Face)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff\xe0 not really", bytes(5000)])
def test_not_a_picture_at_all(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, data).code == "INVALID_ARGUMENT"


def test_a_cut_off_file(tmp_path: Path) -> None:
    assert "ends too early" in refusal(tmp_path, astronaut_file()[:300_000]).message


def test_a_bomb(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    error = refusal(tmp_path, data + chunk(b"IEND", b""))
    assert error.code == "TOO_LARGE"
    assert "100000x100000" in error.message


def test_a_cancelled_preparation_stops_and_leaves_nothing(tmp_path: Path) -> None:
    place = Workplace(str(tmp_path), WEIGHTS)
    for looks in (0, 3, 40, 200):
        cancel = CancelAfter(looks)
        with pytest.raises(EngineError, match="cancelled") as caught:
            prepare_source(Source("one", data=astronaut_file()), place, nobody, cancel)
        assert caught.value.retryable
        assert [path for path in tmp_path.glob("templates/*") if path.is_dir()] == []


def test_blur_rises_with_blur_and_not_with_size() -> None:
    def of(picture: np.ndarray) -> float:
        return blur(picture, face_landmarks(picture, WEIGHTS)[0])

    sharp = of(astronaut())
    assert of(cv2.GaussianBlur(astronaut(), (0, 0), 1.5)) > sharp + 0.2
    assert of(cv2.GaussianBlur(astronaut(), (0, 0), 4)) > sharp + 0.3
    assert of(moved(astronaut(), zoom=1.0)[::1]) == pytest.approx(sharp, abs=0.05)
    assert of(cv2.resize(astronaut(), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)) == pytest.approx(
        sharp, abs=0.1
    )


def test_runs_are_named_by_frames_and_seconds() -> None:
    none, side = Fault("none", "no face was found", "x"), Fault("side", "the face is turned", "y")
    found = runs([None, none, none, side, None, none])
    assert [(run.first, run.last, run.fault.kind) for run in found] == [
        (1, 2, "none"),
        (3, 3, "side"),
        (5, 5, "none"),
    ]
    text = describe(found, limit=2)
    assert text == (
        "frames 1-2 (0.04-0.12 s): no face was found; frame 3 (0.12-0.16 s): the face is turned; and 1 more"
    )
