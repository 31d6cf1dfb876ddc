"""``musecast render``: an audio file (or a text) and a face become an MP4, as fast as the machine goes."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from clients.cli.common import CommandError, ConfigOption, SetOption, connect, err, out
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.cli.show import TERMINAL_EVENTS
from clients.client import Client, NoDaemonError, Published, RequestError
from clients.recorder import Recorder

SAMPLE_RATE = 48_000
PIECE_S = 1.0
AHEAD_S = 10.0
"""Audio sent and not yet seen as video: the daemon keeps only a bounded amount of media for a slow reader."""
KEEP_ALIVE_S = 1.0
"""Calls further apart than 2 s would end the turn (contract 2), so a short one is made in time."""
KEEP_ALIVE_PIECE_S = 0.04
STALL_TIMEOUT_S = 300.0
"""Without any new segment for this long the rendering has failed."""


def render(
    template: Annotated[str, typer.Option("--template", metavar="ID", help="Who speaks.")] = "default",
    audio: Annotated[
        Path | None,
        typer.Option("--audio", exists=True, dir_okay=False, help="What is spoken: any audio file."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="What is spoken, as text.")] = None,
    target: Annotated[Path, typer.Option("--out", metavar="FILE.mp4", help="The video to write.")] = Path(
        "out.mp4"
    ),
    must_connect: Annotated[
        bool, typer.Option("--connect", help="Use the running daemon; fail when there is none.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Render speech to a video file. Uses the running daemon, else one of its own."""
    if (audio is None) == (text is None):
        raise typer.BadParameter("give one of --audio and --text")
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(_daemon(config, overrides or [], must_connect))
        recorder = stack.enter_context(Recorder(target))
        session = stack.enter_context(own_session(client, template_id=template, mode="offline"))
        progress = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.completed:.1f} s"),
                TimeRemainingColumn(),
                console=err,
            )
        )
        task = progress.add_task(target.name, total=None if audio is None else _duration_s(audio))
        began = time.monotonic()
        rendering = _Rendering(session, recorder)
        for done_s in rendering.speech(audio) if audio is not None else rendering.text(text or ""):
            progress.update(task, completed=done_s)
        seconds = recorder.finish()
        progress.update(task, total=seconds, completed=seconds)
        speed = seconds / (time.monotonic() - began)
    out.print(f"{target}: {seconds:.2f} s, {recorder.frames} frames, {speed:.1f}x real time", soft_wrap=True)


@contextlib.contextmanager
def _daemon(config: Path | None, overrides: list[str], must_connect: bool) -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(connect(config, overrides))
        except NoDaemonError:
            if must_connect:
                raise
        else:
            yield client
            return
    with private_daemon(config, overrides) as client:
        yield client


def _duration_s(path: Path) -> float | None:
    with _open(path) as container:
        return None if container.duration is None else container.duration / av.time_base


@contextlib.contextmanager
def _open(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise CommandError(f"{path} has no sound in it")
            yield container
    except av.error.InvalidDataError as error:
        raise CommandError(f"{path} is not an audio file that FFmpeg can read") from error


def _pieces(path: Path) -> Iterator[bytes]:
    """The file as s16le mono 48 kHz, a second at a time."""
    size = int(SAMPLE_RATE * PIECE_S) * 2
    waiting = bytearray()
    with _open(path) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        for frame in itertools.chain(container.decode(audio=0), [None]):
            for resampled in resampler.resample(frame):
                waiting += np.ascontiguousarray(resampled.to_ndarray()).tobytes()
            while len(waiting) > size:
                yield bytes(waiting[:size])
                del waiting[:size]
    yield bytes(waiting)


class _Rendering:
    """One turn of an offline session, recorded as it comes. Iterators yield the seconds that are done."""

    def __init__(self, session: Session, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._done_us = 0
        self._ended = False
        self._progress_at = time.monotonic()

    def text(self, text: str) -> Iterator[float]:
        """Speak a text."""
        self._session.request("say", text=text)
        yield from self._until_ended()

    def speech(self, path: Path) -> Iterator[float]:
        """Animate a recording."""
        sent_s = 0.0
        pieces = _pieces(path)
        piece = next(pieces)
        last_call = time.monotonic()
        while piece:
            following = next(pieces, b"")
            while sent_s - self._done_us / 1e6 > AHEAD_S:
                self._receive(KEEP_ALIVE_S)
                yield self._done_us / 1e6
                if time.monotonic() - last_call > KEEP_ALIVE_S:
                    size = int(SAMPLE_RATE * KEEP_ALIVE_PIECE_S) * 2
                    self._send(piece[:size], last=False)
                    sent_s += len(piece[:size]) / 2 / SAMPLE_RATE
                    piece = piece[size:]
                    last_call = time.monotonic()
            self._send(piece, last=not following)
            last_call = time.monotonic()
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
            self._receive(KEEP_ALIVE_S)
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
            self._recorder.add(header, message.payload)
            if header["kind"] == "media":
                self._done_us = header["pts"] + header["dur"]
        elif header["event"] in TERMINAL_EVENTS:
            if header["event"] != "turn.ended":
                raise CommandError(f"the daemon could not render it: {header['data']}")
            self._ended = True
