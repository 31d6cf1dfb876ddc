"""``musecast template``: who can speak."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from clients.cli.common import CommandError, Common, command
from clients.cli.naming import ID_MAX, id_from_name, is_id
from clients.cli.options import a_picture, an_id
from clients.cli.template_view import Watched, write_picture
from clients.cli.terminal import MB, cell, out, print_json, table
from clients.client import Client, RequestError
from clients.target import readable

app = typer.Typer(help="The people on screen: list, show, add, rm.", no_args_is_help=True)

IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
ID_SHOWN = 40
"""Characters of a template's id in one line of the list."""
SEND_MAX = 31 << 20
"""Bytes of a source that go in one message (docs/protocol.md: 32 MiB, with its envelope)."""


@app.command("list")
@command
def list_templates(*, common: Common) -> None:
    """Every template the daemon has."""
    with common.connect() as client:
        templates = client.request("list_templates")["templates"]
    if common.json:
        print_json(templates)
        return
    rows = table("template", "kind", ">frames", ">size", "engines", ">MB", "kept", "in use")
    # An id is there to be typed again: the engines' column gives way, and what is still too long goes on below.
    ids = rows.columns[0]
    ids.overflow, ids.min_width = "fold", min(ID_SHOWN, max(len(one["template_id"]) for one in templates))
    for one in templates:
        rows.add_row(*("" if value == "no" else value for value in _described(one).values()))
    out.print(rows)


def _described(row: dict[str, Any]) -> dict[str, str]:
    """A row of ``list_templates`` for people, by the names of the columns."""
    engines = " ".join(row["engines"])
    if row["outdated"]:
        engines = "rebuilt on use"
    elif row["kind"] == "builtin" and not engines:
        engines = "made at first use"
    return {
        "template": row["template_id"],
        "kind": row["kind"],
        "frames": cell(row["frames"]),
        "size": f"{row['width']}x{row['height']}",
        "engines": engines,
        "MB": f"{row['bytes'] / MB:.1f}",
        "kept": "yes" if row["keep"] else "no",
        "in use": "yes" if row["in_use"] else "no",
    }


@app.command("show")
@command
def show(
    template: Annotated[str, typer.Argument(callback=an_id, help="Template id.")],
    target: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.png", callback=a_picture, help="Write a picture of its whole loop."),
    ] = None,
    *,
    common: Common,
) -> None:
    """One template in full; with --out also what it looks like."""
    with common.connect() as client:
        templates = client.request("list_templates")["templates"]
        found = next((one for one in templates if one["template_id"] == template), None)
        if found is None:
            raise CommandError(f"there is no template {template!r}; `musecast template list` names all of them")
        if target is not None:
            write_picture(client, template, found["frames"], target)
    if common.json:
        print_json(found)
        return
    for name, value in _described(found).items():
        out.print(escape(f"{name:<12} {value}"), soft_wrap=True)
    if target is not None:
        out.print(escape(f"{'picture':<12} {target}"), soft_wrap=True)


@app.command("add")
@command
def add(
    source: Annotated[Path, typer.Argument(help="A photo or a video with one face.", exists=True, dir_okay=False)],
    template: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Id of the template; made of the file's name without it."),
    ] = None,
    shift: Annotated[int, typer.Option("--bbox-shift", help="Move the face box down by so many pixels.")] = 0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make it again when it is there, replace it when it shows another picture."),
    ] = False,
    *,
    common: Common,
) -> None:
    """Prepare a photo or a video as a template, to stay until it is removed."""
    readable(source)
    name = _id_of(source, template)
    size = source.stat().st_size
    if size > SEND_MAX:
        raise CommandError(
            f"{source} has {size / 2**20:.0f} MiB; at most {SEND_MAX >> 20} can be sent. Shorten it, or put it "
            "below one of template_roots and have a program name it by its path (docs/protocol.md)."
        )
    kind = "image" if source.suffix.lower() in IMAGES else "video"
    arguments: dict[str, Any] = {
        "template_id": name, "bbox_shift": shift, "keep": True, "force": force, "if_absent": not force,
        kind: source.read_bytes(),
    }  # fmt: skip
    with common.connect() as client:
        result = _prepare(client, source, arguments)
    if common.json:
        print_json(result)
        return
    size_text = f"{result['width']}x{result['height']}"
    out.print(f"{name}: {result['frames']} frames, {size_text}, {_how(result)}", soft_wrap=True)
    told = result.get("bbox_shift", {})
    if "range" in told and told["used"] != told["asked"]:
        low, high = told["range"]
        out.print(f"--bbox-shift {told['asked']} was limited to {told['used']}: {low} to {high} suits this face")


def _id_of(source: Path, given: str | None) -> str:
    """The id that was given, else one made of the file's name."""
    name = id_from_name(source.stem) if given is None else given
    if is_id(name):
        return name
    if given is None:
        raise CommandError(f"no id can be made of the name of {source}: give one with --id, such as --id anna")
    like = id_from_name(given)
    instead = f", such as --id {like}" if like else ""
    raise CommandError(f"{given!r} cannot be an id: use 1 to {ID_MAX} of A to Z, a to z, 0 to 9, - and _{instead}")


def _prepare(client: Client, source: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask for it and show its progress; a template of somebody else is not replaced unasked."""
    name = arguments["template_id"]
    with contextlib.closing(client.subscribe(f"tpl.{name}.")) as progress, Watched(source.name) as watched:
        try:
            return watched.request(client, progress, "preprocess_template", arguments)
        except RequestError as error:
            if error.code != "ALREADY_EXISTS":
                raise
    rows = client.request("list_templates")["templates"]
    if any(row["template_id"] == name and row["kind"] == "builtin" for row in rows):
        told = f"template {name!r} comes with musecast and stays: name {source.name} with --id"
    else:
        told = (
            f"there is a template {name!r} already, made from another file: give {source.name} another name with "
            "--id, or replace that template with --force"
        )
    raise RequestError("ALREADY_EXISTS", told, op="preprocess_template")


def _how(result: dict[str, Any]) -> str:
    """How the template came about."""
    if "same_as" in result:
        how = f"made from the same file as template {result['same_as']}"
    elif result["cached"]:
        how = "was there already"
    else:
        how = f"{result['seconds']:.1f} s"
    return f"{how}; it replaced another one" if result["replaced"] else how


@app.command("rm")
@command
def remove(
    template: Annotated[str, typer.Argument(callback=an_id, help="Template id.")],
    *,
    common: Common,
) -> None:
    """Delete a template that no session uses."""
    with common.connect() as client:
        client.request("delete_template", template_id=template)
    if common.json:
        print_json({"template_id": template, "deleted": True})
    else:
        out.print(f"{template}: deleted")
