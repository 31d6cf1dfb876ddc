"""``python -m clients.gateway --config PATH --boot BOOT --epoch 1 --parent PID``, as the supervisor starts it."""

# ruff: noqa: E402 - the guards come before every other import
import sys

from clients.gateway import line

line.arm(int(sys.argv[sys.argv.index("--parent") + 1]) if "--parent" in sys.argv else None)

import argparse
import os

from configs import logs
from configs.gateway import address
from configs.load import ConfigError, read_resolved
from configs.stages import GATEWAY

EXIT_CONFIG = 78
EXIT_FAILED = 1


def main() -> int:
    """Serve until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m clients.gateway", description="HTTP, WebSocket and the page.")
    parser.add_argument("--config", required=True, help="the resolved configuration (JSON)")
    parser.add_argument("--boot", default="", help="id of the supervisor's run")
    parser.add_argument("--epoch", type=int, default=1, help="number of this incarnation, from 1")
    parser.add_argument("--parent", type=int, help="pid of the supervisor")
    options = parser.parse_args()
    try:
        config = read_resolved(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    who = {"stage": GATEWAY, "instance": GATEWAY, "epoch": options.epoch, "pid": os.getpid()}
    logs.setup(config.log, boot=options.boot, **who)
    if logs.is_json(config.log):
        line.stacks_into(line.stacks_path(config.runtime_dir, GATEWAY, options.epoch))
    health = line.Line(config.runtime_dir, options.epoch, config.supervisor.beat_s)
    health.tell("loading")
    where = address(config.endpoints.gateway)
    if where is None:
        print("endpoints.gateway is off", file=sys.stderr)
        return EXIT_CONFIG
    try:
        from clients.gateway.serve import serve  # imports the framework: a second

        return serve(config, where, options.boot, health)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        logs.get().exception("gateway.broken")
        health.tell("loading", error=reason)
        return EXIT_CONFIG if isinstance(error, ConfigError | ModuleNotFoundError) else EXIT_FAILED
    finally:
        health.close()


if __name__ == "__main__":
    sys.exit(main())
