"""``musecast demo``: a spoken question becomes a talking video, on a daemon of its own."""

from __future__ import annotations

import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.common import CommandError, ConfigOption, SetOption, out
from clients.cli.microphone import Pace, Recording
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.cli.sheet import Spoken, contact_sheet
from clients.cli.show import TERMINAL_EVENTS, Transcript, timings
from clients.client import Published
from clients.recorder import Recorder

TURN_TIMEOUT_S = 120.0
"""Question and answer last under half a minute; a slow machine renders late, but not this late."""
QUESTION = "question.wav"


def demo(
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the video and its picture go.")
    ] = Path("out"),
    template: Annotated[str, typer.Option("--template", metavar="ID", help="Who answers.")] = "default",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Ask a bundled spoken question; write DIR/demo.mp4, DIR/demo.png and a table of timings."""
    target.mkdir(parents=True, exist_ok=True)
    with as_file(files("clients.cli") / "assets" / QUESTION) as path:
        question = Recording.read(path)
    began = time.monotonic()
    out.print("starting a private daemon", style="dim")
    with private_daemon(config, overrides or []) as client:
        out.print(f"ready after {time.monotonic() - began:.1f} s; asking", style="dim")
        with Recorder(target / "demo.mp4") as recorder, own_session(client, template_id=template) as session:
            conversation = _Conversation(session, recorder)
            conversation.hold(question)
            seconds = recorder.finish()
    contact_sheet(
        target / "demo.mp4",
        target / "demo.png",
        conversation.spoken(),
        [("question", conversation.heard), ("answer", conversation.answer)],
    )
    out.print()
    out.print(timings(conversation.timings, "the last voiced sample of the question"))
    out.print()
    out.print(f"{target / 'demo.mp4'}  {seconds:.2f} s, {recorder.frames} frames, H.264 and AAC", soft_wrap=True)
    out.print(f"{target / 'demo.png'}  the same as a picture", soft_wrap=True)


class _Conversation:
    """One question and its answer."""

    def __init__(self, session: Session, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._transcript = Transcript()
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
        pieces = question.pieces()
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
            raise CommandError(f"no answer: {data.get('message') or data.get('reason')}")
        self.timings = self._ended["data"]["timings_ms"]

    def spoken(self) -> list[Spoken]:
        """The sentences in seconds of the recorded video; one of unknown length lasts until the next."""
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
