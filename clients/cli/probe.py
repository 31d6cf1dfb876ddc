"""``musecast probe``: looking at a running daemon through its public sockets alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgpack
import typer
from rich.markup import escape

from clients.cli.common import CommandError, Common, command
from clients.cli.exits import EXIT_FAILED
from clients.cli.figures import gpus, processes, sessions, work
from clients.cli.options import SessionArgument, TemplateOption, a_text, a_video, an_id
from clients.cli.session import own_session
from clients.cli.show import TERMINAL_EVENTS, Transcript, refuse_unspoken, timings
from clients.cli.terminal import MB, err, out, print_json
from clients.client import Client, DaemonGoneError

if TYPE_CHECKING:
    from clients.recorder import Recorder

app = typer.Typer(
    help="Look at a running daemon: health, status, stream, record, turn, bench.", no_args_is_help=True
)

HEALTH_TIMEOUT_S = 2.0
TURN_TIMEOUT_S = 120.0
POLL_S = 0.5
"""How often a watch with a time limit looks at the clock when nothing is published."""
QUIET_S = 3.0
"""After so long without a message the watcher is told that there is none."""
STREAM_TOPICS = ("seg.", "evt.", "tpl.", "sys.")
COLOURS = {"seg": "green", "evt": "cyan", "tpl": "magenta", "sys": "dim"}


@app.command("health")
@command
def health(*, common: Common) -> None:
    """Exit 0 when the daemon is ok or degraded, 1 otherwise."""
    with common.connect() as client:
        result = client.request("health", timeout_s=HEALTH_TIMEOUT_S)
    if common.json:
        print_json(result)
    else:
        out.print(f"{result['status']}, up {result['uptime_s']:.0f} s, boot {result['boot']}")
    if result["status"] not in ("ok", "degraded"):
        raise typer.Exit(EXIT_FAILED)


@app.command("status")
@command
def status(*, common: Common) -> None:
    """Every process, queue and session."""
    with common.connect() as client:
        result = client.request("status")
    if common.json:
        print_json(result)
        return
    rows = result["stages"]
    out.print(processes(rows))
    out.print()
    out.print(work(rows))
    if any(row["gpu_mem_mb"] is not None for row in rows):
        out.print()
        out.print(gpus(rows))
    out.print()
    for stage, one in result["queues"].items():
        if one["items"]:
            out.print(f"waiting for {stage}: {one['items']} items, {one['media_ms']} ms of media")
    if result["sessions"]:
        out.print(sessions(result["sessions"]))
    else:
        out.print("no sessions")
    journal = result.get("journal", {})
    if journal.get("would_be_lost"):
        lost = f"[yellow]{len(journal['would_be_lost'])} sessions would be lost with the broker[/]"
        out.print(f"{lost}: {escape(journal.get('reason', ''))}", soft_wrap=True)


@app.command("stream")
@command
def stream(
    session: Annotated[str | None, typer.Argument(callback=an_id, help="Id of a session; all without it.")] = None,
    count: Annotated[int, typer.Option("--count", help="Stop after so many messages; 0: never.")] = 0,
    seconds: Annotated[float, typer.Option("--seconds", help="Stop after so long; 0: never.")] = 0.0,
    *,
    common: Common,
) -> None:
    """Print the header of every message published; of one session until it ends."""
    topics = STREAM_TOPICS if session is None else (f"seg.{session}.", f"evt.{session}.")
    deadline = time.monotonic() + seconds if seconds else None
    seen = 0
    quiet_at = None if common.json else time.monotonic() + QUIET_S
    with common.connect() as client:
        subscription = client.subscribe(*topics)
        if session is not None:
            _refuse_ended(client, session)
        while (not count or seen < count) and (deadline is None or time.monotonic() < deadline):
            message = subscription.receive(POLL_S)
            if message is None:
                if quiet_at is not None and time.monotonic() > quiet_at:
                    err.print("[dim]nothing is published at the moment; waiting for it, until Ctrl-C[/]")
                    quiet_at = None
                continue
            seen += 1
            quiet_at = None
            if common.json:
                print_json({"topic": message.topic, "bytes": len(message.payload)} | message.header)
            else:
                out.print(_line(message.topic, message.header, len(message.payload)), soft_wrap=True)
            if session is not None and message.header.get("event") == "session.ended":
                break


def _refuse_ended(client: Client, session: str) -> None:
    """Raise where nothing will be published any more.

    Raises:
        RequestError: there is no such session.
        CommandError: it has ended.
    """
    newest = client.request("events", session_id=session, from_n=0, max=1)["newest_n"] or 0
    last = client.request("events", session_id=session, from_n=newest, max=1)["events"]
    if last and msgpack.unpackb(last[-1])["event"] == "session.ended":
        raise CommandError(
            f"session {session!r} has ended: `musecast probe record` keeps it as a film for a minute longer"
        )


def _line(topic: str, header: dict[str, Any], size: int) -> str:
    kind, _, rest = topic.partition(".")
    skip = {"v", "boot", "sid", "mime", "event", "kind", "sent_ns", "crc32"}
    name = header.get("event") or header.get("kind") or ""
    values = " ".join(f"{key}={value}" for key, value in header.items() if key not in skip and value is not None)
    tail = f" {size} bytes" if size else ""
    return f"[{COLOURS[kind]}]{kind}[/] {rest.rstrip('.')[:12]:<12} [bold]{name}[/] {escape(values)}{tail}"


@app.command("record")
@command
def record(
    session: SessionArgument,
    target: Annotated[Path, typer.Argument(metavar="OUT.mp4", callback=a_video, help="The file to write.")],
    seconds: Annotated[
        float, typer.Option("--seconds", help="Stop after so long; 0: at the session's end.")
    ] = 0.0,
    *,
    common: Common,
) -> None:
    """Write a session as one MP4: what the daemon still holds, and what comes until the end or Ctrl-C."""
    from clients.recorder import Recorder

    with common.connect() as client, Recorder(target) as recorder:
        try:
            _collect(client, session, recorder, seconds)
        except KeyboardInterrupt:
            if not common.json:
                out.print("stopped")
        except DaemonGoneError:
            if recorder.empty:
                raise
            err.print("[yellow]the daemon is gone[/]; what had come by then is kept")
        duration = recorder.finish()
    if common.json:
        print_json({"file": str(target), "seconds": duration, "frames": recorder.frames})
    else:
        out.print(escape(f"{target}: {duration:.2f} s, {recorder.frames} frames"), soft_wrap=True)
        if still_us := recorder.still_us:
            out.print(f"[yellow]for {still_us / 1e6:.2f} s of it the lips stand still[/], as they did live")


def _collect(client: Client, session: str, recorder: Recorder, seconds: float) -> None:
    follower = client.follow(session).from_start()
    follower.catch_up()
    deadline = time.monotonic() + seconds if seconds else None
    while deadline is None or time.monotonic() < deadline:
        message = follower.receive(POLL_S)
        if message is None:
            continue
        if "kind" in message.header:
            recorder.add(message.header, message.payload)
        if message.header.get("event") == "session.ended":
            break
    # What is published and not yet read is recorded, too: of a session that is over, events were fetched before
    # media; of one that goes on, the time may have passed while the daemon's backlog was being written.
    for late in follower.rest():
        if "kind" in late.header:
            recorder.add(late.header, late.payload)


@app.command("turn")
@command
def turn(
    text: Annotated[
        str, typer.Argument(callback=a_text, help="What to say or ask.")
    ] = "Hello. This is one turn, from text to video.",
    op: Annotated[Literal["say", "chat"], typer.Option("--op", help="say or chat.")] = "say",
    template: TemplateOption = "default",
    *,
    common: Common,
) -> None:
    """One turn on a session of its own, and how long each step took."""
    with common.connect() as client, own_session(client, template_id=template) as session:
        asked = time.monotonic()
        session.request(op, text=text)
        accepted = time.monotonic()
        first: float | None = None
        segments = frames = size = 0
        for message in session.follower.until(*TERMINAL_EVENTS, timeout_s=TURN_TIMEOUT_S):
            header = message.header
            if header.get("kind") == "media":
                first = first or time.monotonic()
                segments, frames, size = segments + 1, frames + header["frames"], size + len(message.payload)
    seen = {
        "request_ms": round((accepted - asked) * 1000, 1),
        "first_segment_ms": None if first is None else round((first - asked) * 1000, 1),
        "segments": segments,
        "frames": frames,
        "bytes": size,
    }
    if common.json:
        print_json({"event": header["event"], **header["data"], "client": seen})
    if header["event"] == "turn.ended":
        refuse_unspoken(header, "the text" if op == "say" else "the answer")
    if header["event"] == "turn.ended" and not common.json:
        out.print(timings(header["data"]["timings_ms"], "the request"))
        out.print(
            f"here: accepted after {seen['request_ms']} ms, "
            f"first segment after {seen['first_segment_ms']} ms, "
            f"{segments} segments, {frames} frames, {size / MB:.2f} MB",
            soft_wrap=True,
        )
    if header["event"] != "turn.ended":
        raise CommandError(f"the turn did not end as it should: {Transcript.reason(header['data'])}")
