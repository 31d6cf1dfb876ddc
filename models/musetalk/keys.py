"""What a state dictionary must contain, and the other spellings that are understood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.musetalk.pickles import State

Shapes = dict[str, tuple[int, ...]]
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_PATTERN = re.compile(r"^(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)$")
_OPENAI = (
    (re.compile(r"^blocks\."), "layers."),
    (re.compile(r"\.attn\.query\."), ".self_attn.q_proj."),
    (re.compile(r"\.attn\.key\."), ".self_attn.k_proj."),
    (re.compile(r"\.attn\.value\."), ".self_attn.v_proj."),
    (re.compile(r"\.attn\.out\."), ".self_attn.out_proj."),
    (re.compile(r"\.attn_ln\."), ".self_attn_layer_norm."),
    (re.compile(r"\.mlp\.0\."), ".fc1."),
    (re.compile(r"\.mlp\.2\."), ".fc2."),
    (re.compile(r"\.mlp_ln\."), ".final_layer_norm."),
    (re.compile(r"^ln_post\."), "layer_norm."),
    (re.compile(r"^positional_embedding$"), "embed_positions.weight"),
)


def normalise(kind: str, state: State) -> State:
    """The state under today's names.

    VAE: the old names of the mid-block attention, and its matrices stored as 1x1 convolutions. Whisper: the
    prefixes of Hugging Face and the names of OpenAI; what does not belong to the encoder is dropped.
    """
    if kind == "vae":
        return dict(_vae_entry(key, value) for key, value in state.items())
    if kind == "whisper":
        return _whisper(state)
    if kind in ("dwpose", "bisenet", "s3fd"):
        return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return state


def _vae_entry(key: str, value: Tensor) -> tuple[str, Tensor]:
    match = _OLD_PATTERN.match(key)
    if match is not None:
        key = f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}"
    if ".attentions." in key and value.layout is torch.strided and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    return key, value


def _whisper(state: State) -> State:
    found: State = {}
    for key, value in state.items():
        key = key.removeprefix("model.")
        if not key.startswith("encoder."):
            continue
        key = key.removeprefix("encoder.")
        for pattern, name in _OPENAI:
            key = pattern.sub(name, key)
        found[key] = value
    return found


def build(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """The network of a component in evaluation mode, with weights that mean nothing yet.

    ``with torch.device("meta")`` around it costs no memory.
    """
    module: nn.Module
    if kind == "unet":
        from diffusers import UNet2DConditionModel

        module = UNet2DConditionModel.from_config(_public(config))
    elif kind == "vae":
        from diffusers import AutoencoderKL

        module = AutoencoderKL.from_config(_public(config))
    elif kind == "taesd":
        from diffusers import AutoencoderTiny

        module = AutoencoderTiny.from_config(_public(config))
    elif kind == "whisper":
        from models.musetalk.whisper import Encoder, EncoderConfig

        module = Encoder(EncoderConfig.from_dict(config))
    elif kind == "bisenet":
        from models.musetalk.bisenet import BiSeNet

        module = BiSeNet()
    elif kind == "s3fd":
        from models.musetalk.s3fd import S3FD

        module = S3FD()
    elif kind == "dwpose":
        from models.musetalk.dwpose import DWPose

        module = DWPose()
    else:
        raise ValueError(f"no network of kind {kind!r}")
    return module.eval().requires_grad_(False)


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def expected_shapes(kind: str, config: Mapping[str, Any]) -> Shapes:
    """Name and shape of every tensor that a component must have; all of them hold floating-point numbers."""
    with torch.device("meta"):
        module = build(kind, config)
    return {
        key: tuple(value.shape)
        for key, value in module.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def differences(state: Mapping[str, Tensor], expected: Shapes, most: int = 3) -> list[str]:
    """What does not fit, one sentence each; empty when all does. Long lists are cut to ``most`` names."""
    problems = []
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    odd = {key: oddity for key in sorted(expected.keys() & state.keys()) if (oddity := _oddity(state[key]))}
    wrong = sorted(key for key in expected.keys() & state.keys() if tuple(state[key].shape) != expected[key])
    if missing:
        problems.append(f"{len(missing)} tensors are missing: {_names(missing, most)}")
    if extra:
        problems.append(f"{len(extra)} tensors do not belong there: {_names(extra, most)}")
    if wrong:
        first = wrong[0]
        problems.append(
            f"{len(wrong)} tensors have another shape: {first} is {list(state[first].shape)}, "
            f"not {list(expected[first])}"
        )
    if odd:
        first = next(iter(odd))
        problems.append(f"{len(odd)} tensors do not hold plain floating-point numbers: {first} is {odd[first]}")
    return problems


def _oddity(value: Tensor) -> str:
    """What a tensor is instead of dense floating-point numbers in memory; "" for one that is."""
    if value.layout is not torch.strided:
        return f"sparse ({str(value.layout).removeprefix('torch.')})"
    if value.is_quantized or value.dtype not in FLOATS:
        return str(value.dtype).removeprefix("torch.")
    return "" if value.device.type == "cpu" else f"without numbers ({value.device})"


def _names(keys: list[str], most: int) -> str:
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
