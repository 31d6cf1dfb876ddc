"""An open mouth of a photo or a film is closed as a smile is, or refused with what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import CROP, EngineError
from models.landmarks import face_landmarks, lip_gap, lip_width
from models.media.paste import i420_to_bgr, paster, planes
from models.registry import CROPS
from models.templates import make as making
from models.templates.make import prepare_source
from models.templates.store import Template, open_template
from models.templates.work import Source, Workplace
from models.warp.engine import render_into
from models.warp.face import FaceState
from models.warp.track import MouthState
from tests.support.pictures import WEIGHTS, encoded, film, leaning, nobody, portrait

U8 = NDArray[np.uint8]
OPEN = {
    "parted": MouthState(open=0.25, weight=1.0),
    "teeth": MouthState(open=0.2, wide=0.9, teeth=1.0, weight=1.0),
    "speaking": MouthState(open=0.45, wide=0.2, weight=1.0),
    "oh": MouthState(open=0.35, round=0.5, weight=1.0),
    "ah": MouthState(open=0.5, weight=1.0),
}
WIDEST = MouthState(open=0.95, weight=1.0)
POSE = 3


@pytest.fixture(scope="module")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """The painted portrait; a quantum of each photo is enough to look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "LOOP", 8)
        yield make(tmp_path_factory.mktemp("state"), encoded(portrait()))


def spoken(template: Template, state: MouthState, pose: int = POSE) -> U8:
    """A frame with the mouth in that state: BGR."""
    crop = np.empty((CROP, CROP, 3), np.uint8)
    render_into(crop, template, pose, FaceState(state))
    frame = np.array(template.i420[pose])
    paster(template, "warp", CROPS["warp"]).paste(planes(frame), template.roi[pose], template.boxes[pose], crop)
    return i420_to_bgr(frame)


def make(folder: Path, data: bytes) -> Template:
    made = prepare_source(Source("one", data=data), Workplace(str(folder), WEIGHTS), nobody, threading.Event())
    return open_template(str(made.path), made.hash)


def openness(picture: U8) -> float:
    (face,) = face_landmarks(picture, WEIGHTS)
    return lip_gap(face.points) / lip_width(face.points)


def mouth(picture: U8, template: Template, pose: int = 0) -> U8:
    """The mouth of a frame, 96 pixels wide."""
    points = np.load(template.path / "mesh.npy")[pose]
    middle, wide = points[[61, 291]].mean(axis=0), float(np.linalg.norm(points[291] - points[61]))
    matrix = np.array([[wide / 72, 0, middle[0] - 48 * wide / 72], [0, wide / 72, middle[1] - 32 * wide / 72]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (96, 72), flags=flags), np.uint8)


def teeth(part: U8) -> int:
    """Pixels that are hardly red: neither lip nor skin of the built-in face, but bright."""
    blue, green, red = (part[..., k].astype(int) for k in range(3))
    return int(((red - green < 22) & (green > 120) & (blue > 90)).sum())


def dark(part: U8) -> int:
    """The thickest dark line, pixels."""
    return int((part.max(axis=-1) < 110).sum(axis=0).max())


def test_what_is_counted_is_seen_in_an_open_mouth(built_in: Template) -> None:
    mesh = face_landmarks(spoken(built_in, OPEN["ah"]), WEIGHTS)[0].points
    x, y = mesh[[61, 291], :2].mean(axis=0).astype(int)
    part = spoken(built_in, OPEN["ah"])[y - 32 : y + 40, x - 48 : x + 48]
    assert teeth(part) > 20
    assert dark(part) > 8


@pytest.mark.parametrize("name", OPEN)
def test_an_open_mouth_is_closed_at_rest(tmp_path: Path, built_in: Template, name: str) -> None:
    source = spoken(built_in, OPEN[name])
    template = make(tmp_path, encoded(source))
    rest = i420_to_bgr(template.i420[0])
    assert openness(rest) < 0.07
    assert teeth(mouth(rest, template)) == 0
    assert dark(mouth(rest, template)) <= 4
    # The lower lip is still there: a band of its colour below the seam.
    part = mouth(rest, template).astype(int)
    lip = ((part[..., 2] - part[..., 1]) > 70).sum(axis=0)[36:60]
    assert lip.min() >= 8


def test_it_speaks_with_one_mouth(tmp_path: Path, built_in: Template) -> None:
    template = make(tmp_path, encoded(spoken(built_in, OPEN["speaking"])))
    for state in (MouthState(closed=1.0, weight=1.0), MouthState(open=0.15, round=1.0, weight=1.0)):
        assert teeth(mouth(spoken(template, state, 0), template)) == 0, "none of the source's"
    assert openness(spoken(template, MouthState(open=0.62, weight=1.0), 0)) > 0.15


def test_so_is_one_of_a_leaning_head(tmp_path: Path, built_in: Template) -> None:
    template = make(tmp_path, encoded(leaning(spoken(built_in, OPEN["speaking"]), 30)))
    assert openness(i420_to_bgr(template.i420[0])) < 0.07


@pytest.mark.parametrize("degrees", [0, -25])
def test_a_mouth_too_wide_open_is_refused(tmp_path: Path, built_in: Template, degrees: float) -> None:
    with pytest.raises(EngineError) as caught:
        make(tmp_path, encoded(leaning(spoken(built_in, WIDEST), degrees)))
    assert caught.value.code == "INVALID_ARGUMENT"
    assert "the mouth is open by" in caught.value.message
    assert "the limit is 26" in caught.value.message
    assert "closed lips" in caught.value.hint


def test_a_film_may_have_a_few_such_frames_which_are_closed_and_marked(tmp_path: Path, built_in: Template) -> None:
    opened = 0.15 + 0.13 * np.sin(0.7 * np.arange(49))
    opened[17:26] = (0.3, 0.5, 0.75, 0.95, 0.95, 0.75, 0.6, 0.4, 0.2)
    states = [MouthState(open=float(gap), weight=1.0) for gap in opened]
    pictures = [spoken(built_in, state, n % 8)[64:448, 64:448] for n, state in enumerate(states)]
    template = make(tmp_path, film(pictures))
    marked = np.flatnonzero(~template.valid[:49]).tolist()
    assert marked == list(range(marked[0], marked[-1] + 1))
    assert {19, 20, 21, 22} <= set(marked) <= set(range(18, 25))
    for n in (5, 12, 18, 20, 21, 24, 33):
        shown = i420_to_bgr(template.i420[n])
        assert openness(shown) < 0.09
        assert teeth(mouth(shown, template, n)) == 0


def test_a_film_of_someone_who_shouts_is_refused_by_its_frames(tmp_path: Path, built_in: Template) -> None:
    pictures = [
        spoken(built_in, WIDEST if 10 <= n < 25 else MouthState(), n % 8)[64:448, 64:448] for n in range(33)
    ]
    with pytest.raises(EngineError) as caught:
        make(tmp_path, film(pictures))
    assert "frames 10-24 (0.40-1.00 s): the mouth is open by" in caught.value.message
    assert "closed lips" in caught.value.hint
