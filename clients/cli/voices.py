"""``musecast voices``: who can be heard."""

from __future__ import annotations

from typing import Annotated

import typer

from clients.cli.common import Common, command
from clients.cli.terminal import cell, out, print_json, table


@command
def voices(
    language: Annotated[
        str | None, typer.Option("--language", metavar="TAG", help="Only this language's, such as en or zh-CN.")
    ] = None,
    *,
    common: Common,
) -> None:
    """What a session's voice may be, by engine; the first engine that speaks a text's language says it."""
    with common.connect() as client:
        found = client.request("list_voices", language=language)["voices"]
    if common.json:
        print_json(found)
        return
    rows = table("voice", "engine", "language", "")
    for one in found:
        rows.add_row(cell(one["name"]), one["engine"], one["language"], one.get("gender", ""))
    out.print(rows)
