"""Which GPUs there are, without a driver library: one lip-sync process is started for each."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from configs.load import ConfigError
from configs.schema import Config
from configs.stages import STAGES

BY_BUS = "PCI_BUS_ID"
"""``CUDA_DEVICE_ORDER`` by which numbers mean what nvidia-smi and /proc say; CUDA's own order is by speed."""
NVIDIA_PROC = "/proc/driver/nvidia/gpus"
"""One folder per device that the driver has bound, by its address on the bus."""
_UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s*$", re.MULTILINE)


def visible_gpus(environ: Mapping[str, str] | None = None, proc: str = NVIDIA_PROC) -> list[str] | None:
    """What ``CUDA_VISIBLE_DEVICES`` may be set to for one GPU each; None when that cannot be told.

    A ``CUDA_VISIBLE_DEVICES`` of the daemon's own is respected, be its names numbers or identifiers of GPUs or of
    MIG instances. As for CUDA, the first entry that is none of these ends the list. Of several GPUs, numbers
    become identifiers where the driver tells them: when one falls off the bus, those behind it are numbered anew.
    """
    environ = os.environ if environ is None else environ
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    present = _present(proc)
    if chosen is not None:
        names = list(itertools.takewhile(_names_gpu, (name.strip() for name in chosen.split(","))))
    elif present is not None:
        names = [str(number) for number in range(len(present))]
    else:
        return None
    by_bus = environ.get("CUDA_DEVICE_ORDER", BY_BUS) == BY_BUS
    return [_lasting(name, present) for name in names] if by_bus and present and len(names) > 1 else names


def _present(proc: str) -> list[str] | None:
    """The identifier of each GPU in the order of the bus; "" where the driver has not told it yet."""
    try:
        folders = sorted(os.listdir(proc))
    except OSError:
        return None
    found = []
    for folder in folders:
        try:
            told = _UUID.search(Path(proc, folder, "information").read_text(errors="replace"))
        except OSError:
            told = None
        found.append(told[1] if told else "")
    return found


def _lasting(name: str, present: Sequence[str]) -> str:
    return (name.isdigit() and int(name) < len(present) and present[int(name)]) or name


def _names_gpu(name: str) -> bool:
    return name.isdigit() or name.startswith(("GPU-", "MIG-"))


def place_stages(config: Config, gpus: Sequence[str] | None) -> Config:
    """Turn ``devices`` of every stage into what its processes get: ``cpu``, or one ``cuda:<name>`` per process.

    ``auto`` becomes every GPU or the first (``StageKind.every_gpu``), or ``cpu`` where none is known. ``cuda:<n>``
    is the n-th of ``gpus``, as for CUDA itself; while they are unknown it is taken at its word. There are at least
    as many processes as devices.

    Raises:
        ConfigError: a device is named that is not there.
    """
    placed = {}
    for name in config.stages.__struct_fields__:
        stage = getattr(config.stages, name)
        devices, instances = stage.devices, stage.instances
        if devices == "auto":
            chosen = (gpus or ())[: None if STAGES[name].every_gpu else 1]
            devices = ",".join(f"cuda:{gpu}" for gpu in chosen) or "cpu"
        elif devices != "cpu" and gpus is not None:
            devices = ",".join(_nth(name, device, gpus) for device in devices.split(","))
        if devices != "cpu":
            instances = max(instances, devices.count(",") + 1)
        placed[name] = msgspec.structs.replace(stage, devices=devices, instances=instances)
    return msgspec.structs.replace(config, stages=msgspec.structs.replace(config.stages, **placed))


def _nth(stage: str, device: str, gpus: Sequence[str]) -> str:
    number = int(device.removeprefix("cuda:"))
    if number < len(gpus):
        return f"cuda:{gpus[number]}"
    raise ConfigError(
        f"{device} is not there: {len(gpus)} GPUs are visible" + (f" ({', '.join(gpus)})" if gpus else ""),
        key=f"stages.{stage}.devices",
        hint="choose from cuda:0 on, or auto, or cpu; CUDA_VISIBLE_DEVICES limits what the daemon sees",
    )


def without_gpu(asked: Config, placed: Config) -> list[str]:
    """Stages that asked for whatever GPU there is and got none."""
    return [
        name
        for name in asked.stages.__struct_fields__
        if getattr(asked.stages, name).devices == "auto" and getattr(placed.stages, name).devices == "cpu"
    ]
