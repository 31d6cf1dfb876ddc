"""``say``, ``chat``, ``listen``, ``interrupt``: talking to a running daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.common import EXIT_FAILED, ConfigOption, JsonOption, SetOption, connect, out, print_json
from clients.cli.microphone import Pace, Recording, standard_input
from clients.cli.session import Session, own_session
from clients.cli.show import TERMINAL_EVENTS, Transcript, timings
from clients.client import Client
from clients.recorder import Recorder

TURN_TIMEOUT_S = 900.0
"""20,000 characters are about twenty minutes of speech; nothing for this long is a fault all the same."""

SessionOption = Annotated[
    str | None,
    typer.Option("--session", metavar="ID", help="An open session; without it one is made for this."),
]
TemplateOption = Annotated[str, typer.Option("--template", metavar="ID", help="Who speaks.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE.mp4", help="Keep the video.")]


@contextlib.contextmanager
def _session(client: Client, session: str | None, template: str) -> Iterator[Session]:
    """The named session, or one of our own."""
    if session is None:
        with own_session(client, template_id=template) as own:
            yield own
        return
    follower = client.follow(session).from_now()
    try:
        yield Session(session, client, follower, {})
    finally:
        follower.close()


def _watch(session: Session, turn: int, transcript: Transcript, recorder: Recorder | None) -> dict[str, Any]:
    """Show a turn until it ends; returns its terminal event."""
    for message in session.follower.until(*TERMINAL_EVENTS, "session.ended", timeout_s=TURN_TIMEOUT_S):
        header = message.header
        if "event" in header:
            transcript.event(header)
        elif recorder is not None:
            recorder.add(header, message.payload)
        if header.get("event") in TERMINAL_EVENTS and header["turn"] != turn:
            return _watch(session, turn, transcript, recorder)
    return header


def _turn(op: str, text: str, options: dict[str, Any]) -> None:
    json, target = options["json"], options["out"]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(options["config"], options["overrides"]))
        recorder = stack.enter_context(Recorder(target)) if target is not None else None
        session = stack.enter_context(_session(client, options["session"], options["template"]))
        turn = session.request(op, text=text)["turn"]
        ended = _watch(session, turn, Transcript(json=json), recorder)
        if recorder is not None:
            for message in session.follower.rest():
                if "kind" in message.header:
                    recorder.add(message.header, message.payload)
            seconds = recorder.finish()
            if not json:
                out.print(f"{target}: {seconds:.2f} s, {recorder.frames} frames")
        if ended["event"] != "turn.ended":
            raise typer.Exit(EXIT_FAILED)
        if not json:
            out.print(timings(ended["data"]["timings_ms"], "the request"))


def say(
    text: Annotated[str, typer.Argument(help="What the avatar says, word for word.")],
    session: SessionOption = None,
    template: TemplateOption = "default",
    target: OutOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Have the avatar speak a text."""
    _turn("say", text, _options(session, template, target, json, config, overrides))


def chat(
    text: Annotated[str, typer.Argument(help="What you say to the avatar.")],
    session: SessionOption = None,
    template: TemplateOption = "default",
    target: OutOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Ask the avatar something; it answers in its own words."""
    _turn("chat", text, _options(session, template, target, json, config, overrides))


def _options(
    session: str | None,
    template: str,
    target: Path | None,
    json: bool,
    config: Path | None,
    overrides: list[str] | None,
) -> dict[str, Any]:
    return {
        "session": session,
        "template": template,
        "out": target,
        "json": json,
        "config": config,
        "overrides": overrides,
    }


def listen(
    source: Annotated[
        str, typer.Argument(help="A WAV file (16-bit mono), or - for raw s16le from standard input.")
    ],
    rate: Annotated[int, typer.Option("--rate", help="Sample rate of standard input, in Hz.")] = 16000,
    template: TemplateOption = "default",
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Let the avatar listen to a voice and answer.

    Live: arecord -t raw -f S16_LE -r 16000 | musecast listen -
    """
    recording = None if source == "-" else Recording.read(Path(source))
    sample_rate = rate if recording is None else recording.sample_rate
    pieces = standard_input(rate) if recording is None else recording.pieces()
    transcript = Transcript(json=json)
    with (
        connect(config, overrides) as client,
        own_session(client, template_id=template) as session,
    ):
        ended = hold_microphone(session, pieces, sample_rate, transcript, stop=recording is not None)
        if recording is None:
            # Standard input has ended: whatever is still being said is heard and answered.
            reply = session.request("audio", pcm=b"", sample_rate=rate, end=True)
            if reply.get("turn") is not None:
                ended = _watch(session, reply["turn"], transcript, None)
        if ended is not None and ended["event"] == "turn.ended" and not json:
            out.print(timings(ended["data"]["timings_ms"], "the last voiced sample"))


def hold_microphone(
    session: Session, pieces: Iterator[bytes], sample_rate: int, transcript: Transcript, *, stop: bool
) -> dict[str, Any] | None:
    """Send audio at the pace of a microphone and show what happens; returns the last terminal event seen.

    With ``stop`` it ends at the first terminal event, else with the audio.
    """
    ended: dict[str, Any] | None = None
    pace = Pace()
    for piece in pieces:
        session.request("audio", pcm=piece, sample_rate=sample_rate)
        pace.sent()
        while (message := session.follower.receive(pace.due_s())) is not None:
            if "event" in message.header:
                transcript.event(message.header)
                if message.header["event"] in TERMINAL_EVENTS:
                    ended = message.header
                    if stop:
                        return ended
    return ended


def interrupt(
    session: Annotated[str, typer.Argument(help="The session to interrupt.")],
    turn: Annotated[int | None, typer.Option("--turn", help="Only if this turn has not ended.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Cut what a session says, and everything that waits behind it."""
    with connect(config, overrides) as client:
        result = client.request("interrupt", session_id=session, turn=turn)
    if json:
        print_json(result)
    elif result["turn"] is None:
        out.print("nothing to interrupt")
    else:
        out.print(f"turn {result['turn']} cut at {result['flush_from'] / 1e6:.2f} s; generation {result['gen']}")
