"""Boxes lie where the face is, and hold what is pasted of it at any angle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.landmarks import measure
from models.templates.framing import COLUMNS, LEAN, box_alpha, framed, lip_landmarks, whole_alpha
from models.warp.lean import put_back, turns, upright, upright_points, within

SIDE, SIZE = 256, (700, 700)
POINTS = {
    measure.LEFT_EYE_OUTER: (-60, -60), 133: (-20, -60), 362: (20, -60), measure.RIGHT_EYE_OUTER: (60, -60),
    measure.LEFT_CHEEK: (-98, -40), measure.RIGHT_CHEEK: (98, -40), measure.NOSE_BASE: (0, 10),
    172: (-70, 50), 397: (70, 50), 46: (-62, -90), 276: (62, -90), measure.CHIN: (0, 91),
}  # fmt: skip


def mesh(roll: float = 0.0) -> NDArray[np.float64]:
    """The points that count, in a picture of 700x700; all others in its middle."""
    points = np.zeros((468, 2))
    for index, place in POINTS.items():
        points[index] = place
    for indices, height in (
        (measure.LIPS_UPPER_OUTER, -12), (measure.LIPS_UPPER_INNER, 0), (measure.LIPS_LOWER_INNER, 0),
        (measure.LIPS_LOWER_OUTER, 16),
    ):  # fmt: skip
        x = np.linspace(-1, 1, len(indices))
        points[list(indices)] = np.stack([38 * x, 40 + height * (1 - x * x)], axis=1)
    points[[61, 291]] = (-40, 40), (40, 40)
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return points @ np.array([[cos, sin], [-sin, cos]]) + (350, 350)


@pytest.mark.parametrize("roll", [0.0, 3.0, -3.5])
def test_an_upright_face_has_its_own_box(roll: float) -> None:
    found = framed(mesh(roll)[None], SIDE, SIZE)
    assert found.axes is None
    assert np.array_equal(found.alpha, box_alpha(SIDE))
    assert np.abs(found.origins[0] + SIDE / 2 - (350, 355)).max() < 8


@pytest.mark.parametrize("roll", [5.0, -22.0, 45.0, -60.0, 90.0])
def test_the_box_of_a_leaning_face_holds_what_is_pasted(roll: float) -> None:
    found = framed(mesh(roll)[None], SIDE, SIZE)
    assert found.axes is not None
    assert found.axes[0, 2] == pytest.approx(roll, abs=0.01)
    assert np.array_equal(found.alpha, whole_alpha(SIDE))
    level = framed(mesh()[None], SIDE, SIZE).origins[0] + SIDE / 2 - 350
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    assert np.allclose(
        found.axes[0, :2] - 350, (cos * level[0] - sin * level[1], sin * level[0] + cos * level[1]), atol=2
    )
    boxes = np.concatenate([found.origins, found.origins + SIDE], axis=1)
    turn = turns(found.axes, boxes)[0]
    rows, columns = np.nonzero(box_alpha(SIDE) >= 128)
    place = np.rint(np.stack([columns, rows], axis=1) @ turn[:, :2].T + turn[:, 2]).astype(int)
    assert (place >= 0).all()
    assert (place < SIDE).all()
    assert whole_alpha(SIDE)[place[:, 1], place[:, 0]].min() > 100
    pasted = within(found.alpha, turn[None])
    assert (pasted[place[:, 1], place[:, 0]] == found.alpha[place[:, 1], place[:, 0]]).all()
    eyes = np.rint(np.array([[88.0, 60.0], [168.0, 60.0]]) @ turn[:, :2].T + turn[:, 2]).astype(int)
    assert (pasted[eyes[:, 1].clip(0, SIDE - 1), eyes[:, 0].clip(0, SIDE - 1)] == 0).all()


def test_a_film_leans_as_a_whole_or_not_at_all() -> None:
    still = np.stack([mesh(roll) for roll in (0, LEAN - 1, 1 - LEAN)])
    sways = np.stack([mesh(roll) for roll in (0, LEAN + 1, 0)])
    assert framed(still, SIDE, SIZE).axes is None
    axes = framed(sways, SIDE, SIZE).axes
    assert axes is not None
    assert axes[:, 2] == pytest.approx([0, LEAN + 1, 0], abs=0.01)


def test_boxes_stay_inside_the_picture() -> None:
    for roll in (0.0, 30.0):
        corner = framed(mesh(roll)[None] - 300, SIDE, SIZE).origins[0]
        assert (corner >= 0).all()
        assert (corner % 2 == 0).all()


@pytest.mark.parametrize("roll", [10.0, -45.0, 90.0])
def test_lips_are_followed_along_the_face(roll: float) -> None:
    level, leaning = lip_landmarks(mesh()), lip_landmarks(mesh(roll), roll)
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    turned = (level - 350) @ np.array([[cos, sin], [-sin, cos]]) + 350
    assert leaning.shape == (4 * COLUMNS + 2, 2)
    assert np.abs(leaning - turned).max() < 0.01


def test_crooked_eyes_do_not_make_a_face_lean() -> None:
    points = mesh()
    points[[measure.LEFT_EYE_OUTER, 133]] += (0, 9)
    assert np.degrees(np.arctan2(-9, 120)) < -4
    assert abs(measure.roll_degrees(points)) < 2


def test_what_was_not_touched_comes_back_as_it_was() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    found = framed(mesh(25)[None], SIDE, SIZE)
    assert found.axes is not None
    boxes = np.concatenate([found.origins, found.origins + SIDE], axis=1)
    turn = turns(found.axes, boxes)[0]
    before = upright(picture, turn)
    out = picture.copy()
    put_back(out, before, before.copy(), turn)
    assert np.array_equal(out, picture)
    after = before.copy()
    after[170:190, 110:150] = 255
    put_back(out, before, after, turn)
    apart = (out != picture).any(axis=-1)
    y, x = np.nonzero(apart)
    place = upright_points(np.stack([x, y], axis=1).astype(np.float32), turn)
    assert (place.min(axis=0) > (102, 162)).all()
    assert (place.max(axis=0) < (158, 198)).all()
    ((x, y),) = np.rint(np.array([[130.0, 180.0]]) @ turn[:, :2].T + turn[:, 2]).astype(int)
    assert (out[y, x] == 255).all()
