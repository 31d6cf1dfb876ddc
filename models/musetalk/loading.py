"""From converted weights to networks that are ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs.schema import Config
from models.api import EngineGoneError, Progress
from models.musetalk import norm
from models.musetalk.gpu import device_name, out_of_memory
from models.musetalk.keys import build
from models.musetalk.layout import BY_NAME, unet_component
from models.musetalk.networks import FastDecoder, FastUNet, ReferenceDecoder, ReferenceUNet, TinyDecoder
from models.musetalk.weights import load_converted
from models.musetalk.whisper import Encoder

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Networks:
    """Everything that speaking needs, on its device."""

    unet: nn.Module
    decoder: nn.Module
    encoder: Encoder
    device: torch.device
    dtype: torch.dtype


def choose_device(devices: str) -> torch.device:
    """The device for ``devices`` of the process's own stage; the supervisor shows it only the GPU that is its own.

    Raises:
        EngineGoneError: a GPU is asked for by name, and PyTorch sees none or gets no answer from it.
    """
    if devices == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda:0")
    if torch.cuda.is_available():
        wrong = _first_touch(device)
    elif devices == "auto":
        return torch.device("cpu")
    else:
        wrong = "PyTorch sees no GPU"
    if wrong:
        raise EngineGoneError(
            "FAILED", f"{device_name(device)}: {wrong}",
            "check the driver with nvidia-smi and that torch is a CUDA build, or set devices: cpu",
        )  # fmt: skip
    return device


def _first_touch(device: torch.device) -> str:
    """What is wrong with a device that PyTorch counts; a full one has its own way from here."""
    try:
        torch.zeros(1, device=device)
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return "" if out_of_memory(error) else str(error).strip().splitlines()[0]
    return ""


def choose_dtype(name: str, tier: str, device: torch.device) -> torch.dtype:
    """``auto`` is float16 on a GPU, but float32 for ``lossless`` and on a CPU."""
    if name != "auto":
        return _DTYPES[name]
    return torch.float16 if device.type == "cuda" and tier != "lossless" else torch.float32


def load_module(root: Path, name: str) -> Any:
    """A component as its definition has it: f32, on the CPU, weights shared with the file's mapping.

    Raises:
        EngineError: FAILED, see ``load_converted``.
    """
    config, state = load_converted(root, name)
    with torch.device("meta"):
        module = build(BY_NAME[name].kind, config)
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    buffers = {key for key in module.state_dict() if key.endswith("num_batches_tracked")}
    state |= {key: torch.zeros((), dtype=torch.long) for key in buffers}
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def load_networks(config: Config, devices: str, progress: Progress) -> Networks:
    """Load what speaking needs, in the configured tier, to one of ``devices`` (see ``choose_device``).

    Raises:
        EngineError: FAILED, naming the file and the next step.
    """
    settings, root = config.musetalk, Path(config.weights_dir)
    device = choose_device(devices)
    dtype = choose_dtype(settings.dtype, settings.tier, device)
    if device.type == "cuda" and settings.tier != "lossless":
        norm.try_fused(device, dtype)
    progress("weights", 0, 3)
    with torch.inference_mode():
        source = load_module(root, unet_component(settings.version))
        unet: nn.Module = ReferenceUNet(source) if settings.tier == "lossless" else FastUNet(source)
        unet = _place(unet, device, dtype)
        progress("weights", 1, 3)
        if settings.tier == "fast":
            decoder: nn.Module = TinyDecoder(load_module(root, "taesd"))
        else:
            vae = load_module(root, "vae")
            decoder = ReferenceDecoder(vae) if settings.tier == "lossless" else FastDecoder(vae)
        decoder = _place(decoder, device, dtype)
        progress("weights", 2, 3)
        encoder = load_module(root, "whisper").to(device, dtype)
    assert isinstance(encoder, Encoder)
    progress("weights", 3, 3)
    return Networks(unet, decoder, encoder, device, dtype)


def _place(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return module.eval().requires_grad_(False).to(device, dtype).to(memory_format=torch.channels_last)
