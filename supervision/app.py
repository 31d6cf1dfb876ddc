"""``musecast up`` and ``python supervisor.py``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import secrets
import sys
from collections.abc import Callable, Sequence

from configs import logs
from configs.load import ConfigError, load, resolve, write_resolved
from configs.schema import Config
from supervision.daemon import Supervisor
from supervision.gpus import place_stages, visible_gpus, without_gpu
from supervision.notify import Notifier
from supervision.place import InUseError, PlaceError, RuntimeDir
from supervision.specs import Spec, make_specs

SpecMaker = Callable[[Config, str, str], Sequence[Spec]]
"""From the resolved configuration, the path it was written to, and the boot id."""


def main(argv: Sequence[str] | None = None, specs: SpecMaker = make_specs) -> int:
    """Run the daemon until it is told to stop.

    Args:
        argv: command line without the program's name; None: this process's own.
        specs: what the daemon consists of.

    Returns:
        0 stopped as asked, 70 a needed stage is FATAL, 75 ``runtime_dir`` in use, 78 configuration.
        Wrong arguments end the program with 2.
    """
    faulthandler.enable()  # systemd's watchdog sends SIGABRT
    options = _parse(argv)
    try:
        asked = resolve(load(options.config, options.set))
        config = place_stages(asked, visible_gpus())
        place = RuntimeDir(config.runtime_dir)
    except (ConfigError, InUseError, PlaceError) as error:
        print(f"musecast: {error}", file=sys.stderr)
        return error.exit_code
    with contextlib.closing(place):
        return _run(config, specs, without_gpu(asked, config))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="musecast up", description="Run the daemon in the foreground.")
    parser.add_argument("--config", metavar="F", help="a YAML file; the defaults are configs/default.yaml")
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="one setting, over file and environment"
    )
    return parser.parse_args(argv)


def _run(config: Config, specs: SpecMaker, on_cpu: list[str]) -> int:
    logs.setup(config.log, stage="supervisor", pid=os.getpid())
    boot = secrets.token_hex(8)
    try:
        os.makedirs(config.state_dir, mode=0o700, exist_ok=True)
        config_path = write_resolved(config)
    except OSError as error:
        print(f"musecast: {error}; choose another state_dir or runtime_dir", file=sys.stderr)
        return ConfigError.exit_code
    logs.get().info("daemon.starting", boot=boot, runtime_dir=config.runtime_dir, state_dir=config.state_dir)
    if on_cpu:
        hint = "the driver shows no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES, or set devices: cpu"
        logs.get().warning("gpu.none", stages=on_cpu, used="cpu", hint=hint)
    notifier = Notifier()
    try:
        return Supervisor(config, specs(config, config_path, boot), notifier).run()
    finally:
        notifier.close()
