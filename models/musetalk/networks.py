"""The UNet and the VAE decoder: as diffusers defines them, and rebuilt to run faster.

``FastUNet`` and ``FastDecoder`` take over the weights of diffusers' modules. Their results differ by rounding
only; the tests hold them to that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.musetalk.blocks import MapAttention, Norm, Resnet, Transformer, Upsample
from models.musetalk.constants import SCALING


class ReferenceUNet(nn.Module):
    """diffusers' UNet at timestep 0."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.unet = source
        self.register_buffer("zero", torch.zeros(1, dtype=torch.long), persistent=False)

    def forward(self, latents: Tensor, audio: Tensor) -> Tensor:
        """f ``[B, 8, 32, 32]`` and ``[B, 50, 384]`` to ``[B, 4, 32, 32]``."""
        out: Tensor = self.unet(latents, self.zero, encoder_hidden_states=audio).sample
        return out


class ReferenceDecoder(nn.Module):
    """diffusers' decoder, from scaled latents."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.vae = source

    def forward(self, latents: Tensor) -> Tensor:
        """f ``[B, 4, 32, 32]`` to ``[B, 3, 256, 256]`` RGB, about -1 to 1."""
        out: Tensor = self.vae.decode(latents / SCALING).sample
        return out


class TinyDecoder(nn.Module):
    """The small decoder of the ``fast`` tier; it takes scaled latents as they are."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.decoder = source.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """f ``[B, 4, 32, 32]`` to ``[B, 3, 256, 256]`` RGB, about -1 to 1."""
        out: Tensor = self.decoder(latents)
        return out


def time_embedding(unet: Any) -> Tensor:
    """The embedding of timestep 0, f ``[1, 1280]``: cosines (1), then sines (0), through two linear layers."""
    width = unet.time_embedding.linear_1.in_features
    weight = unet.time_embedding.linear_1.weight
    constant = torch.cat([torch.ones(1, width // 2), torch.zeros(1, width - width // 2)], dim=1).to(weight)
    out: Tensor = unet.time_embedding(constant)
    return out


class FastUNet(nn.Module):
    """MuseTalk's UNet with the constant time embedding folded into its biases."""

    def __init__(self, source: Any, *, fold: bool = True) -> None:
        super().__init__()
        embedding = time_embedding(source)
        self.conv_in = source.conv_in
        self.down = nn.ModuleList(_Down(block, embedding) for block in source.down_blocks)
        mid = source.mid_block
        self.mid_first, self.mid_last = (Resnet(resnet, embedding) for resnet in mid.resnets)
        self.mid_attention = Transformer(mid.attentions[0])
        self.up = nn.ModuleList(_Up(block, embedding, fold) for block in source.up_blocks)
        self.norm_out, self.conv_out = Norm(source.conv_norm_out, silu=True), source.conv_out

    def forward(self, latents: Tensor, audio: Tensor) -> Tensor:
        """f ``[B, 8, 32, 32]`` and ``[B, 50, 384]`` to ``[B, 4, 32, 32]``."""
        x = self.conv_in(latents)
        kept = [x]
        for block in self.down:
            x = block(x, audio, kept)
        x = self.mid_last(self.mid_attention(self.mid_first(x), audio))
        for block in self.up:
            x = block(x, audio, kept)
        out: Tensor = self.conv_out(self.norm_out(x))
        return out


def _attentions(block: Any) -> nn.ModuleList:
    return nn.ModuleList(Transformer(attention) for attention in getattr(block, "attentions", ()))


class _Down(nn.Module):
    def __init__(self, block: Any, embedding: Tensor) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(resnet, embedding) for resnet in block.resnets)
        self.attentions = _attentions(block)
        self.sampler = block.downsamplers[0].conv if block.downsamplers else None

    def forward(self, x: Tensor, audio: Tensor, kept: list[Tensor]) -> Tensor:
        for index, resnet in enumerate(self.resnets):
            x = resnet(x)
            if self.attentions:
                x = self.attentions[index](x, audio)
            kept.append(x)
        if self.sampler is not None:
            x = self.sampler(x)
            kept.append(x)
        return x


class _Up(nn.Module):
    def __init__(self, block: Any, embedding: Tensor, fold: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(resnet, embedding) for resnet in block.resnets)
        self.attentions = _attentions(block)
        self.sampler = Upsample(block.upsamplers[0], fold=fold) if block.upsamplers else None

    def forward(self, x: Tensor, audio: Tensor, kept: list[Tensor]) -> Tensor:
        for index, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, kept.pop()], dim=1))
            if self.attentions:
                x = self.attentions[index](x, audio)
        return x if self.sampler is None else self.sampler(x)


class FastDecoder(nn.Module):
    """The VAE's decoder, from scaled latents; the scale is folded into the first convolution."""

    def __init__(self, source: Any, *, fold: bool = True) -> None:
        super().__init__()
        post, decoder = source.post_quant_conv, source.decoder
        self.post = nn.Conv2d(post.in_channels, post.out_channels, 1, device="meta")
        self.post.weight = nn.Parameter((post.weight.double() / SCALING).to(post.weight.dtype), False)
        self.post.bias = post.bias
        self.conv_in = decoder.conv_in
        mid = decoder.mid_block
        self.mid = nn.Sequential(
            Resnet(mid.resnets[0], None), MapAttention(mid.attentions[0]), Resnet(mid.resnets[1], None)
        )
        layers: list[nn.Module] = []
        for block in decoder.up_blocks:
            layers += [Resnet(resnet, None) for resnet in block.resnets]
            if block.upsamplers:
                layers.append(Upsample(block.upsamplers[0], fold=fold))
        self.up = nn.Sequential(*layers)
        self.norm_out, self.conv_out = Norm(decoder.conv_norm_out, silu=True), decoder.conv_out

    def forward(self, latents: Tensor) -> Tensor:
        """f ``[B, 4, 32, 32]`` to ``[B, 3, 256, 256]`` RGB, about -1 to 1."""
        x = self.up(self.mid(self.conv_in(self.post(latents))))
        out: Tensor = self.conv_out(self.norm_out(x))
        return out
