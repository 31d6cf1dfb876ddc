from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import Crops, EngineError
from models.media.paste import BGR_TO_YUV, Paster, bgr_to_i420, i420_to_bgr, own_crop, paster, planes
from models.templates.store import open_template
from tests.support.templates import soft_alpha, write_template

RNG = np.random.default_rng(7)
Floats = NDArray[np.float64]


def noise(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, np.uint8)


def exact_yuv(bgr: Floats) -> tuple[Floats, Floats, Floats]:
    """BT.709 limited in floats, chroma the mean of 2x2."""
    blue, green, red = bgr[..., 0], bgr[..., 1], bgr[..., 2]
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = [(blue - luma) / 1.8556, (red - luma) / 1.5748]
    height, width = luma.shape
    u, v = (128 + c.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) * 224 / 255 for c in chroma)
    return 16 + luma * 219 / 255, u, v


def test_whole_pictures_are_bt709_limited_within_a_level() -> None:
    bgr = noise(54, 66, 3)
    for plane, exact in zip(planes(bgr_to_i420(bgr)), exact_yuv(bgr.astype(np.float64)), strict=True):
        assert np.abs(plane - exact).max() <= 1


@pytest.mark.parametrize(
    ("bgr", "yuv"),
    [  # ITU-R BT.709 limited, rounded
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 255), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((255, 0, 0), (32, 240, 118)),
    ],
)
def test_pure_colours_have_the_standards_values(bgr: tuple[int, ...], yuv: tuple[int, ...]) -> None:
    i420 = bgr_to_i420(np.full((4, 4, 3), bgr, np.uint8))
    assert tuple(int(plane[0, 0]) for plane in planes(i420)) == yuv
    assert np.abs(i420_to_bgr(i420).astype(int) - bgr).max() <= 1


