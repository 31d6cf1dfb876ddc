"""S3FD: faces of a picture.

Zhang et al., "S3FD: single shot scale-invariant face detector" (2017); names are those of the published
checkpoint. The odd parts (BGR means on an RGB picture, a padding of 3 in ``fc6``) belong to its weights.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

F32 = NDArray[np.float32]

MEANS = (104.0, 117.0, 123.0)
CANDIDATE, OVERLAP, SURE = 0.05, 0.3, 0.5
_TRUNK = (
    (("conv1_1", 3, 64), ("conv1_2", 64, 64)),
    (("conv2_1", 64, 128), ("conv2_2", 128, 128)),
    (("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256)),
    (("conv4_1", 256, 512), ("conv4_2", 512, 512), ("conv4_3", 512, 512)),
    (("conv5_1", 512, 512), ("conv5_2", 512, 512), ("conv5_3", 512, 512)),
)
_HEADS = (
    ("conv3_3_norm", 256, 4),
    ("conv4_3_norm", 512, 2),
    ("conv5_3_norm", 512, 2),
    ("fc7", 1024, 2),
    ("conv6_2", 512, 2),
    ("conv7_2", 256, 2),
)


class L2Norm(nn.Module):
    """Unit length over channels, times a weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, C, H, W]``."""
        length = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        return x / length * self.weight[None, :, None, None]


class S3FD(nn.Module):
    """VGG-16 and six detection heads."""

    def __init__(self) -> None:
        super().__init__()
        for block in _TRUNK:
            for name, cin, cout in block:
                self.add_module(name, nn.Conv2d(cin, cout, 3, 1, 1))
        self.fc6 = nn.Conv2d(512, 1024, 3, 1, 3)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.conv6_1, self.conv6_2 = nn.Conv2d(1024, 256, 1), nn.Conv2d(256, 512, 3, 2, 1)
        self.conv7_1, self.conv7_2 = nn.Conv2d(512, 128, 1), nn.Conv2d(128, 256, 3, 2, 1)
        for name, channels, _ in _HEADS[:3]:
            self.add_module(name, L2Norm(channels))
        for name, channels, scores in _HEADS:
            self.add_module(f"{name}_mbox_conf", nn.Conv2d(channels, scores, 3, 1, 1))
            self.add_module(f"{name}_mbox_loc", nn.Conv2d(channels, 4, 3, 1, 1))

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per level: face probability ``[B, h, w]`` and offsets ``[B, 4, h, w]``."""
        maps = []
        for index, block in enumerate(_TRUNK):
            for name, _, _ in block:
                x = F.relu(self.get_submodule(name)(x))
            if index >= 2:
                maps.append(self.get_submodule(_HEADS[index - 2][0])(x))
            x = F.max_pool2d(x, 2)
        x = F.relu(self.fc7(F.relu(self.fc6(x))))
        maps.append(x)
        x = F.relu(self.conv6_2(F.relu(self.conv6_1(x))))
        maps.append(x)
        maps.append(F.relu(self.conv7_2(F.relu(self.conv7_1(x)))))
        found = []
        for (name, _, scores), level in zip(_HEADS, maps, strict=True):
            conf = self.get_submodule(f"{name}_mbox_conf")(level)
            if scores == 4:
                conf = torch.cat([conf[:, :3].amax(dim=1, keepdim=True), conf[:, 3:]], dim=1)
            loc = self.get_submodule(f"{name}_mbox_loc")(level)
            found.append((torch.softmax(conf, dim=1)[:, 1], loc))
        return found


def network_input(pictures: NDArray[np.uint8]) -> Tensor:
    """u8 BGR ``[B, H, W, 3]`` to f32 ``[B, 3, H, W]``."""
    rgb = torch.from_numpy(np.ascontiguousarray(pictures[..., ::-1])).permute(0, 3, 1, 2).float()
    return rgb - torch.tensor(MEANS)[None, :, None, None]


def decode(levels: list[tuple[Tensor, Tensor]], index: int) -> F32:
    """Faces of picture ``index``, best first: f32 ``[n, 5]``: x0, y0, x1, y1, score."""
    found = []
    for level, (probability, offsets) in enumerate(levels):
        stride = 4 << level
        rows, columns = torch.nonzero(probability[index] > CANDIDATE, as_tuple=True)
        score = probability[index, rows, columns]
        dx, dy, dw, dh = offsets[index, :, rows, columns]
        side = 4.0 * stride
        cx = stride / 2 + columns * stride + dx * 0.1 * side
        cy = stride / 2 + rows * stride + dy * 0.1 * side
        w, h = side * torch.exp(dw * 0.2), side * torch.exp(dh * 0.2)
        found.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score], dim=1))
    boxes = torch.cat(found).float().cpu().numpy()
    kept = boxes[suppress(boxes)]
    sure: F32 = kept[kept[:, 4] > SURE]
    return sure


def suppress(boxes: F32) -> list[int]:
    """Greedy non-maximum suppression with areas in whole pixels; indices in order of score.

    Of equal scores (float32 saturates at 1) the later one is first, as published.
    """
    order = np.argsort(boxes[:, 4], kind="stable")[::-1]
    x0, y0, x1, y1 = boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3]
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        w = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest]) + 1
        h = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest]) + 1
        shared = np.maximum(w, 0) * np.maximum(h, 0)
        order = rest[shared / (area[best] + area[rest] - shared) <= OVERLAP]
    return kept
