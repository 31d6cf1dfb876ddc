"""What commands print: text for people, JSON for programs, and never a foreign text's control characters."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from configs.plain import NOT_PLAIN, plain

MB = 1_000_000
"""Bytes: an MB means the same in every table."""


class PlainConsole(Console):
    """A console on which only this program sets colours, moves the cursor or speaks to the terminal.

    What it is given to show comes from a model, a file name or a daemon, too; escape sequences in it are dropped.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As in rich, without control characters in the text."""
        for segment in super().render(renderable, options):
            if segment.control is None and NOT_PLAIN.search(segment.text):
                segment = Segment(plain(segment.text), segment.style)
            yield segment


out = PlainConsole(highlight=False, emoji=False)
err = PlainConsole(stderr=True, highlight=False, emoji=False)

_NOT_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON lets through and a terminal, or who reads what it shows, may not take as text."""


def tolerate_any_text() -> None:
    """Let a terminal whose encoding lacks a character show another one, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """One JSON document on one line; bytes are shown by their length."""
    utf8 = (getattr(out.file, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not utf8, default=_as_text)
    out.file.write(_NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    out.file.flush()


def _as_text(value: Any) -> Any:
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
