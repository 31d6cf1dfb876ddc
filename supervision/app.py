"""``musecast up`` and ``python supervisor.py``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Sequence

from broker.ipc import guards
from configs import keys, logs
from configs.load import ConfigError, write_resolved
from configs.plain import plain
from configs.schema import Config, Log
from supervision import preflight
from supervision.console import for_terminal
from supervision.daemon import Supervisor
from supervision.gpus import without_gpu
from supervision.notify import Notifier
from supervision.place import InUseError, PlaceError, RuntimeDir, StateDir, make_socket_folder
from supervision.preflight import Obstacle, Plan
from supervision.reload import Reloader
from supervision.specs import Spec, make_specs

EXIT_INTERRUPTED = 130
SpecMaker = Callable[[Config, str, str], Sequence[Spec]]
"""From the resolved configuration, the path it was written to, and the boot id."""
Look = Callable[[Plan], Iterable[Obstacle]]
"""What stands in the way of a start, see ``preflight``."""


def main(
    argv: Sequence[str] | None = None, specs: SpecMaker = make_specs, look: Look = preflight.obstacles
) -> int:
    """Run the daemon until it is told to stop. When it cannot, the last line says why, and the next step.

    Args:
        argv: command line without the program's name; None: this process's own.
        specs: what the daemon consists of.
        look: what stands in the way of a start.

    Returns:
        0 stopped as asked, 70 a needed stage is FATAL or a port is taken, 75 ``runtime_dir`` in use,
        78 configuration, 130 Ctrl-C before anything was started. Wrong arguments end the program with 2.
    """
    faulthandler.enable()  # systemd's watchdog sends SIGABRT
    options = _parse(argv)
    if options.parent:
        guards.follow(options.parent, signal.SIGTERM)
    try:
        plan = preflight.read(options.config, options.set)
        with contextlib.closing(RuntimeDir(plan.config.runtime_dir)):
            reloader = Reloader(plan.asked, lambda: preflight.read(options.config, options.set).asked)
            return _start(plan, specs, look, reloader)
    except (ConfigError, InUseError, PlaceError) as error:
        return _refuse(str(error), error.exit_code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="musecast up", description="Run the daemon in the foreground.")
    parser.add_argument("--config", metavar="F", help="a YAML file; the defaults are configs/default.yaml")
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="one setting, over file and environment"
    )
    parser.add_argument("--parent", metavar="PID", type=int, help="stop in order when this process is gone")
    return parser.parse_args(argv)


def _refuse(cause: str, exit_code: int, log: Log | None = None) -> int:
    """The last line: for a person, or one of JSON where every line is."""
    log = Log() if log is None else log
    words = " ".join(plain(cause).split())
    if logs.is_json(log):
        logs.setup(log, stage="supervisor", pid=os.getpid())
        logs.get().error("daemon.refused", code=exit_code, reason=words)
    else:
        print("musecast:", words, file=sys.stderr, flush=True)
    return exit_code


def _make_places(config: Config) -> None:
    """Keys and folders of the public sockets, where they are missing.

    Raises:
        PlaceError, OSError: one cannot be made.
    """
    for address in (config.endpoints.control, config.endpoints.stream):
        if address.startswith(preflight.IPC):
            make_socket_folder(address.removeprefix(preflight.IPC))
    if config.security.curve:
        security = config.security
        keys.make_own(config.state_dir, security.secret_key_file, security.clients_dir)


def _start(plan: Plan, specs: SpecMaker, look: Look, reloader: Reloader) -> int:
    """Everything from the lock of ``runtime_dir`` on."""
    config, console = for_terminal(plan.config)
    boot = secrets.token_hex(8)
    logs.setup(config.log, boot=boot, stage="supervisor", pid=os.getpid())
    warnings = []
    for obstacle in look(plan):
        if obstacle.exit_code:
            return _refuse(str(obstacle), obstacle.exit_code, config.log)
        warnings.append(obstacle)
    if any(obstacle.key == preflight.GATEWAY_KEY for obstacle in warnings):
        config = preflight.without_gateway(config)
    preflight.lift_file_limit(config)
    try:
        state = StateDir(config.state_dir)
        _make_places(config)
        config_path = write_resolved(config)
    except PlaceError as error:
        return _refuse(str(error), error.exit_code, config.log)
    except OSError as error:
        return _refuse(f"{error}; choose another state_dir or runtime_dir", ConfigError.exit_code, config.log)
    logs.get().info("daemon.starting", boot=boot, runtime_dir=config.runtime_dir, state_dir=config.state_dir)
    for obstacle in warnings:
        logs.get().warning("start.without", key=obstacle.key, reason=obstacle.message, hint=obstacle.hint)
    if state.shared:
        hint = "they share templates and their limit of size; set another state_dir to keep them apart"
        logs.get().warning("state_dir.shared", state_dir=config.state_dir, hint=hint)
    on_cpu = without_gpu(plan.asked, config)
    if on_cpu:
        hint = "the driver shows no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES, or set devices: cpu"
        logs.get().warning("gpu.none", stages=on_cpu, used="cpu", hint=hint)
    console.loading()
    told = [str(obstacle) for obstacle in warnings]
    with contextlib.closing(state), contextlib.closing(Notifier()) as notifier:
        supervisor = Supervisor(config, specs(config, config_path, boot), notifier, console, told, reloader)
        code = supervisor.run()
    return _refuse(supervisor.cause, code, config.log) if supervisor.cause else code
