"""P2: DWPose, stage by stage, against plain arithmetic on the names of the published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engines.musetalk.checkpoints import tiny

pytest.importorskip("mmcv")
State = Mapping[str, Tensor]


def conv(w: State, at: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution, batch norm with eps 1e-5, SiLU."""
    kernel = w[f"{at}.conv.weight"]
    x = F.conv2d(x, kernel, None, stride, kernel.shape[2] // 2, 1, groups)
    scale = w[f"{at}.bn.weight"] / torch.sqrt(w[f"{at}.bn.running_var"] + 1e-5)
    shift = w[f"{at}.bn.bias"] - w[f"{at}.bn.running_mean"] * scale
    x = x * scale[:, None, None] + shift[:, None, None]
    return x * torch.sigmoid(x)


def csp(w: State, at: str, x: Tensor, blocks: int, add: bool) -> Tensor:
    short, main = conv(w, f"{at}.short_conv", x), conv(w, f"{at}.main_conv", x)
    for k in range(blocks):
        y = conv(w, f"{at}.blocks.{k}.conv1", main)
        y = conv(w, f"{at}.blocks.{k}.conv2.depthwise_conv", y, groups=y.shape[1])
        y = conv(w, f"{at}.blocks.{k}.conv2.pointwise_conv", y)
        main = main + y if add else y
    x = torch.cat([main, short], dim=1)
    gate = x.mean(dim=(2, 3)) @ w[f"{at}.attention.fc.weight"][:, :, 0, 0].T + w[f"{at}.attention.fc.bias"]
    return conv(w, f"{at}.final_conv", x * ((gate + 3) / 6).clamp(0, 1)[..., None, None])


def backbone(w: State, x: Tensor) -> list[Tensor]:
    for k, stride in ((0, 2), (1, 1), (2, 1)):
        x = conv(w, f"backbone.stem.{k}", x, stride)
    found = [x]
    for stage, blocks in ((1, 3), (2, 6), (3, 6)):
        x = conv(w, f"backbone.stage{stage}.0", x, 2)
        x = csp(w, f"backbone.stage{stage}.1", x, blocks, add=True)
        found.append(x)
    x = conv(w, "backbone.stage4.1.conv1", conv(w, "backbone.stage4.0", x, 2))
    pools = [F.max_pool2d(F.pad(x, [k // 2] * 4, value=-torch.inf), k, 1) for k in (5, 9, 13)]
    x = conv(w, "backbone.stage4.1.conv2", torch.cat([x, *pools], dim=1))
    return [*found, csp(w, "backbone.stage4.2", x, 3, add=False)]


def scale_norm(x: Tensor, g: Tensor) -> Tensor:
    return g * x / ((x**2).sum(dim=-1, keepdim=True).sqrt() * x.shape[-1] ** -0.5).clamp(min=1e-5)


def head(w: State, x: Tensor) -> dict[str, Tensor]:
    final = F.conv2d(x, w["head.final_layer.weight"], w["head.final_layer.bias"], padding=3)
    mlp = scale_norm(final.flatten(2), w["head.mlp.0.g"]) @ w["head.mlp.1.weight"].T
    both = scale_norm(mlp, w["head.gau.ln.g"]) @ w["head.gau.uv.weight"].T
    both = both * torch.sigmoid(both)
    u, v, base = both[..., :512], both[..., 512:1024], both[..., 1024:]
    q, k = (base * w["head.gau.gamma"][i] + w["head.gau.beta"][i] for i in (0, 1))
    weights = (torch.einsum("bnd,bmd->bnm", q, k) / 128**0.5).clamp(min=0) ** 2
    gau = mlp * w["head.gau.res_scale.scale"] + (u * (weights @ v)) @ w["head.gau.o.weight"].T
    x, y = (gau @ w[f"head.cls_{axis}.weight"].T for axis in "xy")
    return {"final_layer": final, "mlp": mlp, "gau": gau, "cls_x": x, "cls_y": y}


@torch.inference_mode()
def test_p2_every_stage_is_what_the_published_tables_say() -> None:
    network = tiny("dwpose", 6).double()  # in float32 the two round differently, by more on some machines
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    pictures = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 384, 288)))
    pictures = F.avg_pool2d(F.pad(pictures, [4] * 4), 9, 1) * 9
    network.train()(pictures)  # norms that have seen pictures, so that the answer follows the picture
    network.eval()
    seen: dict[str, Tensor] = {}
    places = {f"backbone.{name}": name for name in ("stem", "stage1", "stage2", "stage3", "stage4")}
    places |= {f"head.{name}": name for name in ("final_layer", "mlp", "gau", "cls_x", "cls_y")}
    for place, name in places.items():
        network.get_submodule(place).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out)  # type: ignore[misc]
        )
    network(pictures[:1])
    weights = network.state_dict()
    stages = backbone(weights, pictures[:1])
    wanted = dict(zip(("stem", "stage1", "stage2", "stage3", "stage4"), stages, strict=True))
    wanted |= head(weights, stages[-1])
    for name, value in wanted.items():
        assert seen[name].shape == value.shape, name
        assert value.std() > 1e-3, name
        assert (seen[name] - value).abs().max() <= 1e-9 * max(1.0, float(value.abs().max())), name
