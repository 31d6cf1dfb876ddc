"""Head and brows answer to speech, a little, and rest with it."""

from __future__ import annotations

import numpy as np
import pytest

from models.api import CROP, FRAME_SAMPLES, FRAME_US, FUTURE_US, PAST_US, SAMPLE_RATE, SpeechWindow
from models.templates.framing import box_alpha
from models.templates.store import Template
from models.warp.gesture import LEANING_TOP, STILL, Fields, Gesture, Shape, face_alpha, fields, gesture
from models.warp.track import BACK_US, BLOCK, CENTRE, CONTEXT_BLOCKS, Context, contexts

SHAPE = Shape(128, 135, 216, 38, 90)
SIDE_BY_SIDE = np.arange(CROP, dtype=np.float32)


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """Bursts of noise at the pace of syllables, some stressed, with a pause: s16."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    syllables = np.clip(np.sin(2 * np.pi * 4.1 * t), 0, 1) * (0.35 + 0.65 * (np.sin(2 * np.pi * 0.9 * t) > 0.3))
    syllables *= (t < 0.6 * seconds) | (t > 0.75 * seconds)
    noise = np.random.default_rng(seed).normal(0, 6000, len(t))
    return (noise * syllables).astype(np.int16)


def gestures(pcm: np.ndarray, template: Template | None = None) -> np.ndarray:
    """Nod, sway and brow of every frame of a turn: ``[n, 3]``."""
    frames = len(pcm) // FRAME_SAMPLES
    past, future = (us * SAMPLE_RATE // 1_000_000 for us in (PAST_US, FUTURE_US))
    padded = np.concatenate([np.zeros(past, np.int16), pcm[: frames * FRAME_SAMPLES], np.zeros(future, np.int16)])
    window = SpeechWindow(template, 0, frames, 0, padded, [], [], 0.5, 0, frames * FRAME_US)  # type: ignore[arg-type]
    return np.array([gesture(context, k / 25) for k, context in enumerate(contexts(window))])


def test_brows_and_head_answer_to_what_is_stressed() -> None:
    pcm = voice(6)
    found = gestures(pcm)
    loud = np.sqrt((pcm.reshape(len(found), -1).astype(float) ** 2).mean(axis=1))
    for column, most in ((0, 3.5), (2, 3.5)):
        assert 0.8 < np.abs(found[:, column]).max() < most, "seen, and little"
        by_lag = [np.corrcoef(found[lag:, column], loud[: len(loud) - lag])[0, 1] for lag in range(6)]
        assert max(by_lag) > 0.3
    assert 0.4 < np.abs(found[:, 1]).max() < 1.3
    assert found[:, 2].min() == 0, "brows are not lowered"


def test_they_move_smoothly() -> None:
    found = gestures(voice(6))
    assert np.abs(np.diff(found, axis=0)).max() < 1.0
    assert np.abs(np.diff(found, 2, axis=0)).max() < 0.7


def test_they_rest_in_a_pause_and_at_the_ends_of_a_turn() -> None:
    found = gestures(voice(6))
    pause = slice(int(0.6 * 150) + 12, int(0.75 * 150) - 3)
    assert np.abs(found[pause]).max() < 0.5
    assert np.abs(found[[0, -1]]).max() < 0.3
    pcm = np.full(CONTEXT_BLOCKS * BLOCK, 4000, np.int16)
    assert gesture(Context(pcm, [], 0, None), 1.0) == STILL
    assert gesture(Context(pcm, [], BACK_US, 0), 1.0) == STILL
    assert gesture(Context(pcm * 0, [], BACK_US, None), 1.0) == STILL
    quiet = pcm.copy()
    quiet[CENTRE - SAMPLE_RATE :] = 0
    assert np.abs(gesture(Context(quiet, [], BACK_US, None), 1.0)).max() < 0.05


def test_loudness_of_the_recording_does_not_matter() -> None:
    pcm = voice(3)
    assert gestures(pcm // 3) == pytest.approx(gestures(pcm), abs=0.3)


@pytest.fixture(scope="module")
def face() -> Fields:
    return fields(SHAPE)


def test_the_border_of_the_crop_stands_still(face: Fields) -> None:
    x, y = face.of(Gesture(3, 2, 3)).sources()
    inside = np.zeros((CROP, CROP), bool)
    inside[5:-8, 12:-12] = True
    assert np.abs(x - SIDE_BY_SIDE)[~inside].max() < 0.02
    assert np.abs(y - SIDE_BY_SIDE[:, None])[~inside].max() < 0.02


def test_nothing_folds(face: Fields) -> None:
    for nod in (-3, 3):
        x, y = face.of(Gesture(nod, 2, 3)).sources()
        assert np.diff(x, axis=1).min() > 0.7
        assert np.diff(y, axis=0).min() > 0.7


def test_brows_rise_and_the_eyes_follow_a_little(face: Fields) -> None:
    up = face.brow
    brow, eye = up[38, 90], up[66, 90]
    assert brow > 0.7
    assert 0.05 < eye < 0.5 * brow
    assert len(up) < 135 or np.abs(up[135:]).max() < 0.01, "the mouth does not feel it"
    assert face.of(Gesture(brow=2)).at((90, 38))[1] == pytest.approx(-2 * brow)


def test_the_mouth_goes_with_the_head(face: Fields) -> None:
    right, down = face.of(Gesture(2, 1, 0)).at((128, 180))
    assert down == pytest.approx(2, rel=0.15)
    assert 0.5 < right < 1.2


def test_a_leaning_head_moves_where_its_box_is() -> None:
    turned = fields(SHAPE, leaning=True)
    assert turned.brow.size == 0
    assert np.abs(turned.depth[:LEANING_TOP]).max() == 0
    assert turned.of(Gesture(2, 0, 3)).at((128, 180))[1] == pytest.approx(2, rel=0.2)


def test_a_picture_at_rest_is_the_picture(face: Fields) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (CROP, CROP, 3), np.uint8)
    out = np.zeros_like(picture)
    nowhere = slice(CROP, CROP)
    face.of(STILL).draw(picture, out, nowhere, nowhere)
    assert np.array_equal(out, picture)


def test_the_paste_reaches_the_brows_and_is_the_same_below() -> None:
    lower = box_alpha(CROP)
    alpha = face_alpha(lower)
    assert np.array_equal(alpha[CROP // 2 :], lower[CROP // 2 :])
    assert alpha[30, 60] == 255
    assert alpha[0].max() == 0
    assert alpha[:, 0].max() == 0
