"""``musecast config``: would the daemon start with a configuration, and what does it come to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import typer
import yaml
from rich.markup import escape

from clients.cli.common import ANSWER_S, Common, command, listened_to
from clients.cli.exits import EXIT_CONFIG
from clients.cli.terminal import err, out, print_json
from clients.client import NoDaemonError
from clients.daemon import door, reached
from configs.schema import Config

if TYPE_CHECKING:
    from supervision.preflight import Obstacle, Plan

HIDDEN = "***"
"""Stands for a secret: what is printed is kept by terminals and bug reports."""

app = typer.Typer(help="Check or show the configuration.", no_args_is_help=True)


@app.command("check")
@command
def check(*, common: Common) -> None:
    """Exit 0 when the daemon would start with this configuration, else as that start would, with the reason."""
    from supervision import preflight

    plan = preflight.read(common.config, common.overrides)
    running = running_daemon(plan.config)
    obstacles = [*start_obstacles(plan, running)]
    fatal = [one for one in obstacles if one.exit_code]
    if common.json:
        print_json(_told(obstacles, fatal, running is not None))
    else:
        for one in obstacles:
            word = "[red]cannot start[/]" if one.exit_code else "[yellow]starts without[/]"
            err.print(f"{word} {escape(str(one))}", soft_wrap=True)
        if not fatal:
            note = "" if running is None else f"; a daemon runs at {plan.config.endpoints.control}"
            out.print(escape(f"{common.config or 'configs/default.yaml'}: valid{note}"), soft_wrap=True)
    if fatal:
        raise typer.Exit(fatal[0].exit_code)


@app.command("show")
@command
def show(*, common: Common) -> None:
    """The configuration in force: file, environment and --set together. The token itself is not shown."""
    values = msgspec.to_builtins(common.settings())
    if values["gateway"]["token"]:
        values["gateway"]["token"] = HIDDEN
    if common.json:
        print_json(values)
    else:
        out.file.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def running_daemon(config: Config) -> dict[str, Any] | None:
    """What the daemon at the configured address says of its health; None when there is none."""
    if not listened_to(reached(config.endpoints.control)):
        return None
    with contextlib.suppress(NoDaemonError), door(config).connect() as client:
        return client.request("health", timeout_s=ANSWER_S)
    return None


def start_obstacles(plan: Plan, running: dict[str, Any] | None) -> Iterator[Obstacle]:
    """What the start would meet, the worst first; that a daemon of ours holds its ports is no fault."""
    from supervision import preflight

    ours = {"endpoints.control", "endpoints.stream", "endpoints.gateway"} if running is not None else set()
    yield from (one for one in preflight.folder_obstacles(plan) if one.exit_code)
    yield from (one for one in preflight.obstacles(plan) if one.key not in ours)


def _told(obstacles: list[Obstacle], fatal: list[Obstacle], running: bool) -> dict[str, Any]:
    """The check as JSON; with ``error``, as every command has it that fails."""
    told = {"ok": not fatal, "problems": [_row(one) for one in obstacles], "running": running}
    if not fatal:
        return told
    code = "CONFIGURATION" if fatal[0].exit_code == EXIT_CONFIG else "FAILED"
    return {**told, "error": {"code": code, "message": str(fatal[0])}}


def _row(one: Obstacle) -> dict[str, Any]:
    return {
        "key": one.key, "message": one.message, "hint": one.hint, "where": one.where, "exit_code": one.exit_code,
    }  # fmt: skip
