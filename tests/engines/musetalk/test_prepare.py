"""Parity of preparation and blending: P1 to P5, B1 to B3, V1, V2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from models.api import EngineError
from models.media import paste
from models.musetalk import bisenet, geometry, masks, pose, s3fd
from models.musetalk.faces import LOWER, OVAL, Found, Mesh, Networks, Part, choose_source, several
from models.musetalk.prepare import ranges
from models.musetalk.prepared import compose, to_template_crop
from models.musetalk.tensors import PreparationNetworks, encode, vae_inputs
from tests.engines.musetalk.checkpoints import tiny
from tests.engines.musetalk.published import pasted
from tests.support.doubles import quiet


class Nobody:
    """Runs no networks."""

    def tensors(self, kind: str, arrays: Any, progress: Any) -> list[np.ndarray]:
        raise AssertionError(f"nobody was to be asked for {kind}")


nobody = Nobody()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return cv2.GaussianBlur(random.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 2)


def face_points(x: float = 100, y: float = 80, size: float = 100) -> np.ndarray:
    """68 points whose extremes and bridge are known."""
    points = np.full((68, 2), (x + size / 2, y + size / 2))
    points[0], points[16], points[8] = (x, y + 40), (x + size, y + 40), (x + size / 2, y + size)
    points[19], points[29] = (x + 20, y + 5), (x + size / 2, y + 45)
    return points


# --- P4: boxes ----------------------------------------------------------------------------------------------


def test_p4_boxes_of_hand_made_faces() -> None:
    points = face_points().astype(np.int32)
    assert geometry.strict_box(points, 0, "v10", 480) == (100, 70, 200, 180)
    assert geometry.strict_box(points, 0, "v15", 480) == (100, 70, 200, 190)
    assert geometry.strict_box(points, 0, "v15", 185) == (100, 70, 200, 185)
    assert geometry.strict_box(points, 5, "v10", 480) == (100, 80, 200, 180)
    assert geometry.strict_box(points, 5, "v15", 480) == (100, 70, 200, 190)
    high = points - (0, 90)
    assert geometry.strict_box(high, 0, "v10", 480) == (100, 0, 200, 90)
    left = points - (150, 0)
    assert geometry.strict_box(left, 0, "v10", 480) is None
    assert geometry.strict_box(left, 0, "v15", 480, (1, 2, 30, 40)) == (1, 2, 30, 50)
    flat = points.copy()
    flat[:, 0] = 7
    assert geometry.strict_box(flat, 0, "v10", 480, (1, 2, 30, 40)) == (1, 2, 30, 40)
    upside = points.copy()
    upside[29, 1] = 400
    assert geometry.strict_box(upside, 0, "v10", 480) is None


def test_p4_the_range_of_the_shift() -> None:
    assert geometry.shift_range(np.array([[100, 110, 125]] * 3, np.float32)) == (-15, 10)


def test_refined_boxes_are_still_where_the_face_is_still() -> None:
    random = np.random.default_rng(0)
    k = np.arange(64)
    sway = 12 * np.sin(2 * np.pi * k / 64)
    true = np.stack([200 + sway, 320 + sway, np.full(64, 240.0), np.full(64, 310.0)], axis=1)
    outlines = (true + random.choice([-2, 0, 2], true.shape)).astype(np.float32)
    valid = np.ones(64, bool)
    valid[20:26] = False
    outlines[20:26] = 0
    boxes = geometry.refined_boxes(outlines, valid)
    size = boxes[:, 2:] - boxes[:, :2]
    assert np.ptp(size, axis=0).max() < 1e-3
    jerk = np.abs(np.diff(boxes[:, 0], 2)).max()
    assert jerk < 0.25 * np.abs(np.diff(outlines[valid][:, 0], 2)).max()
    centre = (boxes[:, 0] + boxes[:, 2]) / 2
    assert np.abs(centre - (260 + sway)).max() < 2
    assert np.abs((boxes[:, 1] + size[:, 1] / (1.03) / 2) - 240).max() < 3
    assert (boxes[:, 3] > 310).all()
    again = geometry.refined_boxes(np.roll(outlines, 9, axis=0), np.roll(valid, 9))
    assert np.allclose(np.roll(boxes, 9, axis=0), again, atol=1e-3)


def test_a_face_that_comes_nearer_keeps_its_proportions() -> None:
    grow = 1 + 0.5 * np.sin(np.pi * np.arange(64) / 64) ** 2
    outlines = np.stack([300 - 60 * grow, 300 + 60 * grow, np.full(64, 240.0), 240 + 70 * grow], axis=1)
    boxes = geometry.refined_boxes(outlines.astype(np.float32), np.ones(64, bool))
    width = boxes[:, 2] - boxes[:, 0]
    assert width.max() > 1.4 * width.min()


# --- V1, V2: crops and latents ------------------------------------------------------------------------------


def test_v1_crops_and_network_inputs() -> None:
    frame = picture(240, 320)
    part = geometry.crop(frame, (50, 30, 170, 190))
    assert np.array_equal(part, cv2.resize(frame[30:190, 50:170], (256, 256), interpolation=cv2.INTER_LANCZOS4))
    whole = vae_inputs(part[None]).numpy()
    rgb = part[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255
    assert np.array_equal(whole[1], (rgb - 0.5) / 0.5)
    assert np.array_equal(whole[0, :, :128], whole[1, :, :128])
    assert (whole[0, :, 128:] == -1).all()


def test_a_crop_over_the_edge_repeats_the_edge() -> None:
    frame = picture(240, 320)
    inner = geometry.crop(frame, np.array([50.0, 30.0, 170.0, 190.0001], np.float32))
    exact = geometry.crop(frame, (50, 30, 170, 190))
    assert np.abs(inner.astype(int) - exact).mean() < 1
    over = geometry.crop(frame, (-60, 100, 68, 228))
    assert np.abs(over[:, :100].astype(int) - over[:, :1]).max() <= 1
    moved = geometry.crop(frame, np.array([50.5, 30, 178.5, 158], np.float32)).astype(float)
    between = (
        geometry.crop(frame, (50, 30, 178, 158)).astype(float) + geometry.crop(frame, (51, 30, 179, 158))
    ) / 2
    assert np.abs(moved - between).mean() < 2


@torch.inference_mode()
def test_v2_latents_are_the_posteriors_mean_and_repeatable() -> None:
    vae = tiny("vae", 1)
    inputs = vae_inputs(picture(256, 256)[None])
    moments = vae.quant_conv(vae.encoder(inputs))
    found = encode(vae, inputs)
    assert found.shape == (2, 4, 32, 32)
    assert (found - moments[:, :4] * 0.18215).abs().max() <= 1e-4
    assert torch.equal(found, encode(vae, inputs))


# --- B1 to B3: regions, masks, blending ---------------------------------------------------------------------


def classes(seed: int = 0) -> np.ndarray:
    """A face of ellipses: skin, nose, lips, mouth, neck, hair."""
    drawn = np.zeros((512, 512), np.uint8)
    for value, centre, axes in (
        (17, (256, 200), (200, 190)), (14, (256, 470), (90, 90)), (1, (256, 270), (150, 190)),
        (10, (256, 280), (28, 50)), (12, (256, 350), (50, 14)), (13, (256, 372), (46, 14)),
        (11, (256, 361), (36, 6)),
    ):  # fmt: skip
        cv2.ellipse(drawn, centre, axes, 0, 0, 360, value, -1)
    return drawn.astype(np.int64)


def test_b1_the_jaw_kernel_grows_upwards() -> None:
    kernel = masks.jaw_kernel()
    assert kernel.shape == (33, 33)
    assert [int(row.sum()) for row in kernel] == [0] * 10 + [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21] + [21] * 12
    point = np.zeros((101, 101), np.uint8)
    point[50, 50] = 255
    rows, columns = np.nonzero(cv2.dilate(point, kernel))
    assert (rows.min(), rows.max()) == (50 - 16, 50 + 6)
    assert (columns.min(), columns.max()) == (40, 60)


def test_b1_regions_of_every_mode() -> None:
    found = classes()
    assert np.array_equal(masks.region(found, "raw") > 0, np.isin(found, (1, 11, 12, 13)))
    assert np.array_equal(masks.region(found, "neck") > 0, np.isin(found, (1, 11, 12, 13, 14)))
    assert np.array_equal(masks.region(found, "v10") > 0, (found >= 1) & (found <= 13))
    skin = np.where(found == 1, 255, 0).astype(np.uint8)
    grown = slow_dilate(skin, masks.jaw_kernel())
    ellipse = np.zeros((3, 35), np.uint8)
    ellipse[1], ellipse[0, 17], ellipse[2, 17] = 1, 1, 1
    shrunk = cv2.erode(cv2.erode(grown, ellipse), ellipse)
    wanted = grown.copy()
    wanted[:, :167], wanted[:, 346:] = shrunk[:, :167], shrunk[:, 346:]
    wanted[found == 10] = 0
    wanted[np.isin(found, (11, 12, 13))] = 255
    assert np.array_equal(masks.region(found, "jaw"), wanted)


def slow_dilate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """OpenCV's dilation by its definition: the largest value under the kernel laid at each pixel."""
    out = np.zeros_like(image)
    padded = np.pad(image, 16)
    for row, column in zip(*np.nonzero(kernel), strict=True):
        out = np.maximum(out, padded[row : row + 512, column : column + 512])
    return out


