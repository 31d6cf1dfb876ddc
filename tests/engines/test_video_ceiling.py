"""``video.max_kbps`` on finished MP4s: over every second, and without steps where segments meet."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from broker.ipc.messages import TemplateRef
from configs.schema import Video
from models.api import FPS
from models.templates.builtin import ensure_builtin
from models.templates.store import open_template
from tests.support.doubles import quiet
from tests.support.face import Film, Speech, Studio
from tests.support.face import psnr as psnr_of
from tests.support.media import bytes_of_frames

IDLE = 4
"""Quanta before and after the speech: 1.28 s of the shortest segments, each with its key frame."""
CEILINGS = (400, 700, 4000)


def film(
    ref: TemplateRef, kbps: int, speech: Speech | None = None, *, quality: str = "high"
) -> tuple[Film, dict[str, float]]:
    studio = Studio(open_template(ref.path, ref.hash), Video(max_kbps=kbps))
    try:
        heard = speech or studio.say("Father parked the car far from the farm, and then he bought bread.", "en")
        return studio.film(heard, idle=IDLE, quality=quality), studio.figures
    finally:
        studio.close()


def seconds(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum of every 25 frames in a row."""
    return np.convolve(sizes, np.ones(FPS, np.int64), "valid")


@pytest.fixture(scope="module")
def default(state_dir: Path) -> TemplateRef:
    made = ensure_builtin(str(state_dir), "default", quiet, threading.Event())
    return TemplateRef("default", str(made.path), made.hash)


@pytest.fixture(scope="module")
def films(default: TemplateRef) -> dict[int, tuple[Film, dict[str, float]]]:
    return {kbps: film(default, kbps) for kbps in CEILINGS}


@pytest.mark.parametrize("kbps", CEILINGS)
def test_no_second_is_above_the_ceiling(films: dict[int, tuple[Film, dict[str, float]]], kbps: int) -> None:
    made, figures = films[kbps]
    pictures, sound = bytes_of_frames(made.mp4)
    assert figures["over_ceiling"] == 0
    assert seconds(pictures + sound).max() <= kbps * 1000 / 8
    assert sum(made.sizes) <= made.frames / FPS * kbps * 1000 / 8, "with the boxes"


@pytest.mark.parametrize("kbps", CEILINGS)
def test_quality_does_not_step_where_segments_meet(
    films: dict[int, tuple[Film, dict[str, float]]], kbps: int
) -> None:
    made, _ = films[kbps]
    found, joints = psnr_of(made), np.asarray(made.joints)
    steps = np.abs(found[joints] - found[joints - 1])
    assert steps.max() <= 1.0, steps


def test_a_lower_ceiling_is_used_and_costs_quality(films: dict[int, tuple[Film, dict[str, float]]]) -> None:
    mean = [psnr_of(films[kbps][0]).mean() for kbps in CEILINGS]
    assert mean == sorted(mean)
    assert mean[0] > 34, mean
    pictures, sound = bytes_of_frames(films[400][0].mp4)
    assert seconds(pictures + sound).max() >= 0.5 * 400 * 1000 / 8


def test_what_does_not_reach_the_ceiling_is_as_without(
    films: dict[int, tuple[Film, dict[str, float]]], default: TemplateRef
) -> None:
    made, figures = films[4000]
    assert figures["recoded"] == 0
    assert film(default, 0, made.speech)[0].mp4 == made.mp4


@pytest.fixture(scope="module")
def noisy(default: TemplateRef, tmp_path_factory: pytest.TempPathFactory) -> TemplateRef:
    """The portrait, filmed by a bad camera: every pixel of every frame differs from the one before."""
    folder = tmp_path_factory.mktemp("noisy") / "noisy"
    shutil.copytree(default.path, folder)
    opened = open_template(default.path, default.hash)
    grain = (
        np.random.default_rng(5).normal(0, 6, (opened.i420.shape[1], opened.i420.shape[2] + opened.frames)).round()
    )
    with (folder / "frames.i420").open("r+b") as out:
        for k, frame in enumerate(opened.i420[:120]):
            moved = frame + grain[:, k : k + frame.shape[1]]
            out.write(np.clip(moved, 16, 235).astype(np.uint8).tobytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["hash"] = "noisy"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return TemplateRef("noisy", str(folder), "noisy")


@pytest.mark.parametrize("quality", ["high", "fast"])
def test_noise_is_held_down_too_and_evenly(noisy: TemplateRef, quality: str) -> None:
    silence = Speech(np.zeros(FPS * 1920, np.int16), [])
    made, figures = film(noisy, 600, silence, quality=quality)
    pictures, sound = bytes_of_frames(made.mp4)
    assert figures["over_ceiling"] == 0
    assert seconds(pictures + sound).max() <= 600 * 1000 / 8
    found, joints = psnr_of(made), np.asarray(made.joints)
    assert np.abs(found[joints] - found[joints - 1]).max() <= 1.5, found[joints] - found[joints - 1]


def test_what_cannot_be_made_small_enough_is_shown_and_counted(noisy: TemplateRef) -> None:
    """The least that the configuration takes for a picture is too little for none but the largest ones."""
    silence = Speech(np.zeros(8 * 1920, np.int16), [])
    made, figures = film(noisy, 20, silence)
    assert figures["over_ceiling"] == len(made.sizes)
    assert len(made.decoded) == made.frames
