"""DWPose: 133 keypoints of a person, of which 68 are the face.

CSPNeXt-L (Lyu et al., "RTMDet", 2022) with an RTMCC head (Jiang et al., "RTMPose", 2023), distilled (Yang et
al., "Effective whole-body pose estimation with two-stages distillation", 2023). Built on ``mmcv.cnn`` of
mmcv-lite: no compiled operators, no mmpose, no mmdet.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.api import EngineError
from models.musetalk.pose import HEIGHT, WIDTH

try:
    from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
except ImportError as error:  # a plain pip install would bring a second OpenCV, hence --no-deps
    raise EngineError(
        "FAILED",
        f"mmcv-lite is not installed: {error}",
        "pip install --no-deps mmcv-lite==2.2.0 mmengine==0.10.7 && pip install addict yapf termcolor",
    ) from error

F32 = NDArray[np.float32]

KEYPOINTS = 133
_BINS = 2
"""Bins per network pixel."""
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_NORM = {"type": "BN", "eps": 1e-5}
_ACT = {"type": "SiLU"}


def _conv(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return ConvModule(cin, cout, kernel, stride, kernel // 2, norm_cfg=_NORM, act_cfg=_ACT)


class Block(nn.Module):
    """3x3, then a 5x5 depthwise-separable convolution."""

    def __init__(self, width: int, add: bool) -> None:
        super().__init__()
        self.conv1 = _conv(width, width)
        self.conv2 = DepthwiseSeparableConvModule(width, width, 5, padding=2, norm_cfg=_NORM, act_cfg=_ACT)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.add else y


class ChannelAttention(nn.Module):
    """A gate per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        return x * F.hardsigmoid(self.fc(x.mean(dim=(2, 3), keepdim=True)))


class CSP(nn.Module):
    """Cross-stage partial layer."""

    def __init__(self, width: int, blocks: int, add: bool = True) -> None:
        super().__init__()
        half = width // 2
        self.main_conv = _conv(width, half, 1)
        self.short_conv = _conv(width, half, 1)
        self.final_conv = _conv(width, width, 1)
        self.blocks = nn.Sequential(*(Block(half, add) for _ in range(blocks)))
        self.attention = ChannelAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        joined = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        out: Tensor = self.final_conv(self.attention(joined))
        return out


class SPP(nn.Module):
    """Spatial pyramid pooling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width // 2, 1)
        self.conv2 = _conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        x = self.conv1(x)
        out: Tensor = self.conv2(torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], dim=1))
        return out


class Backbone(nn.Module):
    """CSPNeXt-L."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 32, 3, 2), _conv(32, 32), _conv(32, 64))
        self.stage1 = nn.Sequential(_conv(64, 128, 3, 2), CSP(128, 3))
        self.stage2 = nn.Sequential(_conv(128, 256, 3, 2), CSP(256, 6))
        self.stage3 = nn.Sequential(_conv(256, 512, 3, 2), CSP(512, 6))
        self.stage4 = nn.Sequential(_conv(512, 1024, 3, 2), SPP(1024), CSP(1024, 3, add=False))

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, 3, 384, 288]`` to ``[B, 1024, 12, 9]``."""
        out: Tensor = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        return out


class ScaleNorm(nn.Module):
    """Division by the root mean square, times one number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))
        self.scale = width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """f ``[..., width]``."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.scale
        return x / norm.clamp(min=1e-5) * self.g


class Scale(nn.Module):
    """A weight per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """f ``[..., width]``."""
        return x * self.scale


