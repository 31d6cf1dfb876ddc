"""Options and arguments that several commands have, each with what it must be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from clients.cli.naming import ID_MAX, is_id
from clients.target import TargetError, writable

VIDEOS = (".mp4",)
PICTURES = (".png", ".jpg", ".jpeg")


def an_id(value: str | None) -> str | None:
    """An id as the daemon takes it; raises ``BadParameter``."""
    if value is not None and not is_id(value):
        raise typer.BadParameter(f"an id has 1 to {ID_MAX} letters without accents, digits, '-' and '_'")
    return value


def a_text(value: str | None) -> str | None:
    """A text that is Unicode, also where Python takes the terminal for an ASCII one; raises ``BadParameter``."""
    try:
        return None if value is None else os.fsencode(value).decode() if _undecoded(value) else value
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"it has bytes that are no UTF-8, the first after {error.start} others; "
            "a terminal set to UTF-8 sends the right ones"
        ) from None


def _undecoded(value: str) -> bool:
    """Whether it has bytes that Python could not decode, in its way to keep them."""
    return any("\udc80" <= character <= "\udcff" for character in value)


def a_video(value: Path | None) -> Path | None:
    """A place where a video can be written; raises ``BadParameter``."""
    return _target(value, VIDEOS)


def a_picture(value: Path | None) -> Path | None:
    """A place where a picture can be written; raises ``BadParameter``."""
    return _target(value, PICTURES)


def _target(value: Path | None, suffixes: tuple[str, ...]) -> Path | None:
    if value is not None:
        try:
            writable(value, *suffixes)
        except TargetError as error:
            raise typer.BadParameter(str(error)) from error
    return value


SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session", metavar="ID", callback=an_id, help="An open session; without it one is made for this."
    ),
]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", callback=an_id, help="Id of a session.")]
TemplateOption = Annotated[str, typer.Option("--template", metavar="ID", callback=an_id, help="Who speaks.")]
VideoOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.mp4", callback=a_video, help="Keep the video.")
]
TimingsOption = Annotated[bool, typer.Option("--timings", help="Show when each step was done, in milliseconds.")]
PlayOption = Annotated[
    bool, typer.Option("--play", help="Show it while it comes, with mpv, ffplay or vlc, where one is installed.")
]
