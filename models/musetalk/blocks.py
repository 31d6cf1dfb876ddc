"""The building blocks of the fast networks: the same mathematics as diffusers' modules, fewer passes.

Everything runs in channels-last memory, where a feature map is also a list of tokens without a copy. Group
norm and SiLU are one step; nearest-neighbour doubling followed by a 3x3 convolution is one transposed
convolution with 4/9 of the arithmetic; query, key and value are one matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.musetalk.norm import group_norm


class Norm(nn.Module):
    """Group norm, with SiLU where ``silu``."""

    def __init__(self, source: nn.GroupNorm, *, silu: bool) -> None:
        super().__init__()
        self.weight, self.bias = source.weight, source.bias
        self.groups, self.eps, self.silu = source.num_groups, source.eps, silu

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        return group_norm(x, self.groups, self.weight, self.bias, self.eps, self.silu)


class Resnet(nn.Module):
    """Norm, SiLU, 3x3, twice, and a shortcut. A constant time embedding is already in the first bias."""

    def __init__(self, source: Any, embedding: Tensor | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(source.norm1, silu=True), Norm(source.norm2, silu=True)
        self.conv1, self.conv2 = source.conv1, source.conv2
        self.shortcut = source.conv_shortcut
        self.scale = float(source.output_scale_factor)
        if embedding is not None:
            shift = source.time_emb_proj(F.silu(embedding))[0]
            self.conv1 = _like(source.conv1, source.conv1.weight, source.conv1.bias + shift)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        y: Tensor = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        y = x + y
        return y if self.scale == 1.0 else y / self.scale


def _like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    made = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        device=weight.device,  # type: ignore[arg-type]
    )
    made.weight, made.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return made


def folded_kernel(weight: Tensor) -> Tensor:
    """Kernel of the transposed convolution that equals doubling, then a 3x3 convolution.

    Doubling spreads a pixel over 2x2; correlating that with the 3x3 kernel spreads it over 4x4. Sums are
    formed in float64, so that rounding happens once.

    Args:
        weight: f ``[out, in, 3, 3]``.

    Returns:
        f ``[in, out, 4, 4]`` in the dtype of ``weight``, for stride 2 and padding 1.
    """
    flipped = weight.double().flip(2, 3)
    spread = F.pad(flipped, (1, 1, 1, 1))
    box = spread[..., :-1, :-1] + spread[..., 1:, :-1] + spread[..., :-1, 1:] + spread[..., 1:, 1:]
    return box.to(weight.dtype).transpose(0, 1).contiguous()


class Upsample(nn.Module):
    """Doubling and a 3x3 convolution, in one where ``fold`` (always but to measure what it is worth)."""

    def __init__(self, source: Any, *, fold: bool = True) -> None:
        super().__init__()
        conv: nn.Conv2d = source.conv
        self.plain = None if fold else conv
        self.weight = nn.Parameter(folded_kernel(conv.weight), False)
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]`` to ``[B, C', 2H, 2W]``."""
        if self.plain is not None:
            doubled: Tensor = self.plain(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            return doubled
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)


class Attention(nn.Module):
    """Multi-head attention over tokens; ``context`` None means self-attention."""

    def __init__(self, source: Any, *, cross: bool) -> None:
        super().__init__()
        self.heads = int(source.heads)
        self.query = None
        if cross:
            self.query = source.to_q
            self.packed = _pack(source.to_k, source.to_v)
        else:
            self.packed = _pack(source.to_q, source.to_k, source.to_v)
        self.out = source.to_out[0]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """f ``[B, N, C]``, context f ``[B, M, 384]``."""
        if self.query is None:
            q, k, v = self.packed(x).chunk(3, dim=2)
        else:
            q = self.query(x)
            k, v = self.packed(context).chunk(2, dim=2)
        y = F.scaled_dot_product_attention(self._split(q), self._split(k), self._split(v))
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _pack(*layers: nn.Linear) -> nn.Linear:
    first = layers[0]
    made = nn.Linear(first.in_features, sum(x.out_features for x in layers), first.bias is not None, device="meta")
    made.weight = nn.Parameter(torch.cat([x.weight for x in layers]), False)
    if first.bias is not None:
        made.bias = nn.Parameter(torch.cat([x.bias for x in layers]), False)
    return made


class Transformer(nn.Module):
    """One transformer block around a feature map, with the audio as context."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.norm = Norm(source.norm, silu=False)
        self.proj_in, self.proj_out = _as_linear(source.proj_in), _as_linear(source.proj_out)
        (block,) = source.transformer_blocks
        self.norm1, self.norm2, self.norm3 = block.norm1, block.norm2, block.norm3
        self.attn1, self.attn2 = Attention(block.attn1, cross=False), Attention(block.attn2, cross=True)
        self.up, self.down = block.ff.net[0].proj, block.ff.net[2]

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """f ``[B, C, H, W]``, audio f ``[B, 50, 384]``."""
        height, width = x.shape[2:]
        y = self.proj_in(tokens(self.norm(x)))
        y = y + self.attn1(self.norm1(y))
        y = y + self.attn2(self.norm2(y), audio)
        value, gate = self.up(self.norm3(y)).chunk(2, dim=2)
        y = y + self.down(value * F.gelu(gate))
        return x + feature_map(self.proj_out(y), height, width)


def tokens(x: Tensor) -> Tensor:
    """``[B, C, H, W]`` to ``[B, H*W, C]``; free of copies in channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def feature_map(x: Tensor, height: int, width: int) -> Tensor:
    """The inverse of ``tokens``; the result is channels-last."""
    return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def _as_linear(conv: nn.Conv2d) -> nn.Linear:
    made = nn.Linear(conv.in_channels, conv.out_channels, device="meta")
    made.weight = nn.Parameter(conv.weight[:, :, 0, 0], False)
    made.bias = conv.bias
    return made


class MapAttention(nn.Module):
    """The VAE's single-head self-attention over a feature map."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.norm = Norm(source.group_norm, silu=False)
        self.attention = Attention(source, cross=False)
        self.scale = float(source.rescale_output_factor)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        y = x + feature_map(self.attention(tokens(self.norm(x))), *x.shape[2:])
        return y if self.scale == 1.0 else y / self.scale
