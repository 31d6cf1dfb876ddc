"""What every command shares: its common options, finding the daemon, the ways to fail."""

from __future__ import annotations

import functools
import inspect
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from clients.client import Client, NoDaemonError
from clients.daemon import door, reached
from clients.reach import reach
from configs.load import load, resolve
from configs.schema import Config

ANSWER_S = 3.0
"""A daemon that is there answers ``health`` at once, also while it starts."""
OPEN_FILES = 64
"""What a command needs: sockets, a few files, a daemon of its own. libzmq aborts the program when it gets none."""

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration; configs/default.yaml without it."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text; failures, too.")]
COMMON_OPTIONS = {"json": (JsonOption, False), "config": (ConfigOption, None), "overrides": (SetOption, None)}


class CommandError(Exception):
    """A command cannot do its job; the text says what, and what to do next."""


@dataclass(frozen=True, slots=True)
class Common:
    """The options of every command, as they were given."""

    json: bool
    config: Path | None
    overrides: list[str]

    def settings(self) -> Config:
        """The configuration in force; raises ``ConfigError`` with the place of the fault."""
        return read_config(self.config, self.overrides)

    def connect(self, *, patient: bool = True) -> Client:
        """A client of the daemon that this configuration describes.

        Args:
            patient: wait a moment for a daemon that is only about to start.

        Raises:
            NoDaemonError: none answers.
            CommandError: too few files may be open.
        """
        need_open_files()
        config = self.settings()
        there = reached(config.endpoints.control)
        if not patient and not listened_to(there):
            raise NoDaemonError(f"nothing listens at {there}")
        client = door(config).connect()
        try:
            client.request("health", timeout_s=ANSWER_S)
        except BaseException:
            client.close()
            raise
        return client


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A function with a parameter ``common: Common`` as a command that has the options of every command."""
    hints = get_type_hints(function, include_extras=True)
    own = [
        one.replace(annotation=hints[name])
        for name, one in inspect.signature(function).parameters.items()
        if name != "common"
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, kind, annotation=hint, default=default)
        for name, (hint, default) in COMMON_OPTIONS.items()
    ]

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in COMMON_OPTIONS}
        function(common=Common(given["json"], given["config"], given["overrides"] or []), **arguments)

    run.__signature__ = inspect.Signature([one.replace(kind=kind) for one in own] + shared)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in own + shared}
    return run


def read_config(path: Path | None, overrides: list[str] | None) -> Config:
    """The configuration in force; raises ``ConfigError`` with the place of the fault."""
    return resolve(load(None if path is None else str(path), overrides or []))


def need_open_files() -> None:
    """Raise the limit of open files where it is too low.

    Raises:
        CommandError: it cannot be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise CommandError(
            f"only {hard} files may be open at once, and a command needs {OPEN_FILES}: raise the limit, e.g. with "
            f"`ulimit -Hn {OPEN_FILES}` as root"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def listened_to(endpoint: str) -> bool:
    """Whether somebody has bound this."""
    return reach(endpoint, ANSWER_S) == "listens"