def test_a_rectangle_converts_as_it_does_inside_its_picture() -> None:
    bgr = noise(64, 128, 3)
    whole = planes(bgr_to_i420(bgr))
    for x0, x1 in ((0, 2), (2, 36), (14, 80), (6, 128)):
        part = planes(bgr_to_i420(bgr[10:30, x0:x1]))
        assert np.array_equal(part.y, whole.y[10:30, x0:x1])
        assert np.array_equal(part.u, whole.u[5:15, x0 // 2 : x1 // 2])
        assert np.array_equal(part.v, whole.v[5:15, x0 // 2 : x1 // 2])


@pytest.mark.parametrize("shape", [(3, 4, 3), (4, 3, 3), (4, 4), (4, 4, 4)])
def test_odd_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="even sides"):
        bgr_to_i420(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("box", [100, 200, 256, 300, 420])
def test_paste_is_a_float_blend_within_one_level(tmp_path: Path, box: int) -> None:
    ref = write_template(tmp_path / "t", 8, 512, 512, box=box)
    template = open_template(ref.path, ref.hash)
    tool, alpha = paster(template), template.alpha[..., None] / 255.0
    for pose in (0, 3):
        crop = noise(256, 256, 3)
        x0, y0, x1, y1 = template.boxes[pose]
        method = cv2.INTER_AREA if box < 128 else cv2.INTER_LINEAR
        resized = cv2.resize(crop, (box, box), interpolation=method)
        exact = resized * alpha + template.roi[pose] * (1 - alpha)

        inner = np.flatnonzero(template.alpha.any(axis=0))
        low, high = inner[0] & ~1, (inner[-1] + 2) & ~1
        got = tool.blend(template.roi[pose], crop)
        assert np.abs(got - exact[low:high, low:high]).max() <= 1

        frame = template.i420[pose].copy()
        tool.paste(planes(frame), template.roi[pose], template.boxes[pose], crop)
        pasted = planes(frame)
        y, u, v = exact_yuv(exact)
        assert np.abs(pasted.y[y0:y1, x0:x1] - y).max() <= 2  # a level of blend, and rounding
        assert np.abs(pasted.u[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] - u).max() <= 2
        assert np.abs(pasted.v[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] - v).max() <= 2


def test_where_alpha_is_0_the_templates_bytes_stay() -> None:
    """Even when the cached frame is not what the conversion of ``roi`` would give."""
    alpha = soft_alpha(80, 80)
    alpha[20:30, 20:31] = 0
    frame, roi = noise(96 * 3 // 2, 128), noise(80, 80, 3)
    before = frame.copy()
    Paster(alpha).paste(planes(frame), roi, np.array([20, 10, 100, 90], np.int32), noise(256, 256, 3))
    untouched = np.ones((96, 128), np.bool_)
    untouched[10:90, 20:100] = alpha == 0
    half = untouched.reshape(48, 2, 64, 2).all((1, 3))
    for now, then, mask in zip(planes(frame), planes(before), (untouched, half, half), strict=True):
        assert np.array_equal(now[mask], then[mask])
        assert (now[~mask] != then[~mask]).mean() > 0.9


def test_alpha_255_is_the_crop_itself() -> None:
    crop = noise(256, 256, 3)
    assert np.array_equal(Paster(np.full((256, 256), 255, np.uint8)).blend(noise(256, 256, 3), crop), crop)


def test_an_empty_alpha_changes_nothing() -> None:
    frame = noise(96, 64)
    before = frame.copy()
    nothing = Paster(np.zeros((32, 32), np.uint8))
    nothing.paste(planes(frame), noise(32, 32, 3), np.array([0, 0, 32, 32], np.int32), noise(256, 256, 3))
    assert np.array_equal(frame, before)


def test_the_matrix_is_that_of_the_standard() -> None:
    assert np.allclose(BGR_TO_YUV[0, :3].sum(), 219 / 255)
    assert np.allclose(BGR_TO_YUV[1:, :3].sum(axis=1), 0, atol=1e-7)


def pasted(tool: Paster, roi: NDArray[np.uint8], crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture that is all box, I420, after the paste."""
    height, width = roi.shape[:2]
    frame = bgr_to_i420(roi)
    tool.paste(planes(frame), roi, np.array([0, 0, width, height], np.int32), crop)
    return frame


@pytest.mark.parametrize("box", [200, 300, 384])
def test_what_an_engine_has_not_moved_stays_as_sharp_as_the_template(box: int) -> None:
    roi = cv2.GaussianBlur(noise(box, box, 3), (0, 0), 1.5)
    everything = np.full((box, box), 255, np.uint8)
    tool, plain, before = Paster(everything, own=True), Paster(everything), bgr_to_i420(roi)
    crop = own_crop(roi).copy()
    assert np.array_equal(pasted(tool, roi, crop), before)
    assert np.abs(pasted(plain, roi, crop).astype(int) - before).max() > 2, "nothing is lost on the way: no test"
    crop[100:160, 100:160] = 255 - crop[100:160, 100:160]
    crop[100:160, 100:160] //= 2
    shown, scale = pasted(tool, roi, crop), box / 256
    large = cv2.resize(crop, (box, box), interpolation=cv2.INTER_CUBIC if box > 256 else cv2.INTER_LINEAR)
    exact = exact_yuv(large.astype(np.float64))
    for plane, wanted, then, by in zip(planes(shown), exact, planes(before), (1, 2, 2), strict=True):
        low, high = int(103 * scale / by) + 1, int(157 * scale / by) - 1
        inside = np.s_[low:high, low:high]
        assert np.abs(plane[inside] - wanted[inside]).max() <= (2 if by == 1 else 6)
        low, high = int(94 * scale / by), int(166 * scale / by) + 1
        plane[low:high, low:high] = then[low:high, low:high]
        assert np.array_equal(plane, then)


def test_a_mouth_that_fades_out_ends_in_the_templates_own_pixels() -> None:
    """Each frame comes closer to the template: it does not become sharp all at once at the end."""
    roi = cv2.GaussianBlur(noise(300, 300, 3), (0, 0), 1.5)
    tool, own, before = Paster(np.full((300, 300), 255, np.uint8), own=True), own_crop(roi), bgr_to_i420(roi)
    other = own.copy()
    other[100:160, 100:160] = 128
    apart = [
        float(np.abs(pasted(tool, roi, cv2.addWeighted(other, w, own, 1 - w, 0)).astype(int) - before).mean())
        for w in (1.0, 0.75, 0.5, 0.25, 0.0)
    ]
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] == 0


def test_a_box_as_large_as_a_crop_costs_and_changes_nothing() -> None:
    roi, crop, alpha = noise(256, 256, 3), noise(256, 256, 3), soft_alpha(256, 256)
    assert np.array_equal(pasted(Paster(alpha, own=True), roi, crop), pasted(Paster(alpha), roi, crop))


def soft_mask() -> np.ndarray:
    """A lower face: 255 inside, soft towards its edge, 0 elsewhere."""
    drawn = np.zeros((256, 256), np.uint8)
    cv2.ellipse(drawn, (128, 170), (70, 50), 0, 0, 360, 255, -1)
    return cv2.GaussianBlur(drawn, (31, 31), 0)


def grainy(box: int) -> np.ndarray:
    grain = np.random.default_rng(3).normal(0, 8, (box, box, 3))
    return np.clip(128 + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("box", [200, 256, 300, 384, 768])
def test_outside_of_an_engines_mask_not_a_level_changes(box: int) -> None:
    """Upstream blends at the size of the frame: a crop of 256 pixels must not cost the grain around the face."""
    roi, mask = grainy(box), soft_mask()
    everything = np.full((box, box), 255, np.uint8)
    tool = Paster(everything, masks=np.stack([np.zeros_like(mask), mask]))
    crop = own_crop(roi).copy()
    face = cv2.GaussianBlur(noise(256, 256, 3), (0, 0), 6)
    crop[mask > 0] = face[mask > 0]
    frame = noise((box + 40) * 3 // 2, box + 40)  # not what the conversion of ``roi`` would give
    before, at = frame.copy(), np.array([20, 20, 20 + box, 20 + box], np.int32)
    tool.paste(planes(frame), roi, at, crop, 1)
    shown = cv2.resize(mask, (box, box), interpolation=cv2.INTER_LINEAR)
    changes = np.zeros((box + 40, box + 40), np.bool_)
    changes[20:-20, 20:-20] = shown > 0
    half = changes.reshape(box // 2 + 20, 2, box // 2 + 20, 2).any((1, 3))
    for now, then, where in zip(planes(frame), planes(before), (changes, half, half), strict=True):
        assert np.array_equal(now[~where], then[~where])
        assert (now[where] != then[where]).mean() > 0.9
    found = tool.shown(roi, crop, 1)
    assert found is not None
    area, part = found
    weight = shown[..., None] / 255.0
    wanted = roi * (1 - weight) + cv2.resize(crop, (box, box), interpolation=cv2.INTER_LINEAR) * weight
    assert np.abs(tool.blend(roi, crop, area, part) - wanted[area]).max() <= 1.5
    assert part.size < 0.5 * box * box, "only where the mask is"
    tool.paste(planes(before), roi, at, crop, 0)
    assert not np.array_equal(before, frame), "each pose has its own mask"


@pytest.mark.parametrize("box", [200, 256, 384, 768])
def test_a_mouth_at_rest_leaves_every_byte_of_the_template(box: int) -> None:
    roi = grainy(box)
    tool = Paster(np.full((box, box), 255, np.uint8), masks=soft_mask()[None])
    frame = noise((box + 40) * 3 // 2, box + 40)
    before = frame.copy()
    tool.paste(planes(frame), roi, np.array([20, 20, 20 + box, 20 + box], np.int32), own_crop(roi), 0)
    assert np.array_equal(frame, before)


def test_masks_that_do_not_fit_the_template_are_named(tmp_path: Path) -> None:
    ref = write_template(tmp_path / "t", 8, 512, 512)
    template = open_template(ref.path, ref.hash)
    folder = template.engine_dir("drawn")
    with pytest.raises(EngineError, match=r"mask.npy cannot be read.*Prepare it again"):
        paster(template, "drawn", Crops.MASKED)
    folder.mkdir(parents=True)
    np.save(folder / "mask.npy", np.zeros((7, 256, 256), np.uint8))
    with pytest.raises(EngineError, match="one mask for each of 8 frames"):
        paster(template, "drawn", Crops.MASKED)
    np.save(folder / "mask.npy", np.zeros((8, 256, 256), np.uint8))
    assert paster(template, "drawn", Crops.MASKED).shown(template.roi[0], noise(256, 256, 3), 0) is None
