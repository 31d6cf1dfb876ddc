"""``musecast render``: an audio file (or a text) and a face become an MP4, as fast as the machine goes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from clients.cli.common import CommandError, Common, command
from clients.cli.options import TemplateOption, a_text, a_video
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.cli.show import TERMINAL_EVENTS, Transcript, refuse_unspoken
from clients.cli.terminal import err, out, print_json
from clients.client import FPS, SAMPLE_RATE, Client, NoDaemonError, RequestError
from clients.follower import QUIET_S, Published

if TYPE_CHECKING:
    from clients.recorder import Recorder
    from clients.soundtrack import Soundtrack

PIECE_S = 1.0
AHEAD_S = 10.0
"""Audio sent and not yet seen as video: the daemon keeps only a bounded amount of media for a slow reader."""
AHEAD_MAX_S = 45.0
"""The same with quality max, which shows nothing of 30 s of speech before it has heard all of it."""
KEEP_ALIVE_S = 0.5
"""Calls further apart than 2 s would end the turn, so an empty one is made well in time."""
STALL_TIMEOUT_S = 300.0
"""Without any new segment for this long the rendering has failed."""


class Quality(StrEnum):
    """Of the session that renders."""

    MAX = "max"
    HIGH = "high"
    LOSSLESS = "lossless"
    FAST = "fast"


@command
def render(
    template: TemplateOption = "default",
    audio: Annotated[
        Path | None,
        typer.Option("--audio", exists=True, dir_okay=False, help="What is spoken: any audio file."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", callback=a_text, help="What is spoken, as text.")] = None,
    target: Annotated[
        Path, typer.Option("--out", metavar="FILE.mp4", callback=a_video, help="The video to write.")
    ] = Path("out.mp4"),
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="Which lip-sync engine: warp, musetalk.")
    ] = None,
    quality: Annotated[
        Quality,
        typer.Option("--quality", help="max: features of whole speech, no stand-in for a lip-sync that fails."),
    ] = Quality.HIGH,
    must_connect: Annotated[
        bool, typer.Option("--connect", help="Use the running daemon; fail when there is none.")
    ] = False,
    *,
    common: Common,
) -> None:
    """Render speech to a video file. Uses the running daemon, else one of its own."""
    if (audio is None) == (text is None):
        raise typer.BadParameter("give one of --audio and --text")
    from clients.soundtrack import Soundtrack

    sound = None if audio is None else Soundtrack(audio)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(_daemon(common, must_connect, engine))
        bar = stack.enter_context(_bar())
        task = bar.add_task(escape(target.name), total=None if sound is None else sound.seconds_about)

        def tell(done_s: float, writing: bool) -> None:
            name = f"{target.name}: writing" if writing else target.name
            bar.update(task, completed=done_s, description=escape(name))

        done = render_file(client, target, text or "" if sound is None else sound, template, quality, tell)
        bar.update(task, description=escape(target.name), total=done.seconds, completed=done.seconds)
    if common.json:
        print_json({"file": str(target), **done._asdict(), "speed": round(done.speed, 2)})
        return
    told = f"{target}: {done.seconds:.2f} s, {done.frames} frames, {done.speed:.1f}x real time"
    out.print(escape(told), soft_wrap=True)


class Rendered(NamedTuple):
    """A finished video: its length, its frames, and how many times faster than real time it was made."""

    seconds: float
    frames: int
    speed: float


def render_file(
    client: Client,
    target: Path,
    spoken: str | Soundtrack,
    template: str,
    quality: Quality,
    tell: Callable[[float, bool], None],
) -> Rendered:
    """Render speech to a file.

    Args:
        spoken: a text, or a recording.
        tell: is told the seconds that are done, and whether all are and the file is being written.

    Raises:
        CommandError: it could not be rendered.
        MediaError: a file cannot be read or written.
        RequestError, NoDaemonError: see ``Client``.
    """
    from clients.recorder import Recorder

    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(Recorder(target))
        session = stack.enter_context(
            own_session(client, template_id=template, mode="offline", quality=quality.value)
        )
        began = time.monotonic()
        rendering = _Rendering(session, recorder, AHEAD_MAX_S if quality is Quality.MAX else AHEAD_S)
        done_s = 0.0
        for done_s in rendering.text(spoken) if isinstance(spoken, str) else rendering.speech(spoken):
            tell(done_s, False)
        tell(done_s, True)
        if isinstance(spoken, str):
            seconds = recorder.finish()
        else:
            # Rounded up: the last frame is held while the last sound is heard.
            seconds = recorder.finish(sound=spoken.mux, frames=math.ceil(spoken.seconds * FPS))
        return Rendered(seconds, recorder.frames, seconds / (time.monotonic() - began))


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:.1f} s"),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )


@contextlib.contextmanager
def _daemon(common: Common, must_connect: bool, engine: str | None) -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(common.connect(patient=must_connect))
        except NoDaemonError:
            if must_connect:
                raise
        else:
            if engine is not None:
                _require_engine(client, engine)
            yield client
            return
    chosen = [] if engine is None else [f"engines.lipsync=[{engine}]"]
    with private_daemon(common.config, [*common.overrides, *chosen]) as client:
        yield client


def _require_engine(client: Client, engine: str) -> None:
    """Raise ``CommandError`` unless every lip-sync process of the running daemon runs ``engine``."""
    rows = [row for row in client.request("status")["stages"] if row["stage"] == "lipsync"]
    running = sorted({row["engine"] or "still loading" for row in rows})
    if running != [engine]:
        raise CommandError(
            f"the running daemon's lip-sync engine is {' and '.join(running) or 'not there'}, not {engine}: start "
            f"it with --set 'engines.lipsync=[{engine}]', or stop it, and render starts one of its own"
        )


class _Rendering:
    """One turn of an offline session, recorded as it comes. Iterators yield the seconds that are done."""

    def __init__(self, session: Session, recorder: Recorder, ahead_s: float) -> None:
        self._session = session
        self._recorder = recorder
        self._ahead_s = ahead_s
        self._done_us = 0
        self._ended = False
        self._progress_at = time.monotonic()

    def text(self, text: str) -> Iterator[float]:
        """Speak a text."""
        self._session.request("say", text=text)
        yield from self._until_ended()

    def speech(self, sound: Soundtrack) -> Iterator[float]:
        """Animate a recording."""
        sent_s = 0.0
        pieces = sound.pieces(PIECE_S)
        piece = next(pieces)
        next_call = time.monotonic() + KEEP_ALIVE_S
        while piece:
            following = next(pieces, b"")
            while sent_s - self._done_us / 1e6 > self._ahead_s:
                self._receive(max(0.0, next_call - time.monotonic()))
                yield self._done_us / 1e6
                if time.monotonic() >= next_call:
                    self._send(b"", last=False)
                    next_call = time.monotonic() + KEEP_ALIVE_S
            self._send(piece, last=not following)
            next_call = time.monotonic() + KEEP_ALIVE_S
            sent_s += len(piece) / 2 / SAMPLE_RATE
            piece = following
            yield self._done_us / 1e6
        yield from self._until_ended()

    def _send(self, pcm: bytes, *, last: bool) -> None:
        while True:
            try:
                self._session.request(
                    "process_segment", audio=pcm, format="s16le", sample_rate=SAMPLE_RATE, last=last
                )
                return
            except RequestError as error:
                if error.code != "BUSY":
                    raise
                self._receive((error.retry_after_ms or 100) / 1000)

    def _until_ended(self) -> Iterator[float]:
        while not self._ended:
            self._receive(2 * QUIET_S)  # long enough for the follower to ask for an event that it missed
            yield self._done_us / 1e6
        for message in self._session.follower.rest():
            self._take(message)

    def _receive(self, timeout_s: float) -> None:
        message = self._session.follower.receive(timeout_s)
        if message is not None:
            self._take(message)
            self._progress_at = time.monotonic()
        elif time.monotonic() - self._progress_at > STALL_TIMEOUT_S:
            raise CommandError(
                f"no new video for {STALL_TIMEOUT_S:g} s; `musecast probe status` shows what the daemon does"
            )

    def _take(self, message: Published) -> None:
        header = message.header
        if "kind" in header:
            if header["kind"] == "media":
                if header["pts"] != self._done_us:
                    lost = f"{self._done_us / 1e6:g} to {header['pts'] / 1e6:g} s"
                    raise CommandError(f"media from {lost} was lost on the way; give ring.bytes_per_session more")
                self._done_us = header["pts"] + header["dur"]
            self._recorder.add(header, message.payload)
        elif header["event"] in TERMINAL_EVENTS:
            if header["event"] != "turn.ended":
                raise CommandError(f"it could not be rendered: {Transcript.reason(header['data'])}")
            refuse_unspoken(header, "the text")
            self._ended = True
