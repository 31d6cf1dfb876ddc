"""Eyes stay with the listener while the head moves, and glance aside; closed ones do nothing."""

from __future__ import annotations

import numpy as np
import pytest

from models.api import CROP
from models.warp.eyes import HELD, LIDS, iris, lids
from models.warp.gesture import GLANCE, GLANCES_S, STILL, Gesture, Shape, fields, gesture
from models.warp.track import BACK_US, BLOCK, CONTEXT_BLOCKS, Context

FACE = fields(Shape(128, 135, 216, 38, 90))
ROWS = np.arange(CROP, dtype=np.float32)[:, None]
COLUMNS = np.arange(CROP, dtype=np.float32)
LEFT, RIGHT = (85.0, 66.0), (171.0, 66.0)


def outline(centre: tuple[float, float], height: float = 12.0, width: float = 34.0) -> np.ndarray:
    """Of an eye: f32 ``[18, 2]``, the upper lid from left to right, the lower one back."""
    u = np.linspace(-1, 1, 9)
    lid = np.stack([centre[0] + u * width / 2, centre[1] - (1 - u * u) * height / 2], axis=1)
    return np.concatenate([lid, (lid * (1, -1) + (0, 2 * centre[1]))[::-1]]).astype(np.float32)


EYES = np.stack([outline(LEFT), outline(RIGHT)])


def shift(made: Gesture, shut: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel goes right and down."""
    x, y = FACE.of(made, EYES, shut).sources()
    return COLUMNS - x, ROWS - y


def at(field: np.ndarray, place: tuple[float, float], down: float = 0.0) -> float:
    return float(field[round(place[1] + down), round(place[0])])


def test_irises_stay_behind_when_the_head_nods_and_lids_do_not() -> None:
    for eye in (LEFT, RIGHT):
        nod = at(FACE.of(Gesture(nod=2)).sources()[1] - ROWS, eye) * -1
        _, down = shift(Gesture(nod=2))
        assert at(down, eye) == pytest.approx((1 - HELD) * nod, abs=0.1)
        assert at(down, eye, -16) > 0.9 * nod, "the skin above goes with the head"
        assert at(down, (eye[0], eye[1] + 16)) > 0.9 * nod


def test_a_glance_moves_irises_alone() -> None:
    across, down = shift(Gesture(nod=1e-6, glance=GLANCE))
    for eye in (LEFT, RIGHT):
        assert at(across, eye) == pytest.approx(GLANCE * 34, rel=0.1)
    assert np.abs(down).max() < 0.01
    across[50:82] = 0
    assert np.abs(across).max() < 0.01


def test_nothing_folds() -> None:
    for made in (Gesture(2.9, 1, 3, GLANCE), Gesture(-2.9, -1, 3, -GLANCE)):
        across, down = shift(made)
        assert np.diff(COLUMNS - across, axis=1).min() > 0.2
        assert np.diff(ROWS - down, axis=0).min() > 0.2


def test_closed_eyes_go_with_the_head() -> None:
    plain = FACE.of(Gesture(nod=2)).sources()
    for closed in (FACE.of(Gesture(nod=2), EYES, 1.0), FACE.of(Gesture(nod=2), EYES * (1, 0) + (0, 66))):
        assert all(np.array_equal(a, b) for a, b in zip(closed.sources(), plain, strict=True))
    assert iris(outline(LEFT, height=3), (0, 0)) is None
    assert FACE.of(STILL, EYES).irises == ()


def test_eyes_look_aside_for_moments_while_words_are_heard() -> None:
    words = Context(np.full(CONTEXT_BLOCKS * BLOCK, 4000, np.int16), [], BACK_US, None)
    times = np.arange(0, GLANCES_S, 0.04)
    glances = np.array([gesture(words, float(t)).glance for t in times])
    assert glances.min() == pytest.approx(-GLANCE, rel=0.05)
    assert glances.max() > 0.5 * GLANCE
    assert (np.abs(glances) < 1e-6).mean() > 0.6, "mostly they look at the listener"
    silence = Context(words.pcm * 0, [], BACK_US, None)
    assert all(gesture(silence, float(t)).glance == 0 for t in times)


def test_lids_are_in_pixels_of_the_crop() -> None:
    mesh = np.zeros((2, 468, 3), np.float32)
    mesh[:, LIDS[0][0], :2] = 100, 60
    found = lids(mesh, np.array([[36, 44, 164, 172]] * 2, np.int32))
    assert found.shape == (2, 2, 18, 2)
    assert found[1, 0, 0] == pytest.approx(((100 - 36 + 0.5) * 2 - 0.5, (60 - 44 + 0.5) * 2 - 0.5))
