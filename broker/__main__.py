"""``python -m broker --config PATH --boot BOOT --epoch N --parent PID``: how the supervisor starts the broker."""

# ruff: noqa: E402 - the guards come before every other import
import sys

from broker.ipc import guards

guards.arm(int(sys.argv[sys.argv.index("--parent") + 1]) if "--parent" in sys.argv else None)

from configs import logs

# isort: split
import argparse
import os

import zmq

from broker.app import Broker
from broker.ipc import heap, wire
from broker.ipc.messages import Beat
from broker.ipc.sockets import BindError, Endpoints, SocketFactory
from configs.keys import KeyFileError
from configs.load import ConfigError, read_resolved
from configs.schema import Config

EXIT_FAILED = 1
EXIT_CONFIG = 78


def main() -> int:
    """Run the broker; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m broker", description="The daemon's broker.")
    parser.add_argument("--config", required=True, help="the resolved configuration (JSON)")
    parser.add_argument("--boot", required=True, help="id of the supervisor's run")
    parser.add_argument("--epoch", type=int, required=True, help="number of this incarnation, from 1")
    parser.add_argument("--parent", type=int, help="pid of the supervisor")
    parser.add_argument("--last-words", action="store_true", help="only end the sessions that are left")
    options = parser.parse_args()
    try:
        config = read_resolved(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    logs.setup(config.log, boot=options.boot, stage="broker", epoch=options.epoch, pid=os.getpid())
    if logs.is_json(config.log):
        guards.stacks_into(guards.stacks_path(config.runtime_dir, "broker", options.epoch))
    heap.give_back()
    try:
        broker = Broker(config, options.boot, options.epoch)
    except KeyFileError as error:
        logs.get().error("broker.broken", reason=str(error))
        _tell_supervisor(config, options.epoch, str(error))
        return EXIT_CONFIG
    except zmq.ZMQError as error:
        reason = str(error) if isinstance(error, BindError) else f"cannot bind a socket in runtime_dir: {error}"
        logs.get().error("broker.broken", reason=reason)
        _tell_supervisor(config, options.epoch, f"{reason}; see who holds it, or set another")
        return EXIT_FAILED  # whoever holds a port may let it go: another start may help
    return broker.run(last_words=options.last_words)


def _tell_supervisor(config: Config, epoch: int, reason: str) -> None:
    beat = Beat(src="broker", ep=epoch, stage="broker", pid=os.getpid(), state="loading", error=reason)
    with zmq.Context() as context:
        health = SocketFactory(context).push_connect(Endpoints(config.runtime_dir).health, hwm=4)
        health.send_multipart(wire.pack(beat), zmq.NOBLOCK)
        health.close()  # the context waits for its linger


if __name__ == "__main__":
    sys.exit(main())
