"""``python -m stages <name> --instance encode.0 --epoch 3 --config PATH --boot BOOT --parent PID``.

The supervisor starts every stage this way. ``<name>`` is one of ``configs.stages.STAGES``, or ``module:Class``.
"""

# ruff: noqa: E402 - the guards come before every other import
import sys

from broker.ipc import guards

guards.arm(int(sys.argv[sys.argv.index("--parent") + 1]) if "--parent" in sys.argv else None)

import argparse
import importlib
import os

from configs import logs
from configs.load import ConfigError, read_resolved
from configs.stages import STAGES
from stages.runtime import EXIT_CONFIG, EXIT_FAILED, Identity, Runtime, report_failure
from stages.stage import Stage


def _stage_class(name: str) -> type[Stage]:
    factory = STAGES[name].factory if name in STAGES else name
    module, _, attribute = factory.partition(":")
    found = getattr(importlib.import_module(module), attribute, None) if attribute else None
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise ConfigError(f"{name!r} is not a stage", hint=f"known are {', '.join(STAGES)}, or module:Class")
    return found


def main() -> int:
    """Run one stage process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stages", description="One stage of the daemon.")
    parser.add_argument("name", help=f"{', '.join(STAGES)} or module:Class")
    parser.add_argument("--instance", required=True, help="e.g. encode.0")
    parser.add_argument("--epoch", type=int, required=True, help="number of this incarnation, from 1")
    parser.add_argument("--config", required=True, help="the resolved configuration (JSON)")
    parser.add_argument("--boot", required=True, help="id of the supervisor's run")
    parser.add_argument("--parent", type=int, help="pid of the supervisor")
    options = parser.parse_args()
    try:
        config = read_resolved(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    identity = Identity(options.instance, options.epoch, options.boot, options.parent)
    who = {"stage": options.name, "instance": identity.instance, "epoch": identity.epoch, "pid": os.getpid()}
    logs.setup(config.log, boot=identity.boot, **who)
    if logs.is_json(config.log):
        guards.stacks_into(guards.stacks_path(config.runtime_dir, identity.instance, identity.epoch))
    try:
        stage = _stage_class(options.name)(config, identity.instance)
        runtime = Runtime(stage, identity)
    except Exception as error:  # the supervisor shows the reason, the log the stack
        logs.get().exception("stage.broken")
        report_failure(config, identity, options.name, f"{type(error).__name__}: {error}")
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
    os.nice(stage.settings.nice)
    code = runtime.run()
    if not runtime.clean:
        sys.stderr.flush()
        os._exit(code)  # a native call that does not return must not keep the process
    return code


if __name__ == "__main__":
    sys.exit(main())
