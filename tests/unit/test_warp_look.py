"""What is drawn into a picture is as sharp, as bright and as colourful as the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.api import CROP
from models.warp.corners import mended
from models.warp.geometry import COLUMNS, Pose, field
from models.warp.lips import shade
from models.warp.look import Look, look, measure
from models.warp.mouth import inside
from models.warp.track import REST, MouthState

SKIN = np.array([170.0, 195, 228])


def pose() -> Pose:
    x = np.linspace(90, 166, COLUMNS, dtype=np.float32)
    arc = 1 - ((x - 128) / 38) ** 2
    curves = np.stack([np.stack([x, 180 + k * arc], axis=1) for k in (-10, 0, 0, 14)]).astype(np.float32)
    return Pose(curves, np.asarray([128, 152], np.float32), np.asarray([128, 231], np.float32))


def smile() -> Pose:
    """The same mouth in a face that is smaller by as much as a smile widens a mouth."""
    wide = pose().curves.copy()
    wide[..., 0] = 128 + (wide[..., 0] - 128) * 1.3
    return Pose(wide, pose().nose, pose().chin)


def face(lip: tuple[float, ...] = (128, 125, 205), blur: float = 0.0, grain: float = 0.0) -> np.ndarray:
    """A plain face with brows, lips and a dark line between them: u8 BGR ``[CROP, CROP, 3]``."""
    picture = np.full((CROP, CROP, 3), SKIN, np.float32)
    picture[70:74, 60:196] = 40
    x = pose().curves[0, :, 0]
    outline = np.vstack([pose().curves[0], pose().curves[3, ::-1]])
    cv2.fillPoly(picture, [np.rint(outline).astype(np.int32)], lip)
    cv2.line(picture, (int(x[0]), 180), (int(x[-1]), 180), (40, 35, 60), 2)
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture += np.random.default_rng(1).normal(0, 1, picture.shape[:2])[..., None] * grain
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def look_of(picture: np.ndarray) -> Look:
    return look(measure(picture, pose().curves, pose().nose, pose().chin))


@pytest.mark.parametrize("blur", [1.2, 2.0, 3.5])
def test_the_blur_of_a_picture_is_found(blur: float) -> None:
    assert look_of(face(blur=blur)).soft == pytest.approx(blur, rel=0.25)


def test_a_sharp_picture_is_sharp_and_its_inside_too() -> None:
    sharp = look_of(face())
    assert sharp.soft < 0.9
    assert sharp.edge < 1.3


def test_what_is_drawn_is_as_soft_as_the_picture() -> None:
    step = np.zeros((3, 40, 40), np.float32)
    step[:, :, 20:] = 200
    seen = look_of(face(blur=2.5)).seen(step, 0)[1, 20]
    assert np.diff(seen).max() < 0.5 * 200 / 2.5


def test_grain_is_found_and_laid_over() -> None:
    clean, grainy = look_of(face(blur=1.0)), look_of(face(blur=1.0, grain=3.0))
    assert clean.grain.std() < 0.4 < 1.0 < grainy.grain.std() < 3.0


def test_a_grey_picture_has_a_grey_mouth() -> None:
    grey = np.repeat(cv2.cvtColor(face(), cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    found = look_of(grey)
    red = found.seen(np.repeat(np.float32([60, 60, 200]), 64).reshape(3, 8, 8), 0)
    assert np.ptp(red.mean(axis=(1, 2)) / found.light) < 4


def test_a_dark_corner_goes_when_the_lips_are_rounded_and_stays_at_rest() -> None:
    picture, mouth = face(), pose()
    corner = np.s_[178:183, 88:96]
    found = look_of(picture)
    assert np.array_equal(mended(picture, mouth, REST, found), picture)
    assert np.array_equal(mended(picture, mouth, MouthState(closed=1.0, weight=1.0), found), picture)
    rounded = mended(picture, mouth, MouthState(0.14, 0, 1.0, weight=1.0), found)
    assert picture[corner].min() < 60
    assert rounded[corner].min() > 80
    smiling = mended(picture, smile(), MouthState(0.14, 0, 1.0, weight=1.0), found)
    assert smiling[corner].min() > 100, "the line of a smile goes with it"


@pytest.mark.parametrize(("lip", "pale"), [((128, 125, 205), False), ((158, 182, 218), True)])
def test_the_corners_of_red_lips_stay_red(lip: tuple[float, ...], pale: bool) -> None:
    picture = face(lip)
    rounded = mended(picture, pose(), MouthState(0.14, 0, 1.0, weight=1.0), look_of(picture))
    line = rounded[180, 96:104].astype(float).mean(axis=0)
    assert (line[1] > 100) == pale


@pytest.mark.parametrize(("lip", "pale"), [((128, 125, 205), False), ((158, 182, 218), True)])
def test_only_pale_lips_redden_as_they_are_rounded(lip: tuple[float, ...], pale: bool) -> None:
    picture = face(lip)
    middle = np.s_[187:191, 120:137]
    before = picture[middle].astype(float).mean(axis=(0, 1))
    rounded = mended(picture, pose(), MouthState(0.14, 0, 1.0, weight=1.0), look_of(picture))
    spread = mended(picture, pose(), MouthState(0.3, 0.8, weight=1.0), look_of(picture))
    upper = np.s_[173:177, 120:137]
    assert (spread[upper].mean() < 0.95 * picture[upper].mean()) == pale, "it is seen over the teeth"
    blue, green, red = rounded[middle].astype(float).mean(axis=(0, 1)) / before
    assert (green < 0.93 and red > green) == pale
    assert (abs(blue - 1) < 0.01) != pale
    assert np.array_equal(spread[middle], picture[middle])


def test_folds_relax_as_the_mouth_is_rounded_and_hair_stays() -> None:
    picture = face()
    cv2.line(picture, (182, 172), (176, 205), (140, 165, 200), 3)
    picture = cv2.GaussianBlur(picture, (0, 0), 2)
    picture[:, 205:] = (20, 25, 40)
    found, mouth = look_of(picture), pose()

    def depth(shown: np.ndarray) -> float:
        row = shown[190, 170:195, 1].astype(float)
        return float(row.max() - row.min())

    rounded = mended(picture, mouth, MouthState(0.1, 0, 1.0, weight=1.0), found)
    pressed = mended(picture, mouth, MouthState(0, 0, 0.3, closed=1.0, weight=1.0), found)
    assert depth(rounded) < 0.7 * depth(picture)
    assert depth(pressed) == depth(picture)
    assert np.abs(rounded[:, 205:].astype(int) - picture[:, 205:]).max() <= 2


@pytest.mark.parametrize(("gap", "teeth"), [(0.04, False), (0.30, True)])
def test_lips_that_just_part_show_a_dark_slit(gap: float, teeth: bool) -> None:
    mouth = MouthState(gap, weight=1.0)
    move, _ = field(pose(), mouth).between_corners()
    first = int(move.upper_edge.min()) - move.y0
    rows = slice(first, int(move.lower_edge.max()) + 1 - move.y0)
    drawn = inside(move, mouth, rows, pose().half, look_of(face()))
    middle = int(np.abs(move.u).argmin())
    top, bottom = (float(edge[middle]) - move.y0 - first for edge in (move.upper_edge, move.lower_edge))
    column = drawn[1, int(np.ceil(top)) : int(bottom) + 1, middle + 5]
    assert (column.max() > 150) if teeth else (column.max() < 80)


def test_rounded_lips_shade_into_their_opening() -> None:
    mouth = MouthState(0.15, 0, 1.0, weight=1.0)
    move = field(pose(), mouth)
    plain = np.full((*move.map_x.shape, 3), 160, np.uint8)
    shaded = plain.copy()
    between, column = move.between_corners()
    shade([shaded], between, column, mouth, pose().half)
    middle = column + int(np.abs(between.u).argmin())
    edge = int(between.lower_edge.max()) - move.y0
    assert shaded[edge, middle, 1] < shaded[edge + 3, middle, 1] < shaded[edge + 9, middle, 1]
    assert np.array_equal(shaded[edge + 20 :], plain[edge + 20 :])
    shade([plain], between, column, MouthState(0.5, weight=1.0), pose().half)
    assert (plain == 160).all(), "other lips are as they are"


def test_teeth_are_light_and_nearly_white_and_the_line_between_their_rows_is_seen() -> None:
    picture = face()
    mouth = MouthState(0.25, 0.4, teeth=0.9, weight=1.0)
    move, _ = field(pose(), mouth).between_corners()
    first = int(move.upper_edge.min()) - move.y0
    rows = slice(first, int(move.lower_edge.max()) + 1 - move.y0)
    drawn = inside(move, mouth, rows, pose().half, look_of(picture))
    middle = int(np.abs(move.u).argmin()) + 5
    top, bottom = (float(edge[middle]) - move.y0 - first for edge in (move.upper_edge, move.lower_edge))
    column = drawn[:, int(np.ceil(top)) + 1 : int(bottom), middle].T
    lightest = column[column.sum(axis=1).argmax()]
    assert lightest.max() > 0.95 * SKIN.max()
    assert np.ptp(lightest) / lightest.max() < 0.22, "as little colour as teeth have"
    luma = column @ np.array([0.07, 0.72, 0.21])
    assert luma[luma.argmax() :].min() < 0.85 * luma.max(), "no plain band"


@pytest.mark.parametrize(("dark", "hair"), [(1.0, 0.0), (0.85, 0.0), (0.3, 1.0)])
def test_a_moustache_is_seen(dark: float, hair: float) -> None:
    picture = face().astype(np.float32)
    picture[155:172, 96:160] *= dark
    assert look_of(picture.astype(np.uint8)).hair == pytest.approx(hair, abs=0.1)


@pytest.mark.parametrize(("level", "hair"), [(0.3, 1.0), (0.8, 0.0)])
@pytest.mark.parametrize("sides", [(-1,), (-1, 1)])
def test_a_thin_moustache_is_seen_and_a_fold_is_none(level: float, hair: float, sides: tuple[int, ...]) -> None:
    """Its ends go on beyond both corners of the mouth; skin above the lip is bare."""
    picture = face()
    for side in sides:
        strand = np.array([[128 + side * x, y] for x, y in ((20, 168), (38, 172), (56, 170), (70, 158))], np.int32)
        cv2.polylines(picture, [strand], False, [int(v * level) for v in SKIN], 3, cv2.LINE_AA)
    assert look_of(picture).hair == pytest.approx(hair if len(sides) == 2 else 0.0, abs=0.1)


def test_corners_are_not_lightened_into_a_moustache() -> None:
    picture = face()
    picture[155:180, 84:172] = (35, 40, 45)
    found = look_of(picture)
    assert found.hair == 1
    rounded = mended(picture, pose(), MouthState(0.14, 0, 1.0, weight=1.0), found)
    assert np.abs(rounded[155:172, 84:172].astype(int) - picture[155:172, 84:172]).max() < 16
