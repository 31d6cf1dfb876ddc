"""A head that leans speaks along its own axes: as the same head upright, turned. One that lies is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import CROP, EngineError
from models.landmarks import face_landmarks
from models.landmarks.measure import roll_degrees
from models.media.paste import i420_to_bgr, paster, planes
from models.registry import CROPS
from models.templates import make as making
from models.templates.cache import Prepared
from models.templates.make import prepare_source
from models.templates.store import Template, open_template
from models.templates.work import Source, Workplace
from models.warp.engine import render_into
from models.warp.face import FaceState
from models.warp.track import MouthState
from tests.support.pictures import WEIGHTS, astronaut, encoded, film, leaning, nobody, portrait, straightened

U8 = NDArray[np.uint8]
ANGLES = (8, -16, 22, -30, 45)
SPOKEN = {
    "a": MouthState(open=0.62, wide=0.1, weight=1.0),
    "i": MouthState(open=0.16, wide=0.9, teeth=0.3, weight=1.0),
    "u": MouthState(open=0.15, round=1.0, weight=1.0),
    "f": MouthState(open=0.10, bite=1.0, weight=1.0),
}
LOWER_FACE = np.s_[265:425, 165:345]
"""Of the painted portrait: between the eyes and the collar."""


def make(folder: Path, data: bytes) -> Prepared:
    return prepare_source(Source("one", data=data), Workplace(str(folder), WEIGHTS), nobody, threading.Event())


def opened(folder: Path, picture: U8) -> Template:
    made = make(folder, encoded(picture))
    return open_template(str(made.path), made.hash)


@pytest.fixture(scope="module", autouse=True)
def short_loops() -> Iterator[None]:
    """A quantum of each photo is enough to look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "LOOP", 8)
        yield


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Template]:
    return {a: opened(tmp_path_factory.mktemp("state"), leaning(portrait(), a)) for a in (0, *ANGLES)}


def crop(template: Template, state: MouthState, pose: int = 0) -> U8:
    out = np.empty((CROP, CROP, 3), np.uint8)
    render_into(out, template, pose, FaceState(state))
    return out


def pasted(template: Template, state: MouthState, pose: int = 0) -> U8:
    """A frame as the encoder gets it: I420."""
    frame = np.array(template.i420[pose])
    tool = paster(template, "warp", CROPS["warp"])
    tool.paste(planes(frame), template.roi[pose], template.boxes[pose], crop(template, state, pose))
    return frame


def lower_face(frame: U8, angle: int) -> NDArray[np.float64]:
    return straightened(i420_to_bgr(frame), angle)[LOWER_FACE].astype(np.float64)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("sound", SPOKEN)
def test_it_speaks_as_the_upright_one_turned(templates: dict[int, Template], angle: int, sound: str) -> None:
    upright, leans = templates[0], templates[angle]
    wanted = lower_face(pasted(upright, SPOKEN[sound]), 0)
    rest = lower_face(upright.i420[0], 0)
    shown = lower_face(pasted(leans, SPOKEN[sound]), angle)
    turned = np.abs(lower_face(leans.i420[0], angle) - rest).mean()
    assert np.abs(shown - wanted).mean() < turned + 0.12 * np.abs(wanted - rest).mean() + 0.2
    # No ghost of the old corner, no tear: nowhere is a patch of another colour.
    assert cv2.blur(np.abs(shown - wanted).mean(axis=-1), (9, 9)).max() < 42


@pytest.mark.parametrize("angle", ANGLES)
def test_the_mouth_opens_along_the_face(templates: dict[int, Template], angle: int) -> None:
    (face,) = face_landmarks(i420_to_bgr(pasted(templates[angle], SPOKEN["a"])), WEIGHTS)
    down = face.points[14, :2] - face.points[13, :2]
    assert np.linalg.norm(down) > 10
    assert np.degrees(np.arctan2(-down[0], down[1])) == pytest.approx(angle, abs=4)


