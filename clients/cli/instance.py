"""``musecast drain`` and ``resume``: one process out of service, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from clients.cli.common import Common, command
from clients.cli.terminal import cell, out, print_json

GRACE_S = 10.0
"""Beyond the daemon's own limit."""

InstanceArgument = Annotated[
    str, typer.Argument(metavar="INSTANCE", help="Such as lipsync.1; see `musecast top`.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="S", min=0.0, max=3600.0, help="How long to wait.")
]


@command
def drain(instance: InstanceArgument, timeout: TimeoutOption = 30.0, *, common: Common) -> None:
    """Let one process finish what it holds and end; none takes its place before `resume`."""
    _ask(common, "drain_instance", instance, timeout)
    _say(common, instance, "drained", f"{cell(instance)} holds nothing and has ended; `musecast resume` starts it")


@command
def resume(instance: InstanceArgument, timeout: TimeoutOption = 30.0, *, common: Common) -> None:
    """Use a drained process again."""
    _ask(common, "resume_instance", instance, timeout)
    _say(common, instance, "resumed", f"{cell(instance)} is in use again")


def _ask(common: Common, op: str, instance: str, timeout_s: float) -> None:
    with common.connect() as client:
        client.receive(client.send(op, instance=instance, timeout_s=timeout_s), timeout_s + GRACE_S)


def _say(common: Common, instance: str, state: str, text: str) -> None:
    if common.json:
        print_json({"instance": instance, "state": state})
    else:
        out.print(text)
