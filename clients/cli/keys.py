"""``musecast keys``: who may use the two sockets. Files only; a daemon that runs notices them by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from clients.cli.common import CommandError, Common, command
from clients.cli.terminal import cell, err, out, print_json, table
from configs import keys, scopes
from configs.keys import KeyFileError, Listed
from configs.schema import Config

app = typer.Typer(help="Keys of the two sockets (security.curve): who is let in.", no_args_is_help=True)
ALL = ",".join(scopes.SCOPES)


def _a_name(value: str) -> str:
    if not keys.is_name(value):
        raise typer.BadParameter(f"a name has 1 to {keys.NAME_MAX} letters without accents, digits, '-' and '_'")
    return value


def _a_scope(value: str) -> str:
    try:
        scopes.highest(value)
    except ValueError:
        raise typer.BadParameter(f"it is a list of {', '.join(scopes.SCOPES)}, such as watch,talk") from None
    return value


NameArgument = Annotated[str, typer.Argument(metavar="NAME", callback=_a_name, help="What the client is called.")]
ScopeOption = Annotated[
    str,
    typer.Option(
        "--scope",
        metavar=ALL,
        callback=_a_scope,
        help="What it may do, each with all of the ones before; everything without it.",
    ),
]


@app.command("new")
@command
def new(
    name: NameArgument,
    scope: ScopeOption = ALL,
    force: Annotated[bool, typer.Option("--force", help="Replace a key of that name.")] = False,
    *,
    common: Common,
) -> None:
    """Make a key for a client and list it; in force at once."""
    config = common.settings()
    where = Path(config.security.clients_dir)
    try:
        server = _server(config)
        made = keys.make(where, name, scope=scopes.highest(scope), replace=force)
    except FileExistsError:
        raise CommandError(
            f"there is a key {name!r} already: choose another name, or replace it with --force (who has the old "
            "one is then let in no more)"
        ) from None
    except KeyFileError as error:
        raise CommandError(str(error)) from None
    listed = keys.read_listed(made.public_file)
    row = {**_row(listed), "public_key_file": str(made.public_file), "secret_key_file": str(made.secret_file)}
    if common.json:
        print_json({**row, "server_key": server})
        return
    out.print(f"{'secret key':<12} {escape(str(made.secret_file))}", soft_wrap=True)
    out.print(f"{'public key':<12} {escape(made.public)}", soft_wrap=True)
    out.print(f"{'server key':<12} {escape(server)}", soft_wrap=True)
    out.print(f"{'scope':<12} {', '.join(listed.scope)}")
    err.print("Move the secret key to the client: the daemon does not need it.")
    if not config.security.curve:
        err.print("security.curve is false here: the daemon takes everybody, with or without a key.")


@app.command("list")
@command
def list_keys(*, common: Common) -> None:
    """Who is listed."""
    try:
        files = keys.key_files(common.settings().security.clients_dir)
    except FileNotFoundError:
        files = []
    listed, broken = [], []
    for file in files:
        try:
            listed.append(keys.read_listed(file.path))
        except KeyFileError as error:
            broken.append(str(error))
    if common.json:
        print_json([_row(one) for one in listed])
    else:
        rows = table("name", "scope", "public key")
        for one in listed:
            rows.add_row(cell(one.name), ", ".join(one.scope), cell(one.public))
        out.print(rows)
    for text in broken:
        err.print(f"[yellow]unusable:[/] {escape(text)}", soft_wrap=True)


@app.command("rm")
@command
def remove(name: NameArgument, *, common: Common) -> None:
    """Take a client's key away: its connections end within a second, and it is not let in again."""
    where = Path(common.settings().security.clients_dir)
    try:
        (where / f"{name}{keys.PUBLIC}").unlink()
    except FileNotFoundError:
        raise CommandError(f"no key {name!r}: `musecast keys list` names all of them") from None
    (where / f"{name}{keys.SECRET}").unlink(missing_ok=True)
    if common.json:
        print_json({"name": name})
    else:
        out.print(f"{name}: removed")


@app.command("show")
@command
def show(*, common: Common) -> None:
    """The server's public key, which every client needs; made where there is none yet."""
    try:
        server = _server(common.settings())
    except KeyFileError as error:
        raise CommandError(str(error)) from None
    if common.json:
        print_json({"server_key": server})
    else:
        out.print(escape(server), soft_wrap=True)


def _server(config: Config) -> str:
    """Raises KeyFileError, OSError."""
    secret_file = config.security.secret_key_file
    there = Path(secret_file).exists()
    keys.make_own(config.state_dir, secret_file, config.security.clients_dir)
    public = keys.read_pair(secret_file).public.decode()
    if not there:
        err.print(f"made {escape(secret_file)}: the daemon with this state_dir uses it", soft_wrap=True)
    return public


def _row(one: Listed) -> dict[str, object]:
    return {"name": one.name, "scope": list(one.scope), "public_key": one.public}
