"""The ways to run the two networks that are compared: random weights, one step of any batch size."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.musetalk.constants import AUDIO_DIM, LATENT, TOKENS, UNET_CONFIG, VAE_CONFIG, WHISPER_CONFIG
from models.musetalk.generator import to_bgr
from models.musetalk.keys import build
from models.musetalk.networks import FastDecoder, FastUNet, ReferenceDecoder, ReferenceUNet

SEED = 0
TINY: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": [8, 16, 16, 16], "norm_num_groups": 8, "layers_per_block": 1,
    },
    "vae": {"block_out_channels": [4, 4, 8, 8], "norm_num_groups": 4, "layers_per_block": 1},
    "whisper": {"encoder_ffn_dim": 384},
}  # fmt: skip
"""Profile ``tiny``: to see that the program runs; its times mean nothing. MuseTalk's networks, but narrower."""
FULL: dict[str, dict[str, Any]] = {"unet": UNET_CONFIG, "vae": VAE_CONFIG, "whisper": dict(WHISPER_CONFIG)}


@dataclass(frozen=True)
class Variant:
    """One way to run the two networks."""

    name: str
    rebuilt: bool = False
    """Our modules instead of diffusers'; otherwise nothing below applies but ``last``."""
    last: bool = False
    """Channels-last memory."""
    fused: bool = False
    fold: bool = False
    graph: bool = False


EAGER = Variant("eager")
HIGH = Variant("high (all, CUDA graph)", rebuilt=True, last=True, fused=True, fold=True, graph=True)
VARIANTS = (
    EAGER,
    Variant("eager, channels-last", last=True),
    Variant("rebuilt", rebuilt=True, last=True),
    Variant("rebuilt + fold", rebuilt=True, last=True, fold=True),
    Variant("rebuilt + fused norm", rebuilt=True, last=True, fused=True),
    Variant("rebuilt + fused norm + fold", rebuilt=True, last=True, fused=True, fold=True),
    HIGH,
)


def config_of(kind: str, profile: str) -> dict[str, Any]:
    """The configuration of a network in this profile."""
    return {**FULL[kind], **(TINY[kind] if profile == "tiny" else {})}


def sources(profile: str, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """UNet and VAE with seeded random weights that keep activations finite; f32 on the device."""
    torch.manual_seed(SEED)
    with device:
        return build("unet", config_of("unet", profile)), build("vae", config_of("vae", profile))


class Runner:
    """One variant's networks, and a step of any batch size."""

    def __init__(self, variant: Variant, unet: nn.Module, vae: nn.Module, dtype: torch.dtype) -> None:
        self.variant = variant
        with torch.inference_mode():
            if variant.rebuilt:
                self.unet: nn.Module = FastUNet(unet, fold=variant.fold)
                self.decoder: nn.Module = FastDecoder(vae, fold=variant.fold)
            else:
                self.unet, self.decoder = ReferenceUNet(unet), ReferenceDecoder(vae)
            self.unet, self.decoder = self._cast(self.unet, dtype), self._cast(self.decoder, dtype)

    def _cast(self, module: nn.Module, dtype: torch.dtype) -> nn.Module:
        module = deepcopy(module).to(dtype)
        return module.to(memory_format=torch.channels_last) if self.variant.last else module

    def inputs(self, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Seeded latents and audio."""
        generator = torch.Generator(device).manual_seed(1)
        latents = torch.randn(size, 8, LATENT, LATENT, device=device, generator=generator).to(dtype)
        audio = torch.randn(size, TOKENS, AUDIO_DIM, device=device, generator=generator).to(dtype)
        return (latents.contiguous(memory_format=torch.channels_last) if self.variant.last else latents), audio

    def part(self, name: str, latents: Tensor, audio: Tensor) -> Callable[[], Tensor]:
        """The UNet, the decoder, or both with the conversion to BGR bytes."""
        if name == "unet":
            return lambda: self.unet(latents, audio)
        if name == "vae":
            small = latents[:, :4].contiguous()
            return lambda: self.decoder(small)
        return lambda: to_bgr(self.decoder(self.unet(latents, audio)))


def captured(action: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The action as a CUDA graph; each call replays it and returns the same memory."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = action()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay
