"""``musecast probe bench``: how soon and how punctually a running daemon speaks, with so many sessions at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated

import typer

from clients.cli.common import CommandError, Common, command
from clients.cli.options import TemplateOption, a_text
from clients.cli.session import own_session
from clients.cli.show import TERMINAL_EVENTS, Transcript
from clients.cli.terminal import out, print_json, table
from clients.client import Client

TURN_TIMEOUT_S = 120.0
TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind."


@dataclass(slots=True)
class Found:
    """What sessions have met. Times are in ms."""

    accepted: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    """From the request to the first media of its turn."""
    segments: int = 0
    late: int = 0
    media_s: float = 0.0
    degraded_s: float = 0.0

    def add(self, other: Found) -> None:
        """Together with another session's."""
        self.accepted += other.accepted
        self.first += other.first
        self.segments += other.segments
        self.late += other.late
        self.media_s += other.media_s
        self.degraded_s += other.degraded_s


@command
def bench(
    sessions: Annotated[int, typer.Option("--sessions", min=1, max=256, help="How many speak at once.")] = 1,
    turns: Annotated[int, typer.Option("--turns", min=1, max=1000, help="Turns of each, one by one.")] = 5,
    text: Annotated[str, typer.Option("--text", callback=a_text, help="What each turn says.")] = TEXT,
    template: TemplateOption = "default",
    *,
    common: Common,
) -> None:
    """Measure the running daemon: time to the first segment, late segments. Its other sessions take part in it."""

    def one(_: int) -> Found:
        with common.connect() as client:
            return _speak(client, template, text, turns)

    found = Found()
    began = time.monotonic()
    with ThreadPoolExecutor(sessions) as pool:
        for each in pool.map(one, range(sessions)):
            found.add(each)
    elapsed = time.monotonic() - began
    request, segment = _spread(found.accepted), _spread(found.first)
    summary = {
        "sessions": sessions,
        "turns": len(found.first),
        "seconds": round(elapsed, 2),
        "request_ms": request,
        "first_segment_ms": segment,
        "segments": found.segments,
        "late": found.late,
        "media_s": round(found.media_s, 2),
        "degraded_s": round(found.degraded_s, 2),
    }
    if common.json:
        print_json(summary)
        return
    made = table("milliseconds", ">p50", ">p95", ">max")
    for what, spread in (("request accepted", request), ("first segment received", segment)):
        made.add_row(what, *(f"{value:.1f}" for value in spread.values()))
    out.print(made)
    out.print(
        f"{sessions} sessions, {len(found.first)} turns in {elapsed:.1f} s: {found.segments} segments, "
        f"{found.late} of them late; {found.media_s:.1f} s of media, {found.degraded_s:.1f} s degraded",
        soft_wrap=True,
    )


def _speak(client: Client, template: str, text: str, turns: int) -> Found:
    found = Found()
    with own_session(client, template_id=template) as session:
        for _ in range(turns):
            asked = time.monotonic()
            turn = session.request("say", text=text)["turn"]
            found.accepted.append((time.monotonic() - asked) * 1000)
            first: float | None = None
            for message in session.follower.until(*TERMINAL_EVENTS, timeout_s=TURN_TIMEOUT_S):
                header = message.header
                if first is None and header.get("kind") == "media" and header["turn"] == turn:
                    first = time.monotonic()
            if header["event"] != "turn.ended" or first is None:
                raise CommandError(f"a turn did not end as it should: {Transcript.reason(header['data'])}")
            found.first.append((first - asked) * 1000)
        totals = session.request("end_session")
    found.segments, found.late = totals["segments"], totals["late"]
    found.media_s, found.degraded_s = totals["media_us"] / 1e6, totals["degraded_us"] / 1e6
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    """The median, the value that one in twenty exceeds, and the largest; by the nearest rank."""
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }
