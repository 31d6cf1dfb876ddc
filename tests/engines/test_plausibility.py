"""What looks like a face to the models and is none is refused; no human face is, however it is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import EngineError
from models.landmarks.faces import Agreement, Face, Landmarker, landmarker
from models.landmarks.measure import OUTER_LIPS, OUTER_LIPS_MIRRORED, scatter
from models.templates import checks
from models.templates.film import refuse_doubts
from models.templates.make import prepare_source
from models.templates.work import Source, Workplace
from tests.support.pictures import WEIGHTS, astronaut, encoded, moved, nobody, photo_file, portrait

U8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def models() -> Landmarker:
    return landmarker(WEIGHTS)


def cut(name: str, top: int, left: int, side: int, degrees: float = 0.0) -> U8:
    """A square of a photo, enlarged and turned."""
    picture = cv2.imdecode(np.frombuffer(photo_file(name), np.uint8), cv2.IMREAD_COLOR)
    part = cv2.resize(picture[top : top + side, left : left + side], (512, 512), interpolation=cv2.INTER_CUBIC)
    matrix = cv2.getRotationMatrix2D((256, 256), degrees, 1)
    return np.asarray(cv2.warpAffine(part, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


NO_FACES: dict[str, Callable[[], U8]] = {
    "windows of a rocket": lambda: cut("rocket.jpg", 109, 312, 166, -19),
    "an engine": lambda: cut("motorcycle_left.png", 260, 234, 160),
    "another part of it": lambda: cut("motorcycle_left.png", 286, 260, 160),
}
"""All of them pass for one face, whole, sharp and looking at the camera."""


@pytest.mark.parametrize("name", NO_FACES)
def test_what_is_no_face_is_refused(models: Landmarker, name: str) -> None:
    picture = NO_FACES[name]()
    found = checks.choose(models.faces(picture), picture)
    assert isinstance(found, Face), "no longer of use for this test"
    fault = checks.unlike(models.agreement(picture, found))
    assert fault is not None
    assert "no mouth for certain" in fault.fact
    assert "looking at the camera" in fault.hint


def test_the_refusal_of_a_photo(tmp_path: Path) -> None:
    data = encoded(NO_FACES["an engine"]())
    place = Workplace(str(tmp_path), WEIGHTS)
    with pytest.raises(EngineError, match=r"cannot be used: something like a face .* the limit is") as caught:
        prepare_source(Source("one", data=data), place, nobody, threading.Event())
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_film_is_refused_when_most_looks_see_no_face() -> None:
    doubt = checks.unlike(Agreement(0.06, 0.3, 0.7))
    assert doubt is not None
    with pytest.raises(EngineError, match="this video cannot be used: something like a face"):
        refuse_doubts([doubt, None, doubt])
    refuse_doubts([doubt, None, None])
    refuse_doubts([doubt, None])
    refuse_doubts([])


def sketched(picture: U8) -> U8:
    """As drawn with a pencil."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    lines = cv2.divide(grey, 255 - cv2.GaussianBlur(255 - grey, (0, 0), 5), scale=256)
    return np.asarray(cv2.cvtColor(lines, cv2.COLOR_GRAY2BGR), np.uint8)


def stone(picture: U8) -> U8:
    """Without colour and contrast, grainy."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    grain = np.random.default_rng(1).normal(0, 6, grey.shape)
    pale = np.clip(150 + 0.4 * (grey - 128) + grain, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pale, cv2.COLOR_GRAY2BGR), np.uint8)


def dim(picture: U8) -> U8:
    noise = np.random.default_rng(2).normal(0, 8, picture.shape)
    return np.clip(picture * 0.35 + noise, 0, 255).astype(np.uint8)


def posterised(picture: U8) -> U8:
    """As painted with few colours."""
    return np.asarray(cv2.medianBlur(picture, 5) // 48 * 48 + 24, np.uint8)


def half_lit(picture: U8) -> U8:
    shown = picture.copy()
    shown[:, shown.shape[1] // 2 :] //= 3
    return shown


def coarse(picture: U8) -> U8:
    """Saved once too often."""
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], 1), np.uint8)


def with_glasses(picture: U8, models: Landmarker) -> U8:
    points = models.faces(picture)[0].points[:, :2]
    shown = picture.copy()
    for eye in (points[[33, 133]].mean(axis=0), points[[362, 263]].mean(axis=0)):
        cv2.circle(shown, tuple(int(v) for v in eye), int(np.ptp(points[:, 0]) * 0.19), (20, 20, 20), 3)
    return shown


WAYS: dict[str, Callable[[U8], U8]] = {
    "as it is": lambda p: p, "sketched": sketched, "stone": stone, "dim": dim, "posterised": posterised,
    "half lit": half_lit, "coarse": coarse, "leaning": lambda p: moved(p, zoom=0.9, degrees=25),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "small": lambda p: np.asarray(cv2.resize(p, None, fx=0.72, fy=0.72, interpolation=cv2.INTER_AREA), np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", [astronaut, portrait])
def test_a_human_face_is_one_however_it_is_shown(models: Landmarker, who: Callable[[], U8], way: str) -> None:
    picture = WAYS[way](who())
    looks = models.agreement(picture, models.faces(picture)[0])
    assert looks.lips < 0.8 * checks.MAX_DISAGREEMENT
    assert checks.unlike(looks) is None


def test_glasses_change_nothing(models: Landmarker) -> None:
    for who in (astronaut(), portrait()):
        picture = with_glasses(who, models)
        assert models.agreement(picture, models.faces(picture)[0]).lips < 0.8 * checks.MAX_DISAGREEMENT


SEEN = {
    "a dog, the mouth beside its own": (Agreement(0.0272, 0.487, 0.72), False),
    "another, two mouths": (Agreement(0.0306, 0.098, 0.72), False),
    "a third, the mouth on its nose": (Agreement(0.0209, 0.029, 0.70), False),
    "a bronze man with a hand before his mouth": (Agreement(0.0176, 0.339, 0.56), False),
    "a dog whose mouth is found": (Agreement(0.0131, 0.480, 0.85), True),
    "the Statue of Liberty": (Agreement(0.0149, 0.480, 0.85), True),
    "a girl drawn with large eyes": (Agreement(0.0231, 0.040, 0.82), True),
    "a painted man": (Agreement(0.0163, 0.585, 0.85), True),
    "a marble head in a dim light": (Agreement(0.0137, 0.806, 0.65), True),
    "a mouth torn open": (Agreement(0.0302, 0.999, 0.64), True),
    "a certain face, whatever its mouth does": (Agreement(0.0406, 0.999, 0.85), True),
}
"""What was measured of pictures that are not ours to keep here."""


@pytest.mark.parametrize("what", SEEN)
def test_the_less_sure_a_face_is_the_better_looks_have_to_agree(what: str) -> None:
    looks, kept = SEEN[what]
    assert (checks.unlike(looks) is None) == kept


@pytest.mark.parametrize(("degrees", "usable"), [(20, True), (0, True), (-20, True), (-45, False)])
def test_a_head_that_is_thrown_back_is_refused(models: Landmarker, degrees: float, usable: bool) -> None:
    """The chin comes forward until the mesh takes it for the mouth."""
    picture = portrait()
    (face,) = models.faces(picture)
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    middle = face.points.mean(axis=0)
    turned = (face.points - middle) @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) + middle
    found = checks.choose([face._replace(points=turned.astype(np.float32))], picture)
    assert isinstance(found, Face) == usable
    if isinstance(found, checks.Fault):
        assert "thrown back" in found.fact
        assert "chin lower" in found.hint


def test_scatter_and_the_mirrored_order() -> None:
    points = np.random.default_rng(3).normal(size=(22, 2))
    assert scatter(np.stack([points] * 4)) == 0
    off = np.stack([points, points, points, points + np.array([3.0, 4.0])])
    assert scatter(off) == pytest.approx(5 / 4)
    assert sorted(OUTER_LIPS) == sorted(OUTER_LIPS_MIRRORED)
    assert OUTER_LIPS_MIRRORED[0] == 291
    assert OUTER_LIPS[0] == 61


def covered(picture: U8, models: Landmarker) -> U8:
    """Something as large as half the face before the mouth."""
    points = models.faces(picture)[0].points
    mouth, wide = points[[13, 14], :2].mean(axis=0), float(np.ptp(points[:, 0]))
    shown = picture.copy()
    cv2.ellipse(
        shown, tuple(int(v) for v in mouth), (int(wide / 2), int(wide / 2)), 0, 0, 360, (200, 200, 200), -1
    )
    return shown


def test_a_covered_mouth_is_refused(models: Landmarker) -> None:
    for who in (astronaut(), portrait()):
        picture = covered(who, models)
        found = checks.choose(models.faces(picture), picture)
        if isinstance(found, Face):
            assert checks.unlike(models.agreement(picture, found)) is not None


class Unsure(Landmarker):
    """The mesh as it is for a face drawn with large eyes: it sees the same in every look and is not sure."""

    def __init__(self, models: Landmarker, presence: float, shiver: float) -> None:
        self.__dict__.update(models.__dict__)
        self._presence, self._shiver = presence, shiver
        self._rng = np.random.default_rng(4)

    def _points_in(
        self, bgr: U8, centre: NDArray[np.float32], side: float, angle: float
    ) -> tuple[NDArray[np.float32], float]:
        points, _ = super()._points_in(bgr, centre, side, angle)
        return points + self._rng.normal(0, self._shiver * side, points.shape).astype(np.float32), self._presence


@pytest.mark.parametrize(("presence", "shiver", "sure"), [(0.6, 0.0, True), (0.6, 0.05, False), (0.3, 0.0, False)])
def test_a_face_that_the_mesh_is_not_sure_of_is_one_when_all_looks_agree(
    models: Landmarker, presence: float, shiver: float, sure: bool
) -> None:
    (face,) = Unsure(models, presence, shiver).faces(portrait())
    assert (face.presence >= checks.MIN_PRESENCE) == sure
