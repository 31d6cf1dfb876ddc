"""U1, U2, D1: the fast networks against diffusers' on the same random weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models.musetalk.blocks import folded_kernel
from models.musetalk.networks import FastDecoder, FastUNet, ReferenceDecoder, ReferenceUNet, time_embedding
from tests.engines.musetalk.checkpoints import tiny


@pytest.fixture(scope="module")
def unet() -> Any:
    return tiny("unet", 15)


@pytest.fixture(scope="module")
def vae() -> Any:
    return tiny("vae", 1)


def inputs(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, 8, 32, 32, generator=generator)
    return latents, torch.randn(batch, 50, 384, generator=generator)


@torch.inference_mode()
def test_the_time_embedding_of_zero_is_a_constant(unet: Any) -> None:
    wanted = unet.time_embedding(unet.time_proj(torch.zeros(1, dtype=torch.long)))
    assert torch.equal(time_embedding(unet), wanted)


@torch.inference_mode()
def test_u1_the_fast_unet_is_the_unet(unet: Any) -> None:
    latents, audio = inputs(2)
    wanted = ReferenceUNet(unet)(latents, audio)
    found = FastUNet(unet)(latents, audio)
    assert wanted.std() > 0.05
    assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
    latents[:, :, 0, 0] += 1
    assert (FastUNet(unet)(latents, audio) - found).abs().max() > 1e-3
    assert (FastUNet(unet)(latents, audio * 0) - found).abs().max() > 1e-3


@torch.inference_mode()
def test_u1_is_exact_but_for_rounding(unet: Any) -> None:
    latents, audio = inputs(1)
    precise = tiny("unet", 15).double()
    wanted = ReferenceUNet(precise)(latents.double(), audio.double())
    found = FastUNet(precise)(latents.double(), audio.double())
    assert (found - wanted).abs().max() <= 1e-12 * max(1.0, float(wanted.abs().max()))


@torch.inference_mode()
def test_u2_a_frame_does_not_depend_on_its_batch(unet: Any) -> None:
    latents, audio = inputs(8)
    network = FastUNet(unet)
    whole = network(latents, audio)
    alone = torch.cat([network(latents[k : k + 1], audio[k : k + 1]) for k in range(8)])
    padded = network(F.pad(latents[:5], (0, 0, 0, 0, 0, 0, 0, 3)), F.pad(audio[:5], (0, 0, 0, 0, 0, 3)))
    limit = 1e-4 * max(1.0, float(whole.abs().max()))
    assert (whole - alone).abs().max() <= limit
    assert (whole[:5] - padded[:5]).abs().max() <= limit


@torch.inference_mode()
def test_d1_the_fast_decoder_is_the_decoder(vae: Any) -> None:
    latents = inputs(2)[0][:, :4] * 0.2
    wanted = ReferenceDecoder(vae)(latents)
    found = FastDecoder(vae)(latents)
    assert wanted.shape == (2, 3, 256, 256)
    assert wanted.std() > 0.05
    assert (found - wanted).abs().max() <= 1e-4
    precise = tiny("vae", 1).double()
    small = latents[:1, :, :6, :10].double()
    exact = ReferenceDecoder(precise)(small)
    assert (FastDecoder(precise)(small) - exact).abs().max() <= 1e-12


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_doubling_and_convolving_is_one_transposed_convolution(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 6, *size, dtype=torch.float64, generator=generator)
    weight = torch.randn(4, 6, 3, 3, dtype=torch.float64, generator=generator)
    bias = torch.randn(4, dtype=torch.float64, generator=generator)
    wanted = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    found = F.conv_transpose2d(x, folded_kernel(weight), bias, stride=2, padding=1)
    assert (found - wanted).abs().max() <= 1e-13
    x, weight, bias = x.float(), weight.float(), bias.float()
    found = F.conv_transpose2d(x, folded_kernel(weight), bias, stride=2, padding=1)
    assert (found - wanted).abs().max() <= 2e-5


KERNEL = """
import torch
from torch.nn import functional as F
from models.musetalk.norm_triton import fused_group_norm
g = torch.Generator().manual_seed(1)
for shape, groups, offset in (((2, 24, 3, 5), 4, 0.0), ((1, 8, 10, 13), 2, 50.0), ((1, 192, 1, 3), 2, 0.0)):
    x = (torch.randn(shape, generator=g) + offset).contiguous(memory_format=torch.channels_last)
    w, b = torch.rand(shape[1], generator=g) + 0.5, torch.randn(shape[1], generator=g)
    for silu in (False, True):
        y = fused_group_norm(x, groups, w, b, 1e-5, silu, 2)
        wanted = F.group_norm(x.double(), groups, w.double(), b.double(), 1e-5)
        wanted = F.silu(wanted) if silu else wanted
        assert y.is_contiguous(memory_format=torch.channels_last)
        error = (y - wanted).abs().max().item()
        assert error <= 2e-5, (shape, offset, silu, error)
print("same")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_gpu_kernel_of_norm_and_silu_is_right_in_tritons_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL], check=False, env=environment, capture_output=True, text=True, timeout=480
    )
    assert done.stdout.strip() == "same", done.stderr[-3000:]
