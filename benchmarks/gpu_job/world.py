"""What the daemon's own parts need to run here: converted random weights, templates, a configuration."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch

from benchmarks.gpu_job.variants import SEED, config_of, sources
from configs.schema import Config, Engines, Musetalk
from models.api import Progress
from models.musetalk.constants import PARSED
from models.musetalk.faces import Found, Part
from models.musetalk.keys import build
from models.musetalk.layout import BY_NAME, unet_component
from models.musetalk.manifest import write_manifest
from models.musetalk.prepare import MuseTalkPreparer
from models.musetalk.tensors import PreparationNetworks
from models.musetalk.weights import store
from models.templates.origin import Entry
from models.templates.store import Template, open_template
from models.templates.writer import TemplateWriter

PICTURES = {"512x512": (512, 512), "1280x720": (720, 1280), "1920x1080": (1080, 1920)}
"""Height and width."""
FRAMES = 16
FACE_SHARE = 1 / 3
"""Side of the face, of the picture's height: the same for upstream's loop and for ours."""


def quiet(phase: str, done: int, total: int) -> None:
    """A progress callback that nobody listens to."""


def constants() -> dict[str, Any]:
    """What all systems share: seed, pictures, geometry, codec."""
    video = Config().video
    return {
        "seed": SEED, "pictures": [*PICTURES], "frames": FRAMES, "face_share": round(FACE_SHARE, 3),
        "x264": {"preset": video.preset, "crf": video.crf, "threads": 1}, "aac_kbps": video.audio_kbps,
    }  # fmt: skip


def write_weights(root: Path, profile: str, device: torch.device) -> None:
    """The networks of ``variants.sources`` and an audio encoder as ``weights convert`` would leave them.

    Halves on disk for the full size: they are loaded as float32 and cast to what speaking uses.
    """
    unet, vae = sources(profile, device)
    torch.manual_seed(SEED)
    with device:
        whisper = build("whisper", config_of("whisper", profile))
    dtype = torch.float16 if profile == "full" else torch.float32
    components = {}
    modules = {"unet": unet, "vae": vae, "whisper": whisper}
    for kind, module in modules.items():
        name = unet_component("v15") if kind == "unet" else kind
        state = {key: value.to("cpu", dtype) for key, value in module.state_dict().items()}
        random = f"random-{SEED}-{kind}"
        components[name] = store(root, BY_NAME[name], config_of(kind, profile), state, random, random)
    write_manifest(root, components)


def configuration(root: Path, profile: str, device: torch.device, threads: int) -> Config:
    """The daemon's configuration over these weights; templates and sockets below ``root``."""
    small: dict[str, Any] = {"max_batch": 8, "encoder_steps": 160} if profile == "tiny" else {}
    plain = Config()
    devices = "cpu" if device.type == "cpu" else str(device)
    lipsync = msgspec.structs.replace(plain.stages.lipsync, devices=devices, threads=threads)
    return msgspec.structs.replace(
        plain, weights_dir=str(root / "weights"), state_dir=str(root / "state"), runtime_dir=str(root),
        engines=Engines(lipsync=["musetalk"]), musetalk=Musetalk(**small),
        stages=msgspec.structs.replace(plain.stages, lipsync=lipsync),
    )  # fmt: skip


class _Placed:
    """A face in the middle of every picture, found without looking."""

    name = "placed"

    def find(self, frames: Sequence[np.ndarray], progress: Progress) -> list[Found | str]:
        return [self._face(frames[k], k) for k in range(len(frames))]

    def _face(self, frame: np.ndarray, k: int) -> Found:
        x0, y0, x1, y1 = face_box(*frame.shape[:2])
        shift = 2 * np.sin(2 * np.pi * k / FRAMES)
        outline = np.array([x0 + shift, x1 + shift, (y0 + y1) / 2, y1], np.float32)
        return Found(outline, None, None, None)

    def classes(self, parts: Sequence[Part], progress: Progress) -> list[np.ndarray]:
        drawn = np.zeros((PARSED, PARSED), np.uint8)
        cv2.ellipse(drawn, (PARSED // 2, PARSED // 2), (150, 190), 0, 0, 360, 1, -1)
        return [drawn for _ in parts]


def face_box(height: int, width: int) -> tuple[int, int, int, int]:
    """Where the face is: x0, y0, x1, y1."""
    side = round(height * FACE_SHARE)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def pictures(height: int, width: int) -> list[np.ndarray]:
    """A film of ``FRAMES`` u8 BGR pictures: texture that moves a little, at a size that codecs take seriously."""
    random = np.random.default_rng(5)
    texture = cv2.GaussianBlur(random.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 3)
    return [np.ascontiguousarray(np.roll(texture, 2 * (k % 4), axis=1)) for k in range(FRAMES)]


def write_template(config: Config, name: str) -> Template:
    """A template of one of the sizes of ``PICTURES``, prepared by the real VAE encoder (random weights)."""
    height, width = PICTURES[name]
    x0, y0, x1, y1 = face_box(height, width)
    side = round(1.6 * (x1 - x0)) & ~1
    origin = ((x0 + x1 - side) // 2 & ~1, (y0 + y1 - side) // 2 & ~1)
    alpha = np.full((side, side), 255, np.uint8)
    alpha[[0, -1], :] = alpha[:, [0, -1]] = 0
    device = torch.device("cpu" if config.stages.lipsync.devices == "cpu" else config.stages.lipsync.devices)
    networks = PreparationNetworks(Path(config.weights_dir), device)
    preparer = MuseTalkPreparer(config, networks, source=_Placed())
    root = Path(config.state_dir) / "templates"
    with TemplateWriter(
        root, name, "builtin", (width, height), (side, side), alpha, Entry(f"random-{name}")
    ) as writer:
        for picture in pictures(height, width):
            writer.add(picture, origin)
        path = writer.finish([preparer], quiet, threading.Event())
    networks.rest()
    return open_template(str(path), "")


def speech(seconds: float) -> np.ndarray:
    """s16 48 kHz mono: a voice-like tone that never pauses, so that every frame has a mouth to generate."""
    t = np.arange(int(seconds * 48_000)) / 48_000
    voice: Any = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 12))
    return np.asarray(voice * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)) * 5_000, np.int16)
