"""How far each variant is from diffusers in float32. Random weights: a smoke test, no judgement of pictures."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.gpu_job.variants import VARIANTS, Runner, Variant, captured
from models.musetalk import norm
from models.musetalk.constants import AUDIO_DIM, LATENT, TOKENS
from models.musetalk.gpu import exact

FRAMES = 64


@torch.inference_mode()
def closeness(
    unet: nn.Module, vae: nn.Module, device: torch.device, dtype: torch.dtype, until: float
) -> list[dict[str, Any]]:
    """Levels of 255 between each variant in ``dtype`` and f32, and PSNR; raises where a picture is not finite.

    Variants that are not begun by ``until`` (monotonic) are left out, which their rows say.
    """
    frames = FRAMES if device.type == "cuda" else 2
    batch = min(8, frames)
    reference = Runner(Variant("f32"), unet, vae, torch.float32)
    given, wanted = [], []
    for k in range(frames // batch):
        torch.manual_seed(k)
        latents = torch.randn(batch, 8, LATENT, LATENT, device=device)
        audio = torch.randn(batch, TOKENS, AUDIO_DIM, device=device)
        with exact():  # convolutions go through TF32 otherwise, which is no finer than float16
            if not torch.isfinite(reference.decoder(reference.unet(latents, audio))).all():
                raise ArithmeticError("the random networks give pictures that are not finite")
            wanted.append(reference.part("both", latents, audio)().float())
        given.append((latents, audio))
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        if variant.graph and device.type != "cuda":
            continue
        if time.monotonic() > until and rows:
            rows.append({"variant": variant.name, "skipped": "no time left"})
            continue
        runner = Runner(variant, unet, vae, dtype)
        norm.use_fused = variant.fused
        inputs = runner.inputs(batch, device, dtype)
        action = runner.part("both", *inputs)
        action = captured(action) if variant.graph else action
        differences = []
        for pair, right in zip(given, wanted, strict=True):
            for mine, new in zip(inputs, pair, strict=True):
                mine.copy_(new)  # in place, as a graph reads its inputs
            differences.append((action().float() - right).abs().cpu())
        levels = torch.cat(differences).flatten().numpy()
        error = float((levels**2).mean())
        rows.append(
            {
                "variant": variant.name,
                "frames": frames,
                "max_levels": int(levels.max()),
                "p99_9_levels": float(np.percentile(levels, 99.9)),
                "within_2_levels": round(float((levels <= 2).mean()), 6),
                "psnr_db": round(10 * float(np.log10(255**2 / max(error, 1e-9))), 2),
            }
        )
    norm.use_fused = True
    return rows