class GAU(nn.Module):
    """Gated attention unit with squared ReLU and no position bias."""

    def __init__(self, width: int = 256, wide: int = 512, key: int = 128) -> None:
        super().__init__()
        self.split = (wide, wide, key)
        self.ln = ScaleNorm(width)
        self.uv = nn.Linear(width, 2 * wide + key, bias=False)
        self.gamma = nn.Parameter(torch.ones(2, key))
        self.beta = nn.Parameter(torch.zeros(2, key))
        self.o = nn.Linear(wide, width, bias=False)
        self.res_scale = Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, K, width]``."""
        u, v, base = torch.split(F.silu(self.uv(self.ln(x))), self.split, dim=-1)
        q = base * self.gamma[0] + self.beta[0]
        k = base * self.gamma[1] + self.beta[1]
        weights = F.relu(q @ k.transpose(1, 2) / self.split[2] ** 0.5) ** 2
        out: Tensor = self.res_scale(x) + self.o(u * (weights @ v))
        return out


class Head(nn.Module):
    """RTMCC: one distribution per keypoint and axis."""

    def __init__(self) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(1024, KEYPOINTS, 7, 1, 3)
        cells = (WIDTH // 32) * (HEIGHT // 32)
        self.mlp = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, 256, bias=False))
        self.gau = GAU()
        self.cls_x = nn.Linear(256, WIDTH * _BINS, bias=False)
        self.cls_y = nn.Linear(256, HEIGHT * _BINS, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f ``[B, 1024, 12, 9]`` to ``[B, 133, 576]`` and ``[B, 133, 768]``."""
        x = self.gau(self.mlp(self.final_layer(x).flatten(2)))
        return self.cls_x(x), self.cls_y(x)


class DWPose(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f ``[B, 3, 384, 288]``, normalised RGB."""
        found: tuple[Tensor, Tensor] = self.head(self.backbone(x))
        return found


def _flip_order() -> list[int]:
    face = [
        *((i, 16 - i) for i in range(8)), *((17 + i, 26 - i) for i in range(5)),
        (31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
        (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
    ]  # fmt: skip
    pairs = [(i, i + 1) for i in range(1, 16, 2)] + [(17, 20), (18, 21), (19, 22)]
    pairs += [(23 + a, 23 + b) for a, b in face] + [(91 + i, 112 + i) for i in range(21)]
    order = list(range(KEYPOINTS))
    for a, b in pairs:
        order[a], order[b] = b, a
    return order


FLIP = _flip_order()


def network_input(pictures: NDArray[np.uint8]) -> Tensor:
    """u8 BGR ``[B, 384, 288, 3]``, see ``pose.picture``, to normalised RGB f32 ``[B, 3, 384, 288]``."""
    rgb = pictures[..., ::-1].astype(np.float32)
    normal = (rgb - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))


@torch.inference_mode()
def scores(network: nn.Module, x: Tensor, *, together: bool = False) -> tuple[Tensor, Tensor]:
    """SimCC scores of pictures and their mirror images, averaged; ``together``: in one call of the network."""
    if together:
        both = network(torch.cat([x, x.flip(3)]))
        (ax, bx), (ay, by) = (one.chunk(2) for one in both)
    else:
        (ax, ay), (bx, by) = network(x), network(x.flip(3))
    return 0.5 * (ax + bx.flip(2)[:, FLIP]), 0.5 * (ay + by[:, FLIP])


def keypoints(sx: Tensor, sy: Tensor, *, sub_bin: bool) -> tuple[F32, F32]:
    """Network coordinates f32 ``[B, 133, 2]`` and scores ``[B, 133]``.

    ``sub_bin`` fits a parabola through the best bin and its neighbours; without it the finest step is half a
    network pixel, which is three to four pixels of a full-HD frame.
    """
    mx, ix = sx.max(dim=2)
    my, iy = sy.max(dim=2)
    x, y = ix.float(), iy.float()
    if sub_bin:
        x, y = x + _vertex(sx, ix), y + _vertex(sy, iy)
    score = torch.minimum(mx, my)
    found = torch.stack([x, y], dim=2)
    found[score <= 0] = -1
    return (found / _BINS).cpu().numpy(), score.cpu().numpy()


def _vertex(scores: Tensor, best: Tensor) -> Tensor:
    """Offset of a parabola's vertex from the best bin, within half a bin; 0 at the ends."""
    last = scores.shape[2] - 1
    inner = best.clamp(1, last - 1)
    left, middle, right = (scores.gather(2, (inner + k)[..., None])[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = torch.where(bend < 0, 0.5 * (left - right) / bend, torch.zeros_like(bend))
    return torch.where(inner == best, offset.clamp(-0.5, 0.5), torch.zeros_like(offset))
