"""A photo becomes a person: alive, itself, and ready for an engine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import CROP, EngineError
from models.landmarks import Face, face_landmarks, lip_gap, lip_width
from models.media.paste import i420_to_bgr
from models.templates.cache import Prepared
from models.templates.framing import COLUMNS
from models.templates.make import prepare_source
from models.templates.motion import lid
from models.templates.store import Template, open_template
from models.templates.work import BOX_MAX, Source, Workplace
from tests.support.face import eye_gap
from tests.support.pictures import WEIGHTS, astronaut, astronaut_file, encoded, moved, nobody, portrait

U8 = NDArray[np.uint8]


def make(folder: Path, data: bytes, name: str = "one", **settings: object) -> Prepared:
    place = Workplace(str(folder), WEIGHTS)
    return prepare_source(Source(name, data=data, **settings), place, nobody, threading.Event())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return make(tmp_path_factory.mktemp("state"), astronaut_file(), "astronaut")


@pytest.fixture(scope="module")
def template(made: Prepared) -> Template:
    return open_template(str(made.path), made.hash)


def frame(template: Template, n: int) -> U8:
    return i420_to_bgr(template.i420[n % template.frames])


def the_face(picture: U8) -> Face:
    (face,) = face_landmarks(picture, WEIGHTS)
    return face


def test_facts(made: Prepared, template: Template) -> None:
    assert (made.kind, made.frames, made.width, made.height, made.cached) == ("image", 248, 512, 512, False)
    assert made.engines == ["warp"]
    assert made.nbytes >= 248 * 512 * 512 * 3 // 2
    assert template.valid.all()


def test_the_box_stands_still_and_holds_the_face(template: Template) -> None:
    boxes = template.boxes
    assert (boxes % 2 == 0).all()
    assert (boxes == boxes[0]).all(), "a step of it would show at the chin"
    for n in range(0, 248, 31):
        x0, y0, x1, y1 = boxes[n]
        points = the_face(frame(template, n)).points
        mouth, chin = points[[61, 291], :2], points[152, :2]
        assert (mouth > (x0, y0)).all()
        assert (mouth < (x1, y1)).all()
        assert chin[1] < y1
        part = frame(template, n)[y0:y1, x0:x1].astype(int)
        assert np.abs(part - template.roi[n]).mean() < 3, "roi is the box of the frame"


def test_landmarks_lie_on_the_lips_of_every_frame(template: Template) -> None:
    lips = np.load(template.path / "landmarks.npy")
    assert lips.shape == (248, 4 * COLUMNS + 2, 2)
    for n in range(0, 248, 62):
        points = the_face(frame(template, n)).points[:, :2]
        curves = lips[n, : 4 * COLUMNS].reshape(4, COLUMNS, 2)
        wide = lip_width(points)
        assert np.linalg.norm(curves[0, 0] - points[61]) < 0.08 * wide
        assert np.linalg.norm(curves[0, -1] - points[291]) < 0.08 * wide
        assert np.linalg.norm(lips[n, -1] - points[152]) < 0.12 * wide, "the chin"
        assert (np.diff(curves[0, :, 0]) > 0).all()
        assert (curves[3, 1:-1, 1] >= curves[0, 1:-1, 1]).all()


def test_her_lips_meet_at_rest(template: Template) -> None:
    before = the_face(astronaut()).points
    assert lip_gap(before) / lip_width(before) > 0.14
    for n in range(0, 248, 62):
        after = the_face(frame(template, n)).points
        assert lip_gap(after) / lip_width(after) < 0.07


def test_she_blinks_and_opens_her_eyes_again(template: Template) -> None:
    closed = [n for n in range(248) if lid(n, 248) == 1.0]
    assert closed
    open_eyes = eye_gap(the_face(frame(template, closed[0] - 5)).points)
    shut_eyes = eye_gap(the_face(frame(template, closed[0])).points)
    again = eye_gap(the_face(frame(template, closed[0] + 8)).points)
    assert shut_eyes < 0.8 * open_eyes
    assert again == pytest.approx(open_eyes, rel=0.12)


def test_a_closed_lid_is_skin_not_white_or_black(template: Template) -> None:
    closed = next(n for n in range(248) if lid(n, 248) == 1.0)
    points = the_face(frame(template, closed - 5)).points[:, :2]
    picture = cv2.cvtColor(frame(template, closed), cv2.COLOR_BGR2LAB).astype(float)
    cheek = points[[50, 280]].mean(axis=0)
    for eye in ([159, 145], [386, 374]):
        x, y = points[eye].mean(axis=0)
        lid_colour = picture[int(y) - 2 : int(y) + 1, int(x) - 4 : int(x) + 5].reshape(-1, 3).mean(axis=0)
        skin = picture[int(cheek[1]) - 4 : int(cheek[1]) + 4, int(points[50, 0]) - 4 : int(points[50, 0]) + 4]
        assert np.abs(lid_colour - skin.reshape(-1, 3).mean(axis=0))[1:].max() < 14, "hue of the cheek"
        assert lid_colour[0] > 110, "not a hole"


def test_the_loop_closes_and_never_jumps(template: Template) -> None:
    frames = template.i420[:, :512].astype(np.int16)
    steps = np.array([np.abs(frames[n] - frames[n - 1]).mean() for n in range(248)])
    calm = np.array([lid(n, 248) == lid(n - 1, 248) for n in range(248)])
    assert steps[0] <= steps[calm].max(), "from the last frame to the first as between any two"
    assert steps[calm].max() < 3 * np.median(steps[calm])
    assert steps.min() > 0, "always a little movement"


def test_the_picture_s_border_stays_still(template: Template) -> None:
    first = frame(template, 0)
    for n in range(0, 248, 20):
        now = frame(template, n)
        for edge in (np.s_[:2], np.s_[:, :2], np.s_[:, -2:]):
            assert np.abs(now[edge].astype(int) - first[edge]).max() <= 4, "rounding at most"


def test_the_background_far_from_the_head_stays_still(template: Template) -> None:
    assert (template.i420[:, :512][:, 60:300, 470:500] == template.i420[0, 60:300, 470:500]).all()


def test_a_photo_that_fills_the_frame_is_scaled_to_what_a_crop_can_hold(tmp_path: Path) -> None:
    close = cv2.resize(astronaut()[0:256, 90:360], None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    made = make(tmp_path, encoded(close, ".jpg"))
    template = open_template(str(made.path), made.hash)
    box = template.boxes[0]
    assert CROP <= box[2] - box[0] <= BOX_MAX
    assert made.width % 2 == made.height % 2 == 0
    assert made.width / made.height == pytest.approx(270 / 256, abs=0.01)


def test_odd_and_huge_sizes(tmp_path: Path) -> None:
    wide = cv2.copyMakeBorder(astronaut(), 0, 1, 300, 301, cv2.BORDER_REPLICATE)
    made = make(tmp_path, encoded(wide, ".jpg"), "odd")
    assert (made.width, made.height) == (1112, 512)
    huge = cv2.resize(wide, None, fx=3, fy=3)
    made = make(tmp_path, encoded(huge, ".jpg"), "huge")
    assert max(made.width, made.height) == 1280
    assert made.width % 2 == made.height % 2 == 0


def test_the_painted_portrait_can_be_photographed(tmp_path: Path) -> None:
    made = make(tmp_path, encoded(portrait()))
    template = open_template(str(made.path), made.hash)
    box = template.boxes[0]
    assert 230 <= box[2] - box[0] <= 290, "framed as the built-in template is"


def test_a_leaning_head(tmp_path: Path) -> None:
    made = make(tmp_path, encoded(moved(astronaut(), 20, 40, degrees=15)))
    lips = np.load(made.path / "landmarks.npy")[0]
    across = lips[COLUMNS - 1] - lips[0]
    assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(-12, abs=6)


def test_bbox_shift_moves_the_box_down(tmp_path: Path, template: Template) -> None:
    made = make(tmp_path, astronaut_file(), bbox_shift=6)
    shifted = open_template(str(made.path), made.hash)
    assert made.hash != template.hash
    assert np.array_equal(shifted.boxes - template.boxes, np.tile([0, 6, 0, 6], (248, 1)))


def test_from_a_path(tmp_path: Path, template: Template) -> None:
    photo = tmp_path / "photo.dat"
    photo.write_bytes(astronaut_file())
    place = Workplace(str(tmp_path), WEIGHTS, roots=[str(tmp_path)])
    made = prepare_source(Source("one", path=str(photo)), place, nobody, threading.Event())
    assert made.hash == template.hash, "content decides, not the name"
    with pytest.raises(EngineError) as caught:
        prepare_source(Source("two", path=str(tmp_path / "nothing")), place, nobody, threading.Event())
    assert caught.value.code == "NOT_FOUND"


def test_progress_counts_up_to_its_total(tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    place = Workplace(str(tmp_path), WEIGHTS)
    prepare_source(Source("one", data=astronaut_file()), place, lambda *one: said.append(one), threading.Event())
    frames = [(done, total) for phase, done, total in said if phase == "frames"]
    assert frames[-1] == (248, 248)
    assert [done for done, _ in frames] == sorted(done for done, _ in frames)
    assert os.listdir(tmp_path / "templates" / "one" / "idle") == []


def test_of_a_phone_photo_head_and_shoulders_may_be_taken(tmp_path: Path) -> None:
    """A small face in a large picture: framed as the built-in portrait is, with the pixels that the photo has."""
    room = np.full((3200, 2400, 3), 150, np.uint8)
    room[1300:2200, 1200:2100] = cv2.resize(astronaut(), (900, 900), interpolation=cv2.INTER_CUBIC)
    made = make(tmp_path, cv2.imencode(".jpg", room)[1].tobytes(), crop="face")
    whole = the_face(astronaut())
    picture = frame(open_template(str(made.path), made.hash), 0)
    face = the_face(picture)
    assert made.width == made.height
    assert 0.25 < (face.box[2] - face.box[0]) / made.width < 0.5
    middle = (face.box[:2] + face.box[2:]) / 2 / made.width
    assert abs(middle[0] - 0.5) < 0.06
    assert 0.4 < middle[1] < 0.62
    assert face.box[2] - face.box[0] > 1.3 * (whole.box[2] - whole.box[0]), "not from a smaller copy"


def test_a_face_that_is_not_small_keeps_what_is_around_it(tmp_path: Path, made: Prepared) -> None:
    cropped = make(tmp_path, astronaut_file(), crop="face")
    assert (cropped.width, cropped.height) == (made.width, made.height)
