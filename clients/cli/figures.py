"""What ``status`` says of processes and sessions, in 80 columns."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from clients.cli.terminal import cell, table

PHASE = "ms."
ITEM = "ms.item"
OWN_COLUMN = ("items", "frames", "batch_fill", "batch_fill.recent", "gpu_device_used_mb", "gpu_device_mb")
COLOURS = {"fatal": "red", "backoff": "yellow", "busy": "cyan"}
Row = dict[str, Any]


def processes(rows: list[Row]) -> Table:
    """One line per process."""
    made = table(
        "process", "state", "engine", "device", ">pid", ">epoch", ">restarts", ">busy ms", ">RSS MB",
        title="Processes",
    )  # fmt: skip
    for row in rows:
        made.add_row(
            row["instance"],
            f"[{COLOURS.get(row['state'], 'green')}]{row['state']}[/]",
            *(cell(row[key]) for key in ("engine", "device", "pid", "epoch", "restarts")),
            _whole(row["busy_ms"]),
            cell(row["rss_mb"]),
        )
    return made


def work(rows: list[Row]) -> Table:
    """One line per process that has done something."""
    made = table("process", ">items", ">ms/item", ">frames", "ms per frame, and counts", title="Work")
    for row in rows:
        figures: dict[str, float] = row.get("metrics") or {}
        if figures:
            made.add_row(row["instance"], *_cells(figures))
    return made


def _cells(figures: dict[str, float]) -> list[str]:
    phases = [name for name in figures if name.startswith(PHASE) and name != ITEM]
    others = [name for name in figures if name not in OWN_COLUMN and not name.startswith(PHASE)]
    told = [f"{name.removeprefix(PHASE)} {figures[name]:.2f}" for name in phases]
    counts = [f"{name} {figures[name]:g}" for name in others]
    return [
        _whole(figures.get("items")),
        cell(figures.get(ITEM)),
        _whole(figures.get("frames")),
        "; ".join(", ".join(part) for part in (told, counts) if part),
    ]


def gpus(rows: list[Row]) -> Table:
    """One line per process that holds memory of a GPU."""
    made = table("process", ">batch fill, recent / all", ">GPU MB: own / used / whole", ">GPU %", title="GPU")
    for row in rows:
        if row["gpu_mem_mb"] is not None:
            figures: dict[str, float] = row.get("metrics") or {}
            made.add_row(row["instance"], _fill(figures), _memory(row, figures), _whole(row["gpu_util"]))
    return made


def _fill(figures: dict[str, float]) -> str:
    shares = [figures[name] for name in ("batch_fill.recent", "batch_fill") if name in figures]
    return " / ".join(f"{100 * share:.0f} %" for share in shares) or "-"


def _memory(row: Row, figures: dict[str, float]) -> str:
    parts = (row["gpu_mem_mb"], figures.get("gpu_device_used_mb"), figures.get("gpu_device_mb"))
    return " / ".join(_whole(part) for part in parts)


def sessions(rows: list[Row]) -> RenderableType:
    """Two lines per session: its id is needed whole, by other commands."""
    made: list[RenderableType] = ["[bold]Sessions[/]"]
    for row in rows:
        turn = "silent" if row["turn"] is None else f"turn {row['turn']}"
        parts = [
            f"template {row['template_id']}", row["mode"], turn, f"segment {cell(row['newest_seq'])}",
            f"generation {row['gen']}", f"at {row['clock'] / 1e6:.1f} s", f"{row['lead_ms']} ms ahead",
        ]  # fmt: skip
        made.append(escape(row["session_id"]))
        made.append(Padding(escape(", ".join(parts)), (0, 0, 0, 2)))
    return Group(*made)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
