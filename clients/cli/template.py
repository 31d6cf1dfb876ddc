"""``musecast template``: who can speak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

app = typer.Typer(help="The people on screen: list, show, add, rm.", no_args_is_help=True)

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


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
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """One template in full."""
    with connect(config, overrides) as client:
        templates = client.request("list_templates")["templates"]
    found = next((one for one in templates if one["template_id"] == template), None)
    if found is None:
        raise CommandError(f"there is no template {template!r}; `musecast template list` names all of them")
    if json:
        print_json(found)
        return
    for key, value in found.items():
        out.print(f"{key:<12} {' '.join(value) if isinstance(value, list) else value}")


@app.command("add")
def add(
    template: Annotated[str, typer.Argument(help="Id of the new template.")],
    source: Annotated[Path, typer.Argument(help="A photo or a video with one face.", exists=True, dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace a template of this id.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Prepare a photo or a video as a template."""
    content = source.read_bytes()
    is_image = source.suffix.lower() in IMAGES
    with connect(config, overrides) as client:
        result = client.request(
            "preprocess_template",
            template_id=template,
            force=force,
            image=content if is_image else None,
            video=None if is_image else content,
        )
    if json:
        print_json(result)
    else:
        size = f"{result['width']}x{result['height']}"
        out.print(f"{template}: {result['frames']} frames, {size}, {result['seconds']:.1f} s")


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
