"""``musecast render --engine musetalk --quality max`` on a daemon of its own: real processes, tiny weights."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import torch

from models.musetalk.prepare import MuseTalkPreparer
from models.musetalk.tensors import PreparationNetworks
from models.templates.builtin import ARTWORK_VERSION, LOOP
from models.templates.origin import Entry
from models.templates.writer import TemplateWriter, content_hash
from models.warp.preparer import WarpPreparer
from tests.engines.musetalk import scene
from tests.support.doubles import CancelAfter, quiet
from tests.support.harness import EQUALS, PATIENT
from tests.support.media import watch
from tests.support.processes import MUSECAST, free_ports
from tests.support.segments import speech_like, wav

LIMIT_S = 500.0
FRAMES = 24


def write_default(state_dir: Path, weights: Path) -> None:
    """A short loop in the place of the built-in template, so that preparing it does not take a minute."""
    config = scene.config(weights, encoder_steps=1500)
    networks = PreparationNetworks(weights, torch.device("cpu"))
    drawn = MuseTalkPreparer(config, networks, source=scene.Drawn())
    digest = content_hash(f"builtin:default:{ARTWORK_VERSION}", {"loop": LOOP}, [WarpPreparer(), drawn])
    random = np.random.default_rng(5)
    texture = cv2.GaussianBlur(random.integers(0, 256, (320, 320, 3), np.uint8), (0, 0), 3)
    alpha = np.full((256, 256), 255, np.uint8)
    folder = state_dir / "templates"
    with TemplateWriter(folder, "default", "builtin", (320, 320), (256, 256), alpha, Entry(digest)) as writer:
        for k in range(FRAMES):
            writer.add(np.roll(texture, 2 * (k % 4), axis=1), (32, 32))
        writer.finish([drawn], quiet, CancelAfter(10_000))


def test_a_recording_becomes_a_file_of_exactly_its_length(small: Path, tmp_path: Path) -> None:
    state_dir, folder = tmp_path / "state", tmp_path / "films"
    folder.mkdir()
    write_default(state_dir, small)
    sound = speech_like(1.05, 48_000)
    (folder / "in.wav").write_bytes(wav(sound, 48_000))
    (port,) = free_ports(1)
    result = subprocess.run(
        [
            MUSECAST, "render", "--audio", str(folder / "in.wav"), "--out", str(folder / "max.mp4"),
            "--engine", "musetalk", "--quality", "max", "--set", "musetalk.max_batch=4",
            *(word for setting in (PATIENT, *EQUALS) for word in ("--set", setting)),
        ],
        check=False, capture_output=True, text=True, timeout=LIMIT_S,
        env=os.environ | {
            "MUSECAST_ENDPOINTS__CONTROL": f"tcp://127.0.0.1:{port}",
            "MUSECAST_STATE_DIR": str(state_dir),
            "MUSECAST_WEIGHTS_DIR": str(small),
        },
    )  # fmt: skip
    assert result.returncode == 0, (result.stdout, result.stderr)
    best = watch(folder / "max.mp4")
    assert best.frames == 27  # 1.05 s are 26.25 frames
    assert best.audio_samples == len(sound)
    assert best.colour == (1, 1, 1, 1)
    assert best.starts == (0, 0)
    assert sorted(path.name for path in folder.iterdir()) == ["in.wav", "max.mp4"]
    own = np.abs(best.luma[12].astype(np.int16) - best.luma[0])
    assert own.max() > 20, "the mouth is generated"
