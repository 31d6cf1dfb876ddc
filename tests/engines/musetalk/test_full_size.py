"""U1 and D1 at the size of the official weights: gigabytes and minutes, so only when asked for (``-m full``)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.musetalk.constants import UNET_CONFIG, VAE_CONFIG
from models.musetalk.generator import to_bgr
from models.musetalk.keys import build
from models.musetalk.networks import FastDecoder, FastUNet, ReferenceDecoder, ReferenceUNet
from tests.engines.musetalk.checkpoints import randomise

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


def full(kind: str, config: dict[str, Any], seed: int) -> nn.Module:
    return randomise(build(kind, config), seed)


@torch.inference_mode()
def test_u1_the_fast_unet_is_the_unet() -> None:
    unet = full("unet", UNET_CONFIG, 15)
    assert sum(p.numel() for p in unet.parameters()) == 849_947_844
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 8, 32, 32, generator=generator)
    audio = torch.randn(1, 50, 384, generator=generator)
    wanted = ReferenceUNet(unet)(latents, audio)
    found = FastUNet(unet)(latents, audio)
    assert wanted.std() > 0.05
    assert (found - wanted).abs().max() <= 1e-4 * max(1.0, float(wanted.abs().max()))


@torch.inference_mode()
def test_d1_the_fast_decoder_is_the_decoder() -> None:
    vae = full("vae", VAE_CONFIG, 1)
    latents = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    wanted = to_bgr(ReferenceDecoder(vae)(latents)).int()
    found = to_bgr(FastDecoder(vae)(latents)).int()
    assert wanted.float().std() > 5
    assert (found - wanted).abs().max() <= 1
