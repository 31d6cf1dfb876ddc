"""A video that is shown while it comes, in a player that is installed."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
from types import TracebackType
from typing import Any, Self

from clients.cli.common import CommandError

PLAYERS = {
    "mpv": (
        "--really-quiet", "--no-terminal", "--force-window=yes", "--title=musecast",
        "--demuxer-lavf-analyzeduration=0.1", "-",
    ),
    "ffplay": (
        "-loglevel", "error", "-autoexit", "-window_title", "musecast", "-fflags", "nobuffer",
        "-analyzeduration", "0", "-i", "pipe:0",
    ),
    "vlc": ("--quiet", "--play-and-exit", "-"),
}  # fmt: skip
"""Programs that play a fragmented MP4 from their standard input; the first that is installed is taken.

``init`` says all there is to know: a player that looks into the media for it first begins a second later.
"""
WAITING = 256
"""Pieces that a player may lag behind; it plays as fast as they come."""
END_S = 30.0
"""For what it still has to play when everything has been sent: the daemon is never ahead by more than its lead."""


def installed() -> str | None:
    """A player that is on PATH."""
    return next((name for name in PLAYERS if shutil.which(name)), None)


class Player:
    """Takes ``init`` and media as they come; closes its window when the last of it has been seen.

    A player that is closed by hand, or does not start, ends nothing but the picture.

    Raises:
        CommandError: none is installed.
    """

    def __init__(self) -> None:
        name = installed()
        if name is None:
            raise CommandError(
                f"no player was found to show it ({', '.join(PLAYERS)}): install one, or keep the video with --out"
            )
        self.name = name
        self.failed = False
        """Whether it ended before the video did."""
        self._pieces: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._init_sent = False
        self._process = subprocess.Popen(
            [name, *PLAYERS[name]], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._feed, name="player", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it play to its end; at once when the block was left by an exception."""
        if error is None:
            with contextlib.suppress(queue.Full):
                self._pieces.put(None, timeout=END_S)
            self._thread.join(END_S)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
                return
            self._process.kill()
            self._process.wait()

    def add(self, header: dict[str, Any], payload: bytes) -> None:
        """The next ``init`` or media message; never waits."""
        if header["kind"] == "init":
            if self._init_sent:
                return
            self._init_sent = True
        with contextlib.suppress(queue.Full):
            self._pieces.put_nowait(payload)

    def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while (piece := self._pieces.get()) is not None:
                stdin.write(piece)
                stdin.flush()
            stdin.close()
        except OSError:
            self.failed = True