@pytest.mark.parametrize(("name", "blur"), [("offline", 31), ("realtime", 61)])
def test_b2_the_mask_is_the_blurred_lower_half_of_the_face_box(name: str, blur: int) -> None:
    box = (200, 150, 400, 550)
    square = masks.expanded(box)
    assert square == (0, 50, 600, 650)
    chosen = masks.region(classes(), "jaw")
    found = masks.soft_mask(chosen, box, square, masks.BLUR[name])
    large = np.array(Image.fromarray(chosen).resize((600, 600), Image.Resampling.BICUBIC))
    kept = Image.new("L", (600, 600))
    kept.paste(Image.fromarray(large).crop((200, 100, 400, 500)), (200, 100))
    wanted = np.array(kept)
    wanted[:300] = 0
    wanted = cv2.GaussianBlur(wanted, (blur, blur), 0)
    assert np.array_equal(found, wanted)
    assert not found[: 300 - blur].any()


@pytest.mark.parametrize("size", [200, 256, 384])
def test_b3_a_face_that_goes_through_the_templates_crop_is_pillows_paste_in_the_frame(size: int) -> None:
    scale = size / 256
    frame = cv2.GaussianBlur(picture(round(300 * scale), round(340 * scale), 1), (0, 0), 2 * scale)
    frame = np.clip(frame + np.random.default_rng(3).normal(0, 8, frame.shape), 0, 255).astype(np.uint8)
    face = cv2.GaussianBlur(picture(256, 256, 2), (0, 0), 2)
    x0, y0, x1, y1 = (round(value * scale) for value in (60, 30, 230, 250))
    box, own = (x0, y0, x1, y1), np.array([x0 - 20, y0 - 10, x0 - 20 + size, y0 - 10 + size], np.int32)
    square = masks.expanded(box)
    soft = masks.soft_mask(masks.region(classes(), "jaw"), box, square, 0.1)
    part = np.s_[own[1] : own[3], own[0] : own[2]]
    wanted = pasted(frame, face, box, soft)[part].astype(int)
    roi = np.ascontiguousarray(frame[part])
    mask = masks.in_crop(soft, square, box, own, 256)
    crop = paste.own_crop(roi).copy()
    compose(crop, face, mask, to_template_crop(np.array(box, np.float32), own), 1.0)
    tool = paste.Paster(np.full((size, size), 255, np.uint8), masks=mask[None])
    covered = tool.shown(roi, crop, 0)
    assert covered is not None
    area, shown = covered
    found = tool.blend(roi, crop, area, shown).astype(int)
    difference = np.abs(found - wanted[area])
    assert np.percentile(difference, 99.9) <= 4
    assert difference.mean() < 0.35
    assert np.array_equal(found[shown == 0], roi[area][shown == 0])


