"""A supervisor over the fake broker and fake stages: ``python -m tests.processes.small_daemon [--set a.b=c]...``.

``FAKE_STAGES`` lists ``instance=class`` or ``instance=class@temper+temper``.
"""

from __future__ import annotations

import os
import sys

from configs.schema import Config
from supervision.app import main
from supervision.specs import Spec, limits


def specs_for(config: Config, config_path: str, _boot: str) -> list[Spec]:
    common = ("--config", config_path, "--boot", "test")
    found = [
        Spec(
            stage="broker",
            instance="broker",
            command=(sys.executable, "-m", "tests.processes.fake_broker", *common),
            limits=limits(config, 10, 300, float("inf")),
            env={"FAKE_BROKER": os.environ.get("FAKE_BROKER", "")},
        )
    ]
    for text in os.environ.get("FAKE_STAGES", "").split():
        instance, _, rest = text.partition("=")
        kind, _, temper = rest.partition("@")
        stage = instance.partition(".")[0]
        settings = getattr(config.stages, stage)
        module = (sys.executable, "-m", "stages", f"tests.processes.fakes:{kind}")
        found.append(
            Spec(
                stage=stage,
                instance=instance,
                command=(*module, "--instance", instance, *common),
                limits=limits(config, settings.item_timeout_s, settings.load_timeout_s, config.supervisor.stop_s),
                env={"FAKE_TEMPER": temper.replace("+", " ")},
                on_demand=stage == "prepare",
            )
        )
    return found


if __name__ == "__main__":
    sys.exit(main(specs=specs_for, look=lambda _: ()))
