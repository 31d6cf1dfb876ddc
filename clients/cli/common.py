"""What every command shares: options, finding the daemon, printing."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from clients.client import Client, NoDaemonError
from configs.load import load, resolve
from configs.schema import Config

ANSWER_S = 3.0
"""A daemon that is there answers ``health`` at once, also while it starts."""
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration; configs/default.yaml without it."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class CommandError(Exception):
    """A command cannot do its job; the text says what, and what to do next."""


def read_config(path: Path | None, overrides: list[str] | None) -> Config:
    """The configuration in force; raises ``ConfigError`` with the place of the fault."""
    return resolve(load(None if path is None else str(path), overrides or []))


def connect(config: Path | None, overrides: list[str] | None, *, patient: bool = True) -> Client:
    """A client of the daemon that this configuration describes.

    Args:
        patient: wait a moment for a daemon that is only about to start.

    Raises:
        NoDaemonError: none answers.
    """
    endpoints = read_config(config, overrides).endpoints
    if not patient and not listened_to(endpoints.control):
        raise NoDaemonError(f"nothing listens at {endpoints.control}")
    client = Client(endpoints.control, endpoints.stream)
    try:
        client.request("health", timeout_s=ANSWER_S)
    except BaseException:
        client.close()
        raise
    return client


def listened_to(endpoint: str) -> bool:
    """Whether somebody has bound this; ZeroMQ itself waits for it as long as it takes."""
    if not endpoint.startswith("tcp://"):
        return True
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError:
        return False
    return True


def print_json(value: Any) -> None:
    """One JSON document on one line; bytes are shown by their length."""
    out.file.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    out.file.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return str(value)


def table(*columns: str, title: str | None = None) -> Table:
    """A table in the house style; a column whose name begins with ">" is aligned to the right."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return made


def cell(value: Any) -> str:
    """A value as text; nothing for None."""
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
