"""``say``, ``chat``, ``listen``, ``interrupt``: talking to a running daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from clients.cli.common import CommandError, Common, command
from clients.cli.exits import EXIT_FAILED
from clients.cli.listening import Listening
from clients.cli.microphone import HIGHEST_RATE, LOWEST_RATE, Recording, standard_input
from clients.cli.options import (
    PlayOption,
    SessionArgument,
    SessionOption,
    TemplateOption,
    TimingsOption,
    VideoOption,
    a_text,
)
from clients.cli.pieces import Pieces
from clients.cli.player import Player, installed
from clients.cli.session import Session, own_session
from clients.cli.show import TERMINAL_EVENTS, Transcript, Video, refuse_unspoken, timings
from clients.cli.terminal import out, print_json
from clients.client import Client, NoDaemonError, RequestError

TURN_TIMEOUT_S = 900.0
"""20,000 characters are about twenty minutes of speech; nothing for this long is a fault all the same."""

FAQ_RECOGNISER = "pocketsphinx"
"""The speech recognition that knows sentences of the FAQ alone."""


class _Shown:
    """Where the picture goes: a file, a player, both or nowhere."""

    def __init__(self, stack: contextlib.ExitStack, target: Path | None, play: bool) -> None:
        self.videos: list[Video] = []
        self._target = target
        if target is not None:
            from clients.recorder import Recorder

            self._recorder = stack.enter_context(Recorder(target))
            self.videos.append(self._recorder)
        if play:
            self._player = stack.enter_context(Player())
            self.videos.append(self._player)
        self._playing = play
        self.mode = "offline" if target is not None and not play else "realtime"
        """Of a session that this is for: a file alone needs no clock, and waits for lips as long as it takes."""

    @property
    def empty(self) -> bool:
        """Whether there is no picture."""
        return self._target is None or self._recorder.empty

    def add(self, header: dict[str, Any], payload: bytes) -> None:
        """The next ``init`` or media message."""
        for video in self.videos:
            video.add(header, payload)

    def rest(self, session: Session) -> None:
        """Media that is published and has not come yet, as far as a daemon that may be stopping gives it."""
        with contextlib.suppress(RequestError, NoDaemonError):
            for message in session.follower.rest():
                if "kind" in message.header:
                    self.add(message.header, message.payload)

    def finish(self, *, quiet: bool) -> None:
        """Complete the file; say where the picture went, or how to see it."""
        if self._target is not None:
            seconds = self._recorder.finish()
            if not quiet:
                frames = self._recorder.frames
                out.print(escape(f"{self._target}: {seconds:.2f} s, {frames} frames"), soft_wrap=True)
                if still_us := self._recorder.still_us:
                    out.print(
                        f"[yellow]for {still_us / 1e6:.2f} s of it the lips stand still[/]; without --play "
                        "and --session, or with musecast render, lip-sync is waited for",
                        soft_wrap=True,
                    )
        if quiet:
            return
        if self._playing and self._player.failed:
            out.print(f"[yellow]{self._player.name} ended before the video did[/]; --out FILE.mp4 keeps it")
        elif not self.videos:
            player = " --play shows it," if installed() else ""
            out.print(f"[dim]To see it:{player} --out FILE.mp4 keeps it.[/]")


@contextlib.contextmanager
def _session(client: Client, session: str | None, template: str, mode: str) -> Iterator[Session]:
    """The named session, or one of our own."""
    if session is None:
        with own_session(client, template_id=template, mode=mode) as own:
            yield own
        return
    follower = client.follow(session).from_now()
    try:
        yield Session(session, client, follower, {})
    finally:
        follower.close()


def _watch(session: Session, turn: int, transcript: Transcript, shown: _Shown) -> dict[str, Any]:
    """Show a turn until it ends; returns its terminal event, or the one that ends the session before."""
    while True:
        for message in session.follower.until(*TERMINAL_EVENTS, "session.ended", timeout_s=TURN_TIMEOUT_S):
            header = message.header
            if "event" in header:
                transcript.event(header)
            else:
                shown.add(header, message.payload)
        if header["turn"] == turn or header["event"] == "session.ended":
            return header


def _turn(
    common: Common,
    op: str,
    text: str,
    session_id: str | None,
    template: str,
    target: Path | None,
    play: bool,
    timed: bool,
) -> None:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(common.connect())
        shown = _Shown(stack, target, play)
        session = stack.enter_context(_session(client, session_id, template, shown.mode))
        pieces = stack.enter_context(Pieces(common.connect, session.id)) if (op, text) == ("say", "-") else None
        turn = pieces.begin(client) if pieces else session.request(op, text=text)["turn"]
        ended = _watch(session, turn, Transcript(json=common.json), shown)
        if ended["event"] != "session.ended":
            shown.rest(session)
        if ended["event"] == "turn.ended" and timed and not common.json:
            out.print(timings(ended["data"]["timings_ms"], "the request"))
        if pieces and pieces.failure:
            raise pieces.failure
        failed = ended["event"] != "turn.ended"
        if not failed:
            refuse_unspoken(ended, "the text" if op == "say" else "the answer")
        if not (failed and shown.empty):
            shown.finish(quiet=common.json)
        if failed:
            raise typer.Exit(EXIT_FAILED)


@command
def say(
    text: Annotated[
        str,
        typer.Argument(
            callback=a_text, help="What the avatar says, word for word; - for standard input, as it comes."
        ),
    ],
    session: SessionOption = None,
    template: TemplateOption = "default",
    target: VideoOption = None,
    play: PlayOption = False,
    timed: TimingsOption = False,
    *,
    common: Common,
) -> None:
    """Have the avatar speak a text. To see it: --play, or --out FILE.mp4.

    As it is written: ollama run qwen2.5 "Tell me a story" | musecast say - --play
    """
    _turn(common, "say", text, session, template, target, play, timed)


@command
def chat(
    text: Annotated[str, typer.Argument(callback=a_text, help="What you say to the avatar.")],
    session: SessionOption = None,
    template: TemplateOption = "default",
    target: VideoOption = None,
    play: PlayOption = False,
    timed: TimingsOption = False,
    *,
    common: Common,
) -> None:
    """Ask the avatar something; it answers in its own words. To see it: --play, or --out FILE.mp4."""
    _turn(common, "chat", text, session, template, target, play, timed)


@command
def listen(
    source: Annotated[
        str, typer.Argument(help="A file with a voice in it, or - for raw s16le mono from standard input.")
    ],
    rate: Annotated[
        int,
        typer.Option("--rate", min=LOWEST_RATE, max=HIGHEST_RATE, help="Sample rate of standard input, in Hz."),
    ] = 16000,
    template: TemplateOption = "default",
    target: VideoOption = None,
    play: PlayOption = False,
    timed: TimingsOption = False,
    *,
    common: Common,
) -> None:
    """Let the avatar listen to a voice and answer. To see it: --play, or --out FILE.mp4.

    Live: arecord -t raw -f S16_LE -r 16000 | musecast listen -
    """
    recording = None if source == "-" else Recording(Path(source))
    sample_rate = rate if recording is None else recording.sample_rate
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(common.connect())
        shown = _Shown(stack, target, play)
        # A microphone may cut the answer, which takes a clock; a recording is over when the answer begins.
        mode = "realtime" if recording is None else shown.mode
        session = stack.enter_context(own_session(client, template_id=template, mode=mode))
        listening = Listening(session, sample_rate, Transcript(json=common.json), [shown])
        listening.hold(standard_input(rate) if recording is None else recording.pieces())
        if listening.ended is None:
            hint = "does the microphone work, and is --rate its rate?" if recording is None else "is it speech?"
            name = "standard input" if recording is None else source
            raise CommandError(f"no voice was heard in {name}: {hint}")
        if timed and listening.ended["event"] == "turn.ended" and not common.json:
            out.print(timings(listening.ended["data"]["timings_ms"], "the last voiced sample"))
        if listening.answered or not shown.empty:
            shown.finish(quiet=common.json)
        if not listening.answered:
            raise _unanswered(client, listening.ended)
        if listening.ended["event"] == "turn.ended":
            refuse_unspoken(listening.ended, "the answer")


def _unanswered(client: Client, ended: dict[str, Any]) -> Exception:
    """Why no turn was answered; the last one ended with ``ended``."""
    if ended["event"] != "turn.interrupted" or ended["data"]["reason"] != "no_speech":
        return typer.Exit(EXIT_FAILED)  # the transcript has said it
    rows = client.request("status")["stages"]
    if any(row["stage"] == "asr" and row["engine"] == FAQ_RECOGNISER for row in rows):
        return CommandError("not understood: this recogniser knows the questions of the FAQ (llm.faq) only")
    return CommandError("not understood: is it speech, and in the language that asr.language names?")


@command
def interrupt(
    session: SessionArgument,
    turn: Annotated[int | None, typer.Option("--turn", help="Only if this turn has not ended.")] = None,
    *,
    common: Common,
) -> None:
    """Cut what a session says, and everything that waits behind it."""
    with common.connect() as client:
        result = client.request("interrupt", session_id=session, turn=turn)
    if common.json:
        print_json(result)
    elif result["turn"] is None:
        out.print("nothing to interrupt")
    else:
        out.print(f"turn {result['turn']} cut at {result['flush_from'] / 1e6:.2f} s; generation {result['gen']}")
