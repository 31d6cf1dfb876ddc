"""``musecast top``: the daemon's processes, queues and sessions, live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from clients.cli.common import Common, command
from clients.cli.figures import processes, sessions, work
from clients.cli.terminal import out, print_json, table
from clients.client import Client

BEACON_S = 3.0
"""The daemon says that it lives once a second; after so long without that it is asked anyway."""
Status = dict[str, Any]


@command
def top(
    count: Annotated[int, typer.Option("--count", min=0, help="Stop after so many looks; 0: at Ctrl-C.")] = 0,
    *,
    common: Common,
) -> None:
    """Processes, queues and sessions, once a second until Ctrl-C."""
    with common.connect() as client:
        looks = _looks(client, count)
        if common.json:
            for status in looks:
                print_json(status)
            return
        with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
            before: Status | None = None
            for status in looks:
                live.update(view(status, before), refresh=True)
                before = status


def _looks(client: Client, count: int) -> Iterator[Status]:
    """``status`` at each sign of life, from now on."""
    beacons = client.subscribe("sys.")
    seen = 0
    while not count or seen < count:
        yield client.request("status")
        seen += 1
        if count and seen == count:
            return
        if beacons.receive(BEACON_S) is None:
            client.request("health")  # raises where nobody answers any more


def view(status: Status, before: Status | None) -> RenderableType:
    """One look; ``before`` is the one a second earlier, which rates are made of."""
    rows = status["stages"]
    parts: list[RenderableType] = [_headline(status, before), "", processes(rows), "", work(rows), ""]
    queues = table("waiting for", ">items", ">media s")
    waiting = [(stage, one) for stage, one in status["queues"].items() if one["items"]]
    for stage, one in waiting:
        queues.add_row(stage, str(one["items"]), f"{one['media_ms'] / 1000:.1f}")
    parts.append(queues if waiting else Text("no stage has anything waiting", style="dim"))
    parts += ["", sessions(status["sessions"]) if status["sessions"] else Text("no sessions", style="dim")]
    return Group(*parts)


def _headline(status: Status, before: Status | None) -> Text:
    now, then = _broker(status), {} if before is None else _broker(before)
    ready = sum(row["state"] in ("idle", "busy") for row in status["stages"])
    memory = sum(row["rss_mb"] or 0.0 for row in status["stages"])
    parts = [
        f"{ready} of {len(status['stages'])} processes ready",
        f"{len(status['sessions'])} sessions",
        f"{now.get('segments', 0) - then.get('segments', 0) if before else 0:.0f} segments/s",
        f"late {now.get('segments.late', 0):.0f}",
        f"failed turns {now.get('turns.failed', 0):.0f}",
        f"restarts {sum(row['restarts'] for row in status['stages'])}",
        f"{memory:.0f} MB",
    ]
    return Text(", ".join(parts), style="bold")


def _broker(status: Status) -> dict[str, float]:
    return next((row["metrics"] for row in status["stages"] if row["stage"] == "broker"), {})
