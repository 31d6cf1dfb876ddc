"""BiSeNet with a ResNet-18 trunk: 19 classes of a face, per pixel.

Yu et al., "BiSeNet: bilateral segmentation network for real-time semantic segmentation" (2018); names are
those of the published face-parsing checkpoint.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 19
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network_input(pictures: NDArray[np.uint8]) -> Tensor:
    """u8 RGB ``[B, H, W, 3]`` to ImageNet-normalised f32 ``[B, 3, H, W]``."""
    normal = (pictures.astype(np.float32) / 255 - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + y)


class ResNet18(nn.Module):
    """The trunk; returns the maps at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f ``[B, 3, H, W]``."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class ConvBNReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, cin: int, cout: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, 1, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        return F.relu(self.bn(self.conv(x)))


class Refine(nn.Module):
    """Attention refinement: a gate from the global average."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(cin, cout)
        self.conv_atten = nn.Conv2d(cout, cout, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        y: Tensor = self.conv(x)
        return y * torch.sigmoid(self.bn_atten(self.conv_atten(y.mean(dim=(2, 3), keepdim=True))))


class ContextPath(nn.Module):
    """The trunk, refined at 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = Refine(256, 128)
        self.arm32 = Refine(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk's 1/8 map and the refined one of the same size."""
        eighth, sixteenth, last = self.resnet(x)
        average = self.conv_avg(last.mean(dim=(2, 3), keepdim=True))
        deep = self.arm32(last) + F.interpolate(average, last.shape[2:], mode="nearest")
        deep = self.conv_head32(F.interpolate(deep, sixteenth.shape[2:], mode="nearest"))
        fine = self.arm16(sixteenth) + deep
        fine = self.conv_head16(F.interpolate(fine, eighth.shape[2:], mode="nearest"))
        return eighth, fine


class Fusion(nn.Module):
    """Joins the two maps through a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """f ``[B, 128, H, W]`` each."""
        y: Tensor = self.convblk(torch.cat([a, b], dim=1))
        gate = torch.sigmoid(self.conv2(F.relu(self.conv1(y.mean(dim=(2, 3), keepdim=True)))))
        return y * gate + y


class Head(nn.Module):
    """Class scores."""

    def __init__(self, cin: int, mid: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(cin, mid)
        self.conv_out = nn.Conv2d(mid, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        out: Tensor = self.conv_out(self.conv(x))
        return out


class BiSeNet(nn.Module):
    """Class scores at the input's size. ``conv_out16`` and ``conv_out32`` are loaded and not run."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Head(256, 256)
        self.conv_out16 = Head(128, 64)
        self.conv_out32 = Head(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, 3, H, W]``, ImageNet-normalised RGB, to ``[B, 19, H, W]``."""
        eighth, fine = self.cp(x)
        scores = self.conv_out(self.ffm(eighth, fine))
        return F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)
