"""What the daemon consists of, as commands, environments and limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configs import gateway
from configs.schema import Config
from configs.schema import Stage as StageConfig
from configs.stages import GATEWAY, ON_DEMAND, STAGES
from supervision.gpus import BY_BUS
from supervision.policy import Limits

BROKER_LOAD_S = 30.0
GATEWAY_LOAD_S = 60.0
BROKER_ITEM_S = 10.0
"""The broker has no items; one turn of its loop is never near this."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


@dataclass(frozen=True, slots=True)
class Spec:
    """One child to be kept running. ``--epoch`` and ``--parent`` are added to the command at each start."""

    stage: str
    instance: str
    command: tuple[str, ...]
    limits: Limits
    env: Mapping[str, str] = field(default_factory=dict)
    """Beside what is passed on to every process (``supervision.environment``)."""
    on_demand: bool = False
    optional: bool = False
    """The daemon goes on without it when it has to be given up."""

    @property
    def is_broker(self) -> bool:
        """All others come and go with it."""
        return self.stage == "broker"

    @property
    def is_worker(self) -> bool:
        """Workers are announced to the broker, and fenced when they die; the others are not known to it."""
        return self.stage not in ("broker", GATEWAY)


def make_specs(config: Config, config_path: str, boot: str) -> list[Spec]:
    """The broker first, then every instance of every stage in the order of start."""
    specs = [_broker(config, config_path, boot)]
    for stage, kind in STAGES.items():
        if kind.stands_in_for and len(config.engines.lipsync) < 2:
            continue
        settings: StageConfig = getattr(config.stages, stage)
        for number in range(settings.instances):
            specs.append(_stage(config, config_path, boot, stage, number))
    if gateway.address(config.endpoints.gateway) is not None:
        specs.append(_gateway(config, config_path, boot))
    return specs


def limits(config: Config, item_timeout_s: float, load_timeout_s: float, drain_s: float) -> Limits:
    """The configured beat with a child's own limits."""
    return Limits(
        beat_s=config.supervisor.beat_s,
        beats_missed=config.supervisor.beats_missed,
        item_timeout_s=item_timeout_s,
        load_timeout_s=load_timeout_s,
        drain_s=drain_s,
    )


def _broker(config: Config, config_path: str, boot: str) -> Spec:
    return Spec(
        stage="broker",
        instance="broker",
        command=(sys.executable, "-P", "-m", "broker", "--config", config_path, "--boot", boot),
        # An operator's `drain` may take its own time: only the daemon's own stop limits the broker's.
        limits=limits(config, BROKER_ITEM_S, BROKER_LOAD_S, float("inf")),
        env={**_base_environment(), **dict.fromkeys(THREAD_VARIABLES, "1"), "CUDA_VISIBLE_DEVICES": ""},
    )


def _gateway(config: Config, config_path: str, boot: str) -> Spec:
    return Spec(
        stage=GATEWAY,
        instance=GATEWAY,
        command=(sys.executable, "-P", "-m", "clients.gateway", "--config", config_path, "--boot", boot),
        # It has no items: its loop hangs when beats stay away.
        limits=limits(config, float("inf"), GATEWAY_LOAD_S, config.supervisor.stop_s),
        env={**_base_environment(), **dict.fromkeys(THREAD_VARIABLES, "1"), "CUDA_VISIBLE_DEVICES": ""},
        optional=True,
    )


def _stage(config: Config, config_path: str, boot: str, stage: str, number: int) -> Spec:
    settings: StageConfig = getattr(config.stages, stage)
    instance = f"{stage}.{number}"
    return Spec(
        stage=stage,
        instance=instance,
        command=(
            *(sys.executable, "-P", "-m", "stages", stage, "--instance", instance),
            *("--config", config_path, "--boot", boot),
        ),
        limits=limits(config, settings.item_timeout_s, settings.load_timeout_s, config.supervisor.stop_s),
        env={
            **_base_environment(),
            **dict.fromkeys(THREAD_VARIABLES, str(settings.threads)),
            **_devices(settings.devices, number),
        },
        on_demand=stage in ON_DEMAND,
    )


def _devices(devices: str, number: int) -> dict[str, str]:
    """The GPU that instance ``number`` may see, set before any library can look (``auto`` is resolved before)."""
    if devices == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    chosen = devices.split(",")
    return {
        "CUDA_VISIBLE_DEVICES": chosen[number % len(chosen)].removeprefix("cuda:"),
        "CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", BY_BUS),
    }


def _base_environment() -> dict[str, str]:
    """Children run with ``-P`` (nothing is imported from the working directory), so a checkout that is not
    installed has to be named to them.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").exists():
        return {}
    old = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{root}{os.pathsep}{old}" if old else str(root)}
