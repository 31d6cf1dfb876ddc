"""``musecast demo``: a spoken question becomes a talking video, on a daemon of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from clients.cli.common import CommandError, Common, command
from clients.cli.microphone import Pace, Recording, piece_bytes
from clients.cli.options import TemplateOption
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.cli.show import TERMINAL_EVENTS, Transcript, timings
from clients.cli.terminal import err, out, print_json
from clients.follower import Published
from clients.target import writable

if TYPE_CHECKING:
    from clients.cli.sheet import Spoken
    from clients.recorder import Recorder

TURN_TIMEOUT_S = 120.0
"""Question and answer last under half a minute; a slow machine renders late, but not this late."""
QUESTION = "question.wav"


@command
def demo(
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where the video and its picture go.")
    ] = Path("out"),
    template: TemplateOption = "default",
    *,
    common: Common,
) -> None:
    """Ask a bundled spoken question; write DIR/demo.mp4, DIR/demo.png and a table of timings."""
    video, picture = _targets(target)
    from clients.cli.sheet import contact_sheet
    from clients.recorder import Recorder

    with as_file(files("clients.cli") / "assets" / QUESTION) as path:
        question = Recording(path)
    began = time.monotonic()
    _say("starting a daemon of its own: it listens, thinks, speaks, moves lips and encodes")
    with private_daemon(common.config, common.overrides) as client:
        _say(f"ready after {time.monotonic() - began:.1f} s; asking it a recorded question, as a microphone would")
        # A file needs no clock, and waits for lips that a viewer could not wait for.
        with Recorder(video) as recorder, own_session(client, template_id=template, mode="offline") as session:
            conversation = _Conversation(session, recorder, Transcript(json=common.json))
            conversation.hold(question)
            _say(f"writing {video} and {picture}")
            seconds = recorder.finish()
    contact_sheet(
        video, picture, conversation.spoken(), [("question", conversation.heard), ("answer", conversation.answer)]
    )
    if common.json:
        written = {"video": str(video), "picture": str(picture), "seconds": seconds, "frames": recorder.frames}
        print_json(written | {"timings_ms": conversation.timings})
        return
    out.print()
    out.print(timings(conversation.timings, "the last voiced sample of the question"))
    out.print()
    out.print(
        escape(f"{video}  {seconds:.2f} s with sound, {recorder.frames} frames; any player shows it"),
        soft_wrap=True,
    )
    out.print(escape(f"{picture}  the same as one picture"), soft_wrap=True)
    me = escape(_program())
    out.print(
        f'next: {me} up, and in another terminal: {me} chat "What can you do?" --out answer.mp4', soft_wrap=True
    )


def _program() -> str:
    """What to type to run this command again."""
    return "musecast" if shutil.which("musecast") else os.path.relpath(sys.argv[0])


def _say(text: str) -> None:
    err.print(f"[dim]{escape(text)}[/]", soft_wrap=True)


def _targets(folder: Path) -> tuple[Path, Path]:
    """Video and picture, in a folder that is made when its parent is there.

    Raises:
        CommandError, TargetError, OSError: they cannot be written.
    """
    if not folder.absolute().parent.is_dir():
        raise CommandError(f"there is no folder {folder.absolute().parent}: make it first, or name another --out")
    folder.mkdir(exist_ok=True)
    found = folder / "demo.mp4", folder / "demo.png"
    for one in found:
        writable(one)
    return found


class _Conversation:
    """One question and its answer."""

    def __init__(self, session: Session, recorder: Recorder, transcript: Transcript) -> None:
        self._session = session
        self._recorder = recorder
        self._transcript = transcript
        self._sentences: list[dict[str, Any]] = []
        self._start_us: int | None = None
        self._end_us = 0
        self._understood = False
        self._ended: dict[str, Any] | None = None
        self.heard = ""
        self.answer = ""
        self.timings: dict[str, float | None] = {}

    def hold(self, question: Recording) -> None:
        """Stream the question as a microphone would, until it is understood; then listen to the answer.

        Raises:
            CommandError: it was not understood, or the answer failed.
        """
        deadline = time.monotonic() + TURN_TIMEOUT_S
        pace = Pace()
        silence = bytes(piece_bytes(question.sample_rate))
        pieces = itertools.chain(question.pieces(), itertools.repeat(silence))
        while not self._understood and self._ended is None:
            self._session.request("audio", pcm=next(pieces), sample_rate=question.sample_rate)
            pace.sent()
            self._receive_until(pace.due_s(), deadline)
        while self._ended is None:
            self._receive_until(1.0, deadline)
        for message in self._session.follower.rest():
            self._take(message)
        if self._ended["event"] != "turn.ended":
            data = self._ended["data"]
            raise CommandError(f"no answer: {Transcript.reason(data)}")
        self.timings = self._ended["data"]["timings_ms"]

    def spoken(self) -> list[Spoken]:
        """The sentences in seconds of the recorded video; one of unknown length lasts until the next."""
        from clients.cli.sheet import Spoken

        start = self._start_us or 0
        found: list[Spoken] = []
        end = self._end_us
        for one in reversed(self._sentences):
            end = one["pts"] + one["dur"] if one["dur"] is not None else end
            found.insert(0, Spoken(one["text"], (one["pts"] - start) / 1e6, (end - start) / 1e6))
            end = one["pts"]
        return found

    def _receive_until(self, wait_s: float, deadline: float) -> None:
        while (message := self._session.follower.receive(wait_s)) is not None:
            self._take(message)
            if self._ended is not None:
                return
            wait_s = 0.0
        if time.monotonic() > deadline:
            raise CommandError(f"no answer within {TURN_TIMEOUT_S:g} s")

    def _take(self, message: Published) -> None:
        header = message.header
        if "kind" in header:
            self._recorder.add(header, message.payload)
            if header["kind"] == "media":
                self._start_us = header["pts"] if self._start_us is None else self._start_us
                self._end_us = header["pts"] + header["dur"]
            return
        self._transcript.event(header)
        name, data = header["event"], header["data"]
        if name == "transcript.final":
            self._understood = True
            self.heard = data["text"]
        elif name == "reply.delta":
            self.answer += data["text"]
        elif name == "sentence":
            self._sentences.append(data)
        elif name in TERMINAL_EVENTS:
            self._ended = header