@pytest.mark.parametrize("angle", ANGLES)
def test_only_its_lower_face_changes(templates: dict[int, Template], angle: int) -> None:
    template = templates[angle]
    frame, own = pasted(template, SPOKEN["a"]), template.i420[0]
    height, width = template.height, template.width
    y, x = np.mgrid[:height, :width]
    middle_x, middle_y, roll = np.load(template.path / "axes.npy")[0]
    side = int(np.ptp(template.boxes[0, ::2]))
    down = (y - middle_y) * np.cos(np.radians(roll)) - (x - middle_x) * np.sin(np.radians(roll))
    apart = frame[:height] != own[:height]
    assert apart.sum() > 5000
    assert not apart[down < -0.18 * side].any(), "nothing moves from the nose up"
    x0, y0, x1, y1 = template.boxes[0]
    apart[y0:y1, x0:x1] = False
    assert not apart.any()


def test_every_pose_and_every_call_is_alike(templates: dict[int, Template]) -> None:
    template = templates[22]
    first = [crop(template, SPOKEN["i"], pose).tobytes() for pose in range(8)]
    again = [crop(template, SPOKEN["i"], pose).tobytes() for pose in reversed(range(8))]
    assert first == again[::-1]


def test_a_photo_speaks_so_too(tmp_path: Path) -> None:
    template = opened(tmp_path, leaning(astronaut(), -30))
    (face,) = face_landmarks(i420_to_bgr(pasted(template, SPOKEN["a"])), WEIGHTS)
    down = face.points[14, :2] - face.points[13, :2]
    assert np.degrees(np.arctan2(-down[0], down[1])) == pytest.approx(roll_degrees(face.points), abs=5)


def test_a_film_of_a_head_that_sways(tmp_path: Path) -> None:
    angles = [28 * np.sin(np.pi * n / 12) for n in range(25)]
    made = make(tmp_path, film([leaning(portrait()[100:420, 100:420], a) for a in angles]))
    template = open_template(str(made.path), made.hash)
    for pose in (0, 6, 18, 24):
        (face,) = face_landmarks(i420_to_bgr(pasted(template, SPOKEN["a"], pose)), WEIGHTS)
        down = face.points[14, :2] - face.points[13, :2]
        assert np.degrees(np.arctan2(-down[0], down[1])) == pytest.approx(angles[pose], abs=8)


@pytest.mark.parametrize(
    ("angle", "said", "back"),
    [(90, 91, "counter-clockwise"), (-90, 89, "clockwise"), (180, 179, ""), (-70, 69, "clockwise")],
)
@pytest.mark.parametrize("kind", ["photo", "film"])
def test_one_that_lies_is_refused_with_its_degrees(
    tmp_path: Path, angle: int, said: int, back: str, kind: str
) -> None:
    picture = leaning(portrait(), angle)
    data = encoded(picture) if kind == "photo" else film([picture] * 2)
    with pytest.raises(EngineError) as caught:
        make(tmp_path, data)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert f"leans to the side, by about {said} degrees; the limit is 60" in caught.value.message
    assert f"turn the picture upright, about {said} degrees {back}" in caught.value.hint


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_so_is_one_in_which_no_face_is_found_as_it_lies(tmp_path: Path, angle: int) -> None:
    with pytest.raises(EngineError, match=r"leans to the side, by about (8|9|17)\d degrees"):
        make(tmp_path, encoded(np.ascontiguousarray(np.rot90(astronaut(), angle // 90))))


@pytest.mark.parametrize(("quarters", "said"), [(1, r"8\d"), (2, r"17\d")])
def test_a_small_one_in_a_large_picture_is_looked_at_closely(tmp_path: Path, quarters: int, said: str) -> None:
    """What finds small faces sees an upright one in a face that is upside down."""
    scene = np.full((1280, 1280, 3), 128, np.uint8)
    scene[384:896, 256:768] = np.rot90(astronaut(), quarters)
    with pytest.raises(EngineError, match=rf"leans to the side, by about {said} degrees"):
        make(tmp_path, encoded(scene))
