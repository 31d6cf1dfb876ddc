"""How much of the GPU is in use: memory by PyTorch's own count, the rest by NVML where it is installed."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from models.meter import GpuUse

MEGABYTE = 1e6


def device_name(device: torch.device) -> str:
    """What to call the device outside this process, where each process sees its GPU as number 0."""
    if device.type != "cuda":
        return device.type
    return f"cuda:{os.environ.get('CUDA_VISIBLE_DEVICES') or device.index or 0}"


def gpu_use(device: torch.device) -> GpuUse:
    """One reading; may take milliseconds. NVML comes with the package nvidia-ml-py; without it, or where the
    driver does not allow it, its figures are None.
    """
    if device.type != "cuda":
        return GpuUse()
    used = _or_none(lambda: torch.cuda.device_memory_used(device))
    return GpuUse(
        memory_mb=_megabytes(_or_none(lambda: torch.cuda.memory_reserved(device))),
        utilisation=_or_none(lambda: float(torch.cuda.utilization(device))),
        device_used_mb=_megabytes(used),
        device_mb=_megabytes(_or_none(lambda: torch.cuda.get_device_properties(device).total_memory)),
    )


def _megabytes(size: float | None) -> float | None:
    return None if size is None else round(size / MEGABYTE, 1)


def _or_none(read: Callable[[], float]) -> float | None:
    try:
        return read()
    except Exception:  # torch and pynvml each have their own ways to say that there is nothing to read
        return None
