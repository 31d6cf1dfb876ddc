"""Random checkpoints in the official layout: every file an upstream installation would have, a hundred times
smaller where the architecture is in a configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.musetalk.constants import UNET_CONFIG, VAE_CONFIG, WHISPER_CONFIG
from models.musetalk.keys import build

TINY_UNET: dict[str, Any] = {**UNET_CONFIG, "block_out_channels": [32, 32, 64, 64]}
TINY_VAE: dict[str, Any] = {**VAE_CONFIG, "block_out_channels": [32, 32, 64, 64]}
SMALLER_UNET: dict[str, Any] = {
    **UNET_CONFIG, "block_out_channels": [16, 32, 32, 32], "norm_num_groups": 16, "layers_per_block": 1,
}  # fmt: skip
SMALLER_VAE: dict[str, Any] = {
    **VAE_CONFIG, "block_out_channels": [4, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1,
}  # fmt: skip
TINY_WHISPER: dict[str, Any] = {**WHISPER_CONFIG, "encoder_ffn_dim": 384}

_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_OPENAI = [
    ("layers.", "blocks."), (".self_attn.q_proj.", ".attn.query."), (".self_attn.k_proj.", ".attn.key."),
    (".self_attn.v_proj.", ".attn.value."), (".self_attn.out_proj.", ".attn.out."),
    (".self_attn_layer_norm.", ".attn_ln."), (".fc1.", ".mlp.0."), (".fc2.", ".mlp.2."),
    (".final_layer_norm.", ".mlp_ln."), ("embed_positions.weight", "positional_embedding"),
]  # fmt: skip


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Weights that keep activations finite and make every tensor matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_mean"):
            drawn = torch.randn(value.shape, generator=generator) * 0.1
        elif name.endswith("running_var") or (value.ndim <= 1 and name.endswith(("weight", ".g", ".scale"))):
            drawn = torch.rand(value.shape, generator=generator) + 0.5
        elif value.ndim <= 1:
            drawn = torch.randn(value.shape, generator=generator) * 0.05
        else:
            fan = value[0].numel()
            drawn = torch.randn(value.shape, generator=generator) * (1.5 / fan) ** 0.5
        value.copy_(drawn)
    return module.eval().requires_grad_(False)


def sinusoids(steps: int, width: int) -> Tensor:
    """Whisper's position table: sines then cosines."""
    rate = torch.exp(-torch.arange(width // 2) * (torch.log(torch.tensor(10000.0)) / (width // 2 - 1)))
    angle = torch.arange(steps)[:, None] * rate[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def tiny(kind: str, seed: int = 0) -> nn.Module:
    """One network with random weights."""
    config = {"unet": TINY_UNET, "vae": TINY_VAE, "whisper": TINY_WHISPER}.get(kind, {})
    module = randomise(build(kind, config), seed)
    if kind == "whisper":
        table = module.get_submodule("embed_positions")
        table.weight.copy_(sinusoids(*table.weight.shape))
    return module


class Unimportable:
    """Stands for mmengine's message hub; its module is taken away before the file is read."""

    def __init__(self) -> None:
        self.log = {"loss": [1.0, 2.0]}


def old_vae_names(state: dict[str, Tensor], *, four_dimensional: bool = False) -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        if ".attentions." in key:
            for new, old in _OLD.items():
                key = key.replace(f".{new}.", f".{old}.")
            if four_dimensional and value.ndim == 2:
                value = value[:, :, None, None].clone()
        found[key] = value
    return found


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        for new, old in _OPENAI:
            key = key.replace(new, old)
        if key.startswith("layer_norm."):
            key = key.replace("layer_norm.", "ln_post.")
        found[f"encoder.{key}"] = value
    return {**found, "decoder.ln.weight": torch.ones(4)}


def write_json(path: Path, config: dict[str, Any], name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"_class_name": name, "_diffusers_version": "0.6.0.dev0", **config}))


def write_speaking(root: Path, *, smaller: bool = False) -> None:
    """The networks that speak: both UNets, VAE, Whisper; ``smaller`` where only the engine is of interest."""
    vae_config = SMALLER_VAE if smaller else TINY_VAE
    unet_config = SMALLER_UNET if smaller else TINY_UNET
    for folder, file, seed in (("musetalk", "pytorch_model.bin", 10), ("musetalkV15", "unet.pth", 15)):
        write_json(root / folder / "musetalk.json", unet_config, "UNet2DConditionModel")
        torch.save(randomise(build("unet", unet_config), seed).state_dict(), root / folder / file)
    write_json(root / "sd-vae" / "config.json", vae_config, "AutoencoderKL")
    vae = randomise(build("vae", vae_config), 1)
    torch.save(old_vae_names(vae.state_dict()), root / "sd-vae" / "diffusion_pytorch_model.bin")
    write_json(root / "whisper" / "config.json", TINY_WHISPER, "Whisper")
    state = {f"model.encoder.{key}": value for key, value in tiny("whisper", 2).state_dict().items()}
    state |= {"model.decoder.layer_norm.weight": torch.ones(384), "proj_out.weight": torch.ones(8, 384)}
    torch.save(state, root / "whisper" / "pytorch_model.bin")


def write_preparing(root: Path) -> None:
    """The networks that prepare templates; their sizes are fixed (about 280 MB together)."""
    for folder in ("dwpose", "face-parse-bisent", "s3fd"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    torch.save(tiny("bisenet", 4).state_dict(), root / "face-parse-bisent" / "79999_iter.pth")
    (root / "face-parse-bisent" / "resnet18-5c106cde.pth").write_bytes(b"never opened")
    torch.save(tiny("s3fd", 5).state_dict(), root / "s3fd" / "s3fd-619a316812.pth")
    checkpoint = {
        "meta": {"epoch": 1, "dataset_meta": {"flip": [1, 0]}},
        "message_hub": Unimportable(),
        "state_dict": tiny("dwpose", 6).state_dict(),
    }
    torch.save(checkpoint, root / "dwpose" / "dw-ll_ucoco_384.pth")