# --- P1, P2, P3, P5: networks -------------------------------------------------------------------------------


def seen(frame: np.ndarray) -> torch.Tensor:
    """A whole frame as DWPose's input."""
    from models.musetalk import dwpose

    height, width = frame.shape[:2]
    return dwpose.network_input(pose.picture(frame, (0.0, 0.0, float(width), float(height)))[None])


@pytest.fixture(scope="module")
def pose_net() -> torch.nn.Module:
    pytest.importorskip("mmcv")
    module = tiny("dwpose", 6)
    # Plain random weights answer alike to every picture; norms that have seen pictures do not.
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    module.train()
    with torch.no_grad():
        module(torch.cat([seen(picture(200, 320, k)) for k in (5, 6)]))
    return module.eval()


def test_p1_the_network_input_is_a_padded_affine_view() -> None:
    dwpose = pytest.importorskip("models.musetalk.dwpose")
    frame = picture(200, 320)
    x = seen(frame)
    assert x.shape == (1, 3, 384, 288)
    assert pose.region(320, 200) == (400.0, 400 / 0.75)
    assert pose.region(200, 320) == (300.0, 400.0)
    bgr = (x[0].permute(1, 2, 0).numpy() * dwpose._STD + dwpose._MEAN)[..., ::-1]
    k = 288 / 400
    for u, v in ((144, 192), (60, 140), (200, 250)):
        fx, fy = 160 + (u - 144) / k, 100 + (v - 192) / k
        value = cv2.getRectSubPix(frame.astype(np.float32), (1, 1), (fx, fy))[0, 0]
        assert np.abs(bgr[v, u] - value).max() <= 3
    assert np.abs(bgr[0]).max() < 1e-3


