"""P5 and B1: what finds and parses faces, against plain arithmetic on the names of the published checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.musetalk import bisenet, s3fd
from tests.engines.musetalk.checkpoints import tiny
from tests.engines.musetalk.test_prepare import picture

State = Mapping[str, Tensor]
CLOSE = 1e-9
"""In float64, where the order of a sum does not show."""


def alike(found: Tensor, wanted: Tensor, least: float = 1e-3) -> None:
    assert found.shape == wanted.shape
    assert wanted.std() > least, "says the same of everything"
    assert (found - wanted).abs().max() <= CLOSE * max(1.0, float(wanted.abs().max()))


# --- S3FD ---------------------------------------------------------------------------------------------------


def conv(w: State, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)


def features(w: State, x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for k in range(1, count + 1):
            x = conv(w, f"conv{block}_{k}", x).clamp(min=0)
        if block >= 3:
            length = (x * x).sum(dim=1, keepdim=True) ** 0.5 + 1e-10
            found[f"conv{block}_3_norm"] = x / length * w[f"conv{block}_3_norm.weight"][:, None, None]
        height, width = (side // 2 * 2 for side in x.shape[2:])
        corners = [x[..., i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
        x = torch.stack(corners).amax(dim=0)
    found["fc7"] = x = conv(w, "fc7", conv(w, "fc6", x, 1, 3).clamp(min=0), 1, 0).clamp(min=0)
    for block in (6, 7):
        x = conv(w, f"conv{block}_1", x, 1, 0).clamp(min=0)
        found[f"conv{block}_2"] = x = conv(w, f"conv{block}_2", x, 2, 1).clamp(min=0)
    return found


@torch.inference_mode()
def test_p5_every_map_of_the_detector_is_what_the_published_names_say() -> None:
    network = tiny("s3fd", 5).double()
    w = network.state_dict()
    x = s3fd.network_input(np.stack([picture(96, 128), picture(96, 128, 1)]))
    assert torch.equal(x[0, :, 5, 7], torch.from_numpy(picture(96, 128)[5, 7, ::-1] - np.float32([104, 117, 123])))
    levels = network(x.double())
    wanted = features(w, x.double())
    assert len(levels) == len(wanted) == 6
    for (probability, offsets), (name, level) in zip(levels, wanted.items(), strict=True):
        scores = conv(w, f"{name}_mbox_conf", level)
        background = scores[:, :-1].amax(dim=1)
        alike(probability, 1 / (1 + torch.exp(background - scores[:, -1])), 1e-4)
        alike(offsets, conv(w, f"{name}_mbox_loc", level))


# --- BiSeNet ------------------------------------------------------------------------------------------------


def norm(w: State, at: str, x: Tensor) -> Tensor:
    scale = w[f"{at}.weight"] / (w[f"{at}.running_var"] + 1e-5) ** 0.5
    return x * scale[:, None, None] + (w[f"{at}.bias"] - w[f"{at}.running_mean"] * scale)[:, None, None]


def bare(w: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = w[f"{at}.weight"]
    return F.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2)


def cbr(w: State, at: str, x: Tensor) -> Tensor:
    return norm(w, f"{at}.bn", bare(w, f"{at}.conv", x)).clamp(min=0)


def trunk(w: State, x: Tensor) -> list[Tensor]:
    at = "cp.resnet"
    x = norm(w, f"{at}.bn1", bare(w, f"{at}.conv1", x, 2)).clamp(min=0)
    x = F.max_pool2d(F.pad(x, [1] * 4), 3, 2)  # after a ReLU nothing is below the zeros around it
    found = []
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"{at}.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(w, f"{name}.bn1", bare(w, f"{name}.conv1", x, stride)).clamp(min=0)
            y = norm(w, f"{name}.bn2", bare(w, f"{name}.conv2", y))
            if stride == 2:
                x = norm(w, f"{name}.downsample.1", bare(w, f"{name}.downsample.0", x, 2))
            x = (x + y).clamp(min=0)
        found.append(x)
    return found[1:]


def mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def gated(w: State, at: str, x: Tensor) -> Tensor:
    y = cbr(w, f"{at}.conv", x)
    return y * torch.sigmoid(norm(w, f"{at}.bn_atten", bare(w, f"{at}.conv_atten", mean(y))))


def twice(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def stretch(small: int, large: int) -> Tensor:
    """Linear interpolation whose ends are those of the small row: ``[large, small]``."""
    at = np.arange(large) * (small - 1) / (large - 1)
    return torch.from_numpy(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(small))))


def parsed(w: State, x: Tensor) -> Tensor:
    eighth, sixteenth, last = trunk(w, x)
    deep = cbr(w, "cp.conv_head32", twice(gated(w, "cp.arm32", last) + cbr(w, "cp.conv_avg", mean(last))))
    fine = cbr(w, "cp.conv_head16", twice(gated(w, "cp.arm16", sixteenth) + deep))
    both = cbr(w, "ffm.convblk", torch.cat([eighth, fine], dim=1))
    gate = torch.sigmoid(bare(w, "ffm.conv2", bare(w, "ffm.conv1", mean(both)).clamp(min=0)))
    scores = bare(w, "conv_out.conv_out", cbr(w, "conv_out.conv", both * gate + both))
    rows, columns = (stretch(a, b) for a, b in zip(scores.shape[2:], x.shape[2:], strict=True))
    return rows @ scores @ columns.T


@torch.inference_mode()
@pytest.mark.parametrize("size", [(128, 160), (64, 64)])
def test_b1_the_parsers_scores_are_what_the_published_names_say(size: tuple[int, int]) -> None:
    network = tiny("bisenet", 4).double()
    x = bisenet.network_input(picture(*size)[None])
    rgb = picture(*size)[5, 7] / 255.0
    assert np.allclose(x[0, :, 5, 7], (rgb - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225), atol=1e-6)
    wanted = parsed(network.state_dict(), x.double())
    alike(network(x.double()), wanted)
    assert len(wanted.argmax(dim=1).unique()) > 2, "one class everywhere"
