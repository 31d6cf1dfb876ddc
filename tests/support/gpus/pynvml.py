"""A double of NVML: what the package nvidia-ml-py offers, as far as it is asked. See ``sitecustomize.py``."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_GPU_IS_LOST = 15
MEMORY = SimpleNamespace(total=24_000_000_000, used=1_000_000_000)


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


def nvmlInit() -> None:  # noqa: N802 - NVML's own names, here and below
    """There is a driver."""


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:  # noqa: N802
    return uuid if uuid == os.environ["CUDA_VISIBLE_DEVICES"] else unknown(uuid)


def unknown(uuid: str) -> str:
    """What NVML says to a name that it has not given, such as the beginning of one."""
    raise NVMLError(NVML_ERROR_NOT_FOUND)


def nvmlDeviceGetMemoryInfo(handle: str) -> SimpleNamespace:  # noqa: N802
    if Path(os.environ["CUDA_DOUBLE_LOST"], handle).exists():
        raise NVMLError(NVML_ERROR_GPU_IS_LOST)
    return MEMORY
