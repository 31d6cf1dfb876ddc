"""Which GPUs there are, without a driver library: one lip-sync process is started for each."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from configs.schema import Config

NVIDIA_PROC = "/proc/driver/nvidia/gpus"
"""One folder per device that the driver has bound."""


def visible_gpus(environ: Mapping[str, str] | None = None, proc: str = NVIDIA_PROC) -> list[str]:
    """What ``CUDA_VISIBLE_DEVICES`` may be set to for one GPU each; none on a machine without.

    A ``CUDA_VISIBLE_DEVICES`` of the daemon's own is respected, whatever its names look like.
    """
    environ = os.environ if environ is None else environ
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    try:
        return [str(number) for number in range(len(os.listdir(proc)))]
    except OSError:
        return []


def place_stages(config: Config, gpus: list[str]) -> Config:
    """Turn ``devices`` of every stage into what its processes get: ``auto`` becomes one process per GPU, named
    ``cuda:<n>``, or ``cpu`` where there is none; a list of devices gets at least as many processes.
    """
    placed = {}
    for name in config.stages.__struct_fields__:
        stage = getattr(config.stages, name)
        devices, instances = stage.devices, stage.instances
        if devices == "auto":
            devices = ",".join(f"cuda:{gpu}" for gpu in gpus) or "cpu"
        if devices != "cpu":
            instances = max(instances, devices.count(",") + 1)
        placed[name] = msgspec.structs.replace(stage, devices=devices, instances=instances)
    return msgspec.structs.replace(config, stages=msgspec.structs.replace(config.stages, **placed))
