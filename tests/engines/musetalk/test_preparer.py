"""The preparer without its networks: who is asked for what, what is taken for true, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.api import EngineError
from models.musetalk import asks, track
from models.musetalk.faces import Networks
from models.musetalk.prepare import MuseTalkPreparer
from models.musetalk.prepared import Prepared, load_prepared
from tests.engines.musetalk import scene, stand_in
from tests.engines.musetalk.stand_in import StandIn
from tests.support.harness import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    weights = tmp_path / "weights"
    stand_in.pretend_converted(weights)
    return weights


def prepared(
    root: Path, place: Any, shift: int = 0, frames: int = 24, kind: str = "builtin", **settings: Any
) -> tuple[Prepared, StandIn]:
    networks, config = StandIn(), scene.config(root, **settings)
    source = Networks(networks, strict=config.musetalk.preparation == "strict")
    preparer = MuseTalkPreparer(config, networks, shift, source)
    folder = root.parent / f"templates-{len([*root.parent.iterdir()])}"
    return load_prepared(stand_in.write(folder, [preparer], place, frames, kind)), networks


def sway(k: int) -> list[tuple[int, int]]:
    return [(round(10 * np.sin(2 * np.pi * k / 24)), 0)]


def test_refined_asks_in_batches_and_detects_every_eighth_frame(root: Path) -> None:
    found, networks = prepared(root, sway)
    assert found.valid.all()
    assert networks.pictures == {
        asks.FACES: len(track.anchors(24)), asks.POINTS: 48, asks.CLASSES: 24, asks.LATENTS: 24,
    }  # fmt: skip
    assert networks.asked == {asks.FACES: 1, asks.POINTS: 12, asks.CLASSES: 6, asks.LATENTS: 6}


def test_strict_asks_frame_by_frame(root: Path) -> None:
    found, networks = prepared(root, sway, preparation="strict")
    assert found.valid.all()
    every = {asks.FACES: 24, asks.STRICT_POINTS: 24, asks.CLASSES: 24, asks.LATENTS: 24}
    assert networks.asked == networks.pictures == every
    x0, _, x1, y1 = stand_in.FACE
    # In steps of half a pixel of the network's picture, truncated.
    assert np.abs(found.boxes[0] - (x0, y1 - 2 * 55, x1, y1 + 10)).max() <= 4


def test_a_face_that_leaves_its_track_is_looked_at_in_every_frame_of_that_stretch(root: Path) -> None:
    found, networks = prepared(root, lambda k: [(60, 0) if 3 <= k <= 5 else (0, 0)])
    assert networks.pictures[asks.FACES] == len(track.anchors(24)) + 7
    assert found.valid.all()


def test_frames_without_a_face_between_two_looks_are_noticed(root: Path) -> None:
    found, networks = prepared(root, lambda k: [] if 10 <= k <= 12 else [(0, 0)])
    assert np.flatnonzero(~found.valid).tolist() == [10, 11, 12]
    assert not found.mask[10:13].any()
    assert found.mask[9].any()
    assert networks.pictures[asks.FACES] == len(track.anchors(24)) + 7


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda k: [] if 4 <= k <= 12 else [(0, 0)], r"9 of 24 frames .*\(frames 4-12: no face\)"),
        (lambda k: [(-80, 0), (60, 0)] if k > 14 else [(0, 0)], "frames 15-23: 2 faces"),
        (
            lambda k: [] if k < 6 else [(-80, 0), (60, 0)] if k == 10 else [(0, 0)],
            r"7 of 24 .*frames 0-5: no face; frame 10: 2 faces",
        ),
    ],
    ids=["nobody", "two", "both"],
)
def test_too_many_frames_without_one_face_are_refused_by_range_and_reason(
    root: Path, place: Any, reason: str
) -> None:
    with pytest.raises(EngineError, match=reason) as caught:
        prepared(root, place)
    assert "200 to 300 px" in caught.value.hint


def test_landmarks_that_are_unsure_of_themselves_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsure(pictures: np.ndarray) -> list[np.ndarray]:
        points, scores = certain(pictures)
        return [points, scores / 9]

    certain = StandIn._points
    monkeypatch.setattr(StandIn, "_points", staticmethod(unsure))
    with pytest.raises(EngineError, match=r"frames 0-7: landmarks are unsure \(0.10 of 0.3\)"):
        prepared(root, still, frames=8)


def test_the_way_back_of_a_film_is_not_looked_at_again(root: Path) -> None:
    found, networks = prepared(root, lambda k: [(2 * k, k)], frames=40, kind="video")
    assert networks.pictures[asks.LATENTS] == networks.pictures[asks.CLASSES] == 21
    for k in range(1, 20):
        for array in (found.latents, found.boxes, found.mask, found.valid):
            assert np.array_equal(array[k], array[40 - k])
    assert not np.array_equal(found.latents[1], found.latents[2])


# --- bbox_shift ---------------------------------------------------------------------------------------------


def still(k: int) -> list[tuple[int, int]]:
    return [(0, 0)]


@pytest.mark.parametrize("preparation", ["refined", "strict"])
def test_version_15_ignores_the_shift(root: Path, preparation: str) -> None:
    plain, _ = prepared(root, still, frames=8, preparation=preparation)
    shifted, _ = prepared(root, still, 5, 8, preparation=preparation)
    assert np.array_equal(plain.boxes, shifted.boxes)
    assert shifted.meta["bbox_shift"] == {"asked": 5, "used": 0}


@pytest.mark.parametrize("preparation", ["refined", "strict"])
@pytest.mark.parametrize(("asked", "used"), [(5, 5), (-5, -5), (40, 8), (-40, -8)])
def test_version_10_moves_the_middle_within_the_range_of_the_face(
    root: Path, preparation: str, asked: int, used: int
) -> None:
    plain, _ = prepared(root, still, frames=8, version="v10", preparation=preparation)
    shifted, _ = prepared(root, still, asked, 8, version="v10", preparation=preparation)
    meta = shifted.meta["bbox_shift"]
    assert meta["asked"] == asked
    assert meta["used"] == pytest.approx(used, abs=2)
    assert meta["range"] == pytest.approx([-8, 8], abs=2)
    # The chin stays (but for the margin, a share of the height), and the top goes down by twice the shift.
    assert np.abs(shifted.boxes[0, 3] - plain.boxes[0, 3]) <= 1
    assert np.abs(shifted.boxes[0, 1] - plain.boxes[0, 1] - 2 * meta["used"]) <= 1


# --- what it needs ------------------------------------------------------------------------------------------


def test_without_weights_or_anybody_to_ask_it_says_what_to_do(root: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="weights pull"):
        stand_in.write(tmp_path / "a", [MuseTalkPreparer(scene.config(tmp_path), StandIn())], still)
    with pytest.raises(EngineError, match="Name it in engines"):
        stand_in.write(tmp_path / "b", [MuseTalkPreparer(scene.config(root))], still)


def test_the_version_names_settings_weights_and_where_faces_come_from(root: Path) -> None:
    def version(**settings: Any) -> str:
        return MuseTalkPreparer(scene.config(root, **settings)).version

    assert version() == version()
    assert len({version(), version(preparation="strict"), version(parsing="raw"), version(version="v10")}) == 4
    before = version()
    (root / "converted" / "s3fd.safetensors").unlink()
    if importlib.util.find_spec("mmcv"):
        assert "networks" in before
    assert "mesh" in version()


PREPARE = """
import sys
from pathlib import Path
from configs.schema import Config, Engines
import msgspec
from models.registry import preparers
from tests.engines.musetalk import stand_in
config = msgspec.structs.replace(Config(), weights_dir=sys.argv[1], engines=Engines(lipsync=["musetalk", "warp"]))
(musetalk,) = [p for p in preparers(config, lambda engine: stand_in.StandIn()) if p.engine == "musetalk"]
stand_in.write(Path(sys.argv[2]), [musetalk], lambda k: [(k % 3, 0)])
import stages.prepare
print(sorted(name for name in ("torch", "diffusers", "mmcv", "safetensors") if name in sys.modules))
"""


@pytest.mark.skipif(importlib.util.find_spec("mmcv") is None, reason="without it the face mesh is chosen")
def test_preparing_needs_no_torch(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(root), str(tmp_path / "templates")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "templates" / "red" / "engine" / "musetalk" / "latents.npy").is_file()
    assert json.loads((tmp_path / "templates" / "red" / "manifest.json").read_text())["engines"] == ["musetalk"]
