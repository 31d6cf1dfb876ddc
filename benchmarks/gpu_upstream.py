"""Upstream's own generation loop, timed beside ours: its checkout is imported by path, nothing of it is kept.

Its UNet, its VAE and its blending, with random weights written in its own layout; batch 20 as its realtime
script has it; the blend on the same thread (``one thread``) and left out (``without blending``).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.musetalk.constants import LATENT, TOKENS, UNET_CONFIG, VAE_CONFIG
from models.musetalk.keys import build

BATCH = 20
BATCHES = 8
SIZES = {"512x512": (512, 512), "1280x720": (720, 1280), "1920x1080": (1080, 1920)}
TINY = {"unet": {"block_out_channels": [32, 64, 128, 128]}, "vae": {"block_out_channels": [32, 32, 64, 64]}}


def write_layout(root: Path, profile: str) -> None:
    """UNet and VAE with random weights, as upstream reads them."""
    torch.manual_seed(0)
    for kind, config, folder, file in (
        ("unet", UNET_CONFIG, "musetalkV15", "unet.pth"),
        ("vae", VAE_CONFIG, "sd-vae", "diffusion_pytorch_model.bin"),
    ):
        config = {**config, **(TINY[kind] if profile == "tiny" else {})}
        (root / folder).mkdir()
        name = "musetalk.json" if kind == "unet" else "config.json"
        extra = {} if kind == "unet" else {"_class_name": "AutoencoderKL", "_diffusers_version": "0.4.2"}
        (root / folder / name).write_text(json.dumps({**config, **extra}), "utf-8")
        torch.save(build(kind, config).state_dict(), root / folder / file)


def time_upstream(checkout: Path, profile: str, device: torch.device, batch: int = BATCH) -> dict[str, Any]:
    """Frames per second of upstream's loop, with and without its blend, or why it does not run here."""
    sys.path.insert(0, str(checkout))
    try:
        with tempfile.TemporaryDirectory(prefix="musecast-upstream-") as folder:
            write_layout(Path(folder), profile)
            return _run(Path(folder), device, batch)
    except ImportError as error:
        return {"error": f"upstream does not import here: {error}"}
    finally:
        sys.path.remove(str(checkout))


@torch.no_grad()
def _run(root: Path, device: torch.device, batch: int) -> dict[str, Any]:
    from musetalk.models.unet import UNet  # type: ignore[import-not-found]
    from musetalk.models.vae import VAE  # type: ignore[import-not-found]
    from musetalk.utils.blending import get_image_blending  # type: ignore[import-not-found]

    half = device.type == "cuda"
    vae = VAE(model_path=str(root / "sd-vae"), use_float16=half)
    folder = root / "musetalkV15"
    unet = UNet(str(folder / "musetalk.json"), str(folder / "unet.pth"), use_float16=half, device=device)
    dtype = unet.model.dtype
    step = torch.tensor([0], device=device)
    latents = torch.randn(batch, 8, LATENT, LATENT, device=device, dtype=dtype)
    audio = torch.randn(batch, TOKENS, 384, device=device, dtype=dtype)

    def generate() -> np.ndarray:
        audio_in = unet.pe.to(device)(audio)
        found = unet.model(latents, step, encoder_hidden_states=audio_in.to(dtype)).sample
        return np.asarray(vae.decode_latents(found.to(vae.vae.dtype)))

    faces = generate()
    result: dict[str, Any] = {"batch": batch}
    result["without blending"] = _rate(generate, batch)
    for name, (height, width) in SIZES.items():
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        side = height // 3
        x, y = (width - side) // 2, (height - side) // 2
        box = (x, y, x + side, y + side)
        square = [x - side // 4, y - side // 4, x + side + side // 4, y + side + side // 4]
        mask = np.full((square[3] - square[1], square[2] - square[0]), 128, np.uint8)

        def blended(
            frame: np.ndarray = frame, box: tuple[int, ...] = box, square: list[int] = square,
            mask: np.ndarray = mask,
        ) -> None:  # fmt: skip
            import cv2

            for face in generate():
                resized = cv2.resize(face.astype(np.uint8), (box[2] - box[0], box[3] - box[1]))
                get_image_blending(frame.copy(), resized, box, mask, square)

        result[f"one thread, {name}"] = _rate(blended, batch)
    result["faces"] = list(faces.shape)
    return result


def _rate(action: Any, frames: int) -> float:
    """Frames per second, the median of a few batches."""
    times = []
    for _ in range(BATCHES):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return round(frames / statistics.median(times[1:]), 1)