@torch.inference_mode()
def test_p2_p3_the_answer_follows_the_picture_and_its_mirror_image(pose_net: torch.nn.Module) -> None:
    from models.musetalk import dwpose

    a, b = seen(picture(200, 320, 1)), seen(picture(200, 320, 2))
    features = pose_net.backbone(a)
    assert features.shape == (1, 1024, 12, 9)
    ax, ay = dwpose.scores(pose_net, a)
    assert ax.shape == (1, 133, 576)
    assert ay.shape == (1, 133, 768)
    bx, _ = dwpose.scores(pose_net, b)
    assert np.corrcoef(ax.numpy().ravel(), bx.numpy().ravel())[0, 1] < 0.95
    fx, fy = dwpose.scores(pose_net, a.flip(3))
    assert (fx.flip(2)[:, dwpose.FLIP] - ax).abs().max() <= 1e-3 * ax.abs().max()
    assert (fy[:, dwpose.FLIP] - ay).abs().max() <= 1e-3 * ay.abs().max()
    tx, ty = dwpose.scores(pose_net, torch.cat([a, b]), together=True)
    assert (tx[0] - ax[0]).abs().max() <= 1e-3 * ax.abs().max()
    assert (tx[1] - bx[0]).abs().max() <= 1e-3 * ax.abs().max()
    assert (ty[0] - ay[0]).abs().max() <= 1e-3 * ay.abs().max()


