"""What the processes say of their work, as a table: the ``metrics`` of ``status``."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from clients.cli.common import cell, table

PHASE = "ms."
ITEM = "ms.item"
OWN_COLUMN = ("items", ITEM, "frames", "batch_fill", "batch_fill.recent", "gpu_device_used_mb", "gpu_device_mb")


def work(rows: list[dict[str, Any]]) -> Table:
    """One line per process that has done something."""
    made = table(
        "instance", ">items", ">ms/item", ">frames", ">batch fill", "ms per frame", "also", ">GPU MB", ">GPU %",
        title="Work",
    )  # fmt: skip
    for row in rows:
        figures: dict[str, float] = row.get("metrics") or {}
        if figures:
            made.add_row(row["instance"], *_cells(figures), _memory(row, figures), _whole(row["gpu_util"]))
    return made


def _cells(figures: dict[str, float]) -> list[str]:
    phases = {name.removeprefix(PHASE): figures[name] for name in figures if name.startswith(PHASE)}
    phases.pop("item", None)
    others = [name for name in figures if name not in OWN_COLUMN and not name.startswith(PHASE)]
    return [
        _whole(figures.get("items")),
        cell(figures.get(ITEM)),
        _whole(figures.get("frames")),
        _fill(figures),
        ", ".join(f"{name} {value:.2f}" for name, value in phases.items()),
        ", ".join(f"{name} {figures[name]:g}" for name in others),
    ]


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _fill(figures: dict[str, float]) -> str:
    """Recently, and in all."""
    shares = [figures[name] for name in ("batch_fill.recent", "batch_fill") if name in figures]
    return " / ".join(f"{100 * share:.0f} %" for share in shares) or "-"


def _memory(row: dict[str, Any], figures: dict[str, float]) -> str:
    """Of this process, of all, and what there is."""
    parts = (row["gpu_mem_mb"], figures.get("gpu_device_used_mb"), figures.get("gpu_device_mb"))
    return "-" if parts == (None, None, None) else " / ".join(_whole(part) for part in parts)
