"""``python -m broker --config PATH --boot BOOT --epoch N --parent PID``: how the supervisor starts the broker."""

# ruff: noqa: E402 - the guards come before every other import
import sys

from broker import guards

guards.arm(int(sys.argv[sys.argv.index("--parent") + 1]) if "--parent" in sys.argv else None)

import argparse
import os

import zmq

from broker.app import Broker
from configs import logs
from configs.load import ConfigError, read_resolved

EXIT_FAILED = 1
EXIT_CONFIG = 78


def main() -> int:
    """Run the broker; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m broker", description="The daemon's broker.")
    parser.add_argument("--config", required=True, help="the resolved configuration (JSON)")
    parser.add_argument("--boot", required=True, help="id of the supervisor's run")
    parser.add_argument("--epoch", type=int, required=True, help="number of this incarnation, from 1")
    parser.add_argument("--parent", type=int, help="pid of the supervisor")
    options = parser.parse_args()
    try:
        config = read_resolved(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    logs.setup(config.log, stage="broker", epoch=options.epoch, pid=os.getpid())
    try:
        broker = Broker(config, options.boot, options.epoch)
    except zmq.ZMQError as error:
        print(f"cannot bind the daemon's sockets: {error}; see endpoints and runtime_dir", file=sys.stderr)
        return EXIT_CONFIG if error.errno == zmq.EADDRINUSE else EXIT_FAILED
    return broker.run()


if __name__ == "__main__":
    sys.exit(main())