def test_p3_flip_order_and_bins() -> None:
    dwpose = pytest.importorskip("models.musetalk.dwpose")
    order = dwpose.FLIP
    assert [order[order[k]] for k in range(133)] == list(range(133))
    assert [order[23 + k] - 23 for k in (0, 8, 17, 27, 33, 36, 51, 48, 66)] == [16, 8, 26, 27, 33, 45, 51, 54, 66]
    assert order[0] == 0
    assert order[91] == 112
    sx, sy = torch.full((1, 133, 576), -1.0), torch.full((1, 133, 768), -1.0)
    sx[0, :, 100], sy[0, :, 200] = 1.0, 2.0
    sx[0, 0] = sy[0, 0] = -1
    points, score = dwpose.keypoints(sx, sy, sub_bin=False)
    assert points[0, 1].tolist() == [50.0, 100.0]
    assert score[0, 1] == 1.0
    assert points[0, 0].tolist() == [-0.5, -0.5]
    sx[0, 1, 101], sx[0, 1, 99] = 0.5, 0.0
    fine, _ = dwpose.keypoints(sx, sy, sub_bin=True)
    assert fine[0, 1, 0] == pytest.approx((100 + 1 / 6) / 2, abs=1e-6)
    corner = pose.to_frame(np.array([[0.0, 0.0], [288.0, 384.0], [144.0, 192.0]], np.float32), (0, 0, 320, 200))
    assert corner.tolist() == [
        [-40.0, pytest.approx(100 - 800 / 3, abs=1e-3)],
        [360.0, pytest.approx(100 + 800 / 3, abs=1e-3)],
        [160.0, 100.0],
    ]


@pytest.mark.parametrize("size", [(1280, 720), (512, 512), (640, 480), (720, 1280)])
def test_p4_whole_pixels_of_every_bin_are_those_of_the_published_arithmetic(size: tuple[int, int]) -> None:
    bins = np.stack([np.arange(768) % 576, np.arange(768)], axis=1).astype(np.float32) / 2
    found = pose.to_frame(bins, (0.0, 0.0, float(size[0]), float(size[1]))).astype(np.int32)
    width, height = (np.float32(side) * np.float32(1.25) for side in size)
    if width > np.float32(0.75) * height:
        height = width / np.float32(0.75)
    else:
        width = height * np.float32(0.75)
    for (x, y), (u, v) in zip(bins, found, strict=True):
        # Python's floats are float64.
        assert int(float(x) / 288 * float(width) + size[0] / 2 - 0.5 * float(width)) == u
        assert int(float(y) / 384 * float(height) + size[1] / 2 - 0.5 * float(height)) == v


def slow_decode(levels: list[tuple[torch.Tensor, torch.Tensor]]) -> np.ndarray:
    boxes = []
    for level, (probability, offsets) in enumerate(levels):
        stride = 4 * 2**level
        for row in range(probability.shape[1]):
            for column in range(probability.shape[2]):
                score = float(probability[0, row, column])
                if score <= 0.05:
                    continue
                dx, dy, dw, dh = (float(v) for v in offsets[0, :, row, column])
                cx = stride / 2 + column * stride + dx * 0.1 * stride * 4
                cy = stride / 2 + row * stride + dy * 0.1 * stride * 4
                w, h = stride * 4 * np.exp(dw * 0.2), stride * 4 * np.exp(dh * 0.2)
                boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score])
    left = sorted(boxes, key=lambda b: -b[4])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [b for b in left if overlap(best, b) <= 0.3]
    return np.array([b for b in kept if b[4] > 0.5])


