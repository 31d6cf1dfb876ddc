"""How much of the GPU is in use: memory by PyTorch's own count, the rest by NVML where it is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from models.meter import GpuUse

MEGABYTE = 1e6
_SHORT = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the device's memory is short.

    PyTorch's allocator has a class of its own for it. What asks the driver itself has not: a graph when it is made
    or first launched, a kernel that is loaded, a handle or a plan of cuBLAS, cuDNN and cuFFT.
    """
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _SHORT)


def is_lost(device: torch.device) -> bool:
    """Whether the device is lost to this process: after an illegal access or a fault of the GPU every call fails,
    and only a new process gets a new context.
    """
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def is_gone(device: torch.device) -> bool:
    """Whether the driver says that the GPU has left the machine: it fell off the bus, or was taken out of it.

    False also where NVML is not installed or does not know the GPU by the name that CUDA has for it.
    """
    name = os.environ.get("CUDA_VISIBLE_DEVICES") or str(device.index or 0)
    if device.type != "cuda":
        return False
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver library, no driver
        return False
    try:
        named = name.startswith(("GPU-", "MIG-"))
        handle = pynvml.nvmlDeviceGetHandleByUUID(name) if named else pynvml.nvmlDeviceGetHandleByIndex(int(name))
        pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        return bool(error.value == pynvml.NVML_ERROR_GPU_IS_LOST)
    except ValueError:
        return False
    return False


@contextmanager
def exact() -> Iterator[None]:
    """Full float32 and repeatable algorithms, whatever the networks are set to: for what is kept, and for sound.

    TF32 has 10 bits of mantissa, 60 dB: the log-mel is clamped 80 dB below its maximum.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = False, True, False, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


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
