"""``musecast template``: who can speak."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.common import (
    CommandError,
    ConfigOption,
    JsonOption,
    SetOption,
    cell,
    connect,
    out,
    print_json,
    table,
)
from clients.cli.template_view import Watched, write_picture

app = typer.Typer(help="The people on screen: list, show, add, rm.", no_args_is_help=True)

IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]+")
SEND_MAX = 31 << 20
"""Bytes of a source that go in one message (contract 2: 32 MiB, with its envelope)."""


@app.command("list")
def list_templates(json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Every template the daemon has."""
    with connect(config, overrides) as client:
        templates = client.request("list_templates")["templates"]
    if json:
        print_json(templates)
        return
    rows = table("template", "kind", ">frames", ">size", "engines", ">MB", ">in use")
    for one in templates:
        rows.add_row(
            one["template_id"],
            one["kind"],
            cell(one["frames"]),
            f"{one['width']}x{one['height']}",
            " ".join(one["engines"]),
            f"{one['bytes'] / 1e6:.1f}",
            cell(one["in_use"]),
        )
    out.print(rows)


@app.command("show")
def show(
    template: Annotated[str, typer.Argument(help="Template id.")],
    target: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Write a picture of its whole loop.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """One template in full; with --out also what it looks like."""
    with connect(config, overrides) as client:
        templates = client.request("list_templates")["templates"]
        found = next((one for one in templates if one["template_id"] == template), None)
        if found is None:
            raise CommandError(f"there is no template {template!r}; `musecast template list` names all of them")
        if target is not None:
            write_picture(client, template, found["frames"], target)
    if json:
        print_json(found)
        return
    for key, value in found.items():
        out.print(f"{key:<12} {' '.join(value) if isinstance(value, list) else value}")
    if target is not None:
        out.print(f"{'picture':<12} {target}", soft_wrap=True)


@app.command("add")
def add(
    source: Annotated[Path, typer.Argument(help="A photo or a video with one face.", exists=True, dir_okay=False)],
    template: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Id of the template; the file's name without it.")
    ] = None,
    shift: Annotated[int, typer.Option("--bbox-shift", help="Move the face box down by so many pixels.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Make it even when it is there already.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Prepare a photo or a video as a template."""
    name = template or NOT_IN_IDS.sub("-", source.stem)[:64]
    size = source.stat().st_size
    if size > SEND_MAX:
        raise CommandError(
            f"{source} has {size / 2**20:.0f} MiB; at most {SEND_MAX >> 20} can be sent. Shorten it, or put it "
            "below one of template_roots and name it by `path` in preprocess_template."
        )
    content = source.read_bytes()
    kind = "image" if source.suffix.lower() in IMAGES else "video"
    with connect(config, overrides) as client, contextlib.closing(client.subscribe(f"tpl.{name}.")) as progress:
        arguments: dict[str, Any] = {"template_id": name, "bbox_shift": shift, "force": force, kind: content}
        with Watched(source.name) as watched:
            result = watched.request(client, progress, "preprocess_template", arguments)
    if json:
        print_json(result)
        return
    size_text = f"{result['width']}x{result['height']}"
    how = "was there already" if result["cached"] else f"{result['seconds']:.1f} s"
    out.print(f"{name}: {result['frames']} frames, {size_text}, {how}", soft_wrap=True)
    told = result.get("bbox_shift", {})
    if "range" in told and told["used"] != told["asked"]:
        low, high = told["range"]
        out.print(f"bbox_shift {told['asked']} was limited to {told['used']}: {low} to {high} suits this face")


@app.command("rm")
def remove(
    template: Annotated[str, typer.Argument(help="Template id.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Delete a template that no session uses."""
    with connect(config, overrides) as client:
        client.request("delete_template", template_id=template)
    out.print(f"{template}: deleted")