def overlap(a: list[float], b: list[float]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(w, 0) * max(h, 0)
    areas = sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return shared / (areas - shared)


@torch.inference_mode()
def test_p5_detection_maps_and_boxes() -> None:
    network = tiny("s3fd", 5)
    levels = network(s3fd.network_input(picture(96, 128)[None]))
    sizes = [tuple(probability.shape[1:]) for probability, _ in levels]
    assert sizes == [(24, 32), (12, 16), (6, 8), (7, 8), (4, 4), (2, 2)]
    random = torch.Generator().manual_seed(0)
    made = [
        (torch.rand(p.shape, generator=random) ** 8, torch.randn(o.shape, generator=random)) for p, o in levels
    ]
    found, wanted = s3fd.decode(made, 0), slow_decode(made)
    assert len(found) == len(wanted) > 5
    assert np.abs(found - wanted).max() <= 5e-4
    empty = [(p * 0, o) for p, o in made]
    assert s3fd.decode(empty, 0).shape == (0, 5)


def test_p5_of_equal_scores_the_later_face_is_first() -> None:
    boxes = np.array([[0, 0, 10, 10, 1.0], [50, 0, 60, 10, 0.9], [20, 0, 30, 10, 1.0]], np.float32)
    assert s3fd.suppress(boxes) == [2, 0, 1]


@torch.inference_mode()
def test_face_parsing_scores_have_the_pictures_size() -> None:
    network = tiny("bisenet", 4)
    x = bisenet.network_input(masks.parser_picture(picture(300, 300), (-10, 20, 250, 280))[None])
    assert x.shape == (1, 3, 512, 512)
    assert network(x[..., :128, :160]).shape == (1, 19, 128, 160)


# --- reasons and the mesh -----------------------------------------------------------------------------------


def test_reasons_name_stretches_of_frames() -> None:
    found = Found(np.zeros(4, np.float32), None, None, None)
    results = ["no face", "no face", found, found, "2 faces", found, "no face"]
    assert list(ranges(results)) == [(0, 1, "no face"), (4, 4, "2 faces"), (6, 6, "no face")]
    boxes = np.array([[0, 0, 100, 100, 0.9], [200, 0, 290, 100, 0.8], [0, 0, 20, 20, 0.7]], np.float32)
    assert several(boxes) == "2 faces"
    assert several(boxes[[0, 2]]) == ""


def test_the_mesh_outlines_the_lower_face() -> None:
    points = np.zeros((468, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points[list(OVAL), 0] = 150 + 60 * np.sin(angle)
    points[list(OVAL), 1] = 150 - 80 * np.cos(angle)
    points[5, :2] = (150, 150)
    mesh = Mesh(lambda _: points)
    (found,) = mesh.find([picture(300, 300)], quiet)
    assert isinstance(found, Found)
    assert found.outline.tolist() == pytest.approx([90, 210, 150, 230], abs=0.5)
    assert len(LOWER) == 21
    assert found.nose.tolist() == [0, 150, 0]
    (drawn,) = mesh.classes([Part(picture(300, 300), (50, 50, 250, 250), found)], quiet)
    assert drawn[int((200 - 50) * 2.56), int((150 - 50) * 2.56)] == 1
    assert drawn[int((80 - 50) * 2.56), int((150 - 50) * 2.56)] == 0
    assert Mesh(lambda _: "no face").find([picture(9, 9)], quiet) == ["no face"]


# --- the networks together ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_networks_find_a_face_and_parse_it(preparing: Path) -> None:
    frame = picture(128, 160)
    strict = Networks(PreparationNetworks(preparing, torch.device("cpu")), strict=True)
    found, again = strict.find([frame, frame], quiet)
    assert isinstance(found, Found)
    assert found.points is not None
    assert found.points.shape == (68, 2)
    assert found.face is not None
    assert isinstance(again, Found)
    assert np.array_equal(found.points, again.points)
    (parsed,) = strict.classes([Part(frame, (-20, -20, 140, 140), found)], quiet)
    assert parsed.shape == (512, 512)
    assert 0 <= parsed.min() <= parsed.max() < 19
    assert isinstance(choose_source(preparing, nobody, "refined"), Networks)


@pytest.mark.slow
def test_refined_preparation_refuses_several_faces_and_unsure_landmarks(preparing: Path) -> None:
    refined = Networks(PreparationNetworks(preparing, torch.device("cpu")), strict=False)
    (reason,) = refined.find([picture(640, 640)], quiet)
    assert isinstance(reason, str)
    assert "faces" in reason or "unsure" in reason


def test_strict_preparation_insists_on_its_networks(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="weights pull"):
        choose_source(tmp_path, nobody, "strict")
    assert isinstance(choose_source(tmp_path, nobody, "refined"), Mesh)
