"""What one sees of templates: the progress of a preparation, and a picture of a loop."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from clients.cli.session import own_session
from clients.cli.terminal import err
from clients.client import LONG_REQUEST_TIMEOUT_S, Client
from clients.follower import Subscription
from clients.target import store

LOOK_S = 0.2
"""How long to wait for the reply before looking for progress."""
COLUMNS, ROWS = 4, 3
TILE = 320
"""Width of one frame of the picture."""
SILENCE_RATE = 48_000
FRAME_S = 1 / 25
PHASES = {"check": "looking", "load": "reading", "face": "finding the face",
          "faces": "following the face", "frames": "making frames", "ready": "done"}  # fmt: skip


class Watched:
    """A request whose progress is drawn while it runs."""

    def __init__(self, title: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[phase]}"),
            TimeElapsedColumn(), console=err, transient=True,
            disable=not err.is_terminal,  # elsewhere it leaves an empty line
        )  # fmt: skip
        self._task = self._bar.add_task(title, total=None, phase="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def request(
        self, client: Client, progress: Subscription, op: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """Send it, show what comes on ``progress``, return its result; raises as ``Client.receive``."""
        number = client.send(op, **arguments)
        deadline = time.monotonic() + LONG_REQUEST_TIMEOUT_S
        while True:
            if client.ready(number, LOOK_S) or time.monotonic() > deadline:
                return client.receive(number, 0.0)
            while (message := progress.receive(0.0)) is not None:
                header = message.header
                phase = PHASES.get(header["phase"], header["phase"])
                self._bar.update(self._task, completed=header["done"], total=header["total"], phase=phase)


def write_picture(client: Client, template_id: str, frames: int, target: Path) -> None:
    """Frames of the template's loop, evenly spaced, as one PNG or JPEG.

    Raises:
        TargetError, OSError: the file cannot be written.
    """
    import av
    import cv2
    import numpy as np

    from clients.signals import unbroken

    silence = bytes(round(max(frames, 8) * FRAME_S * SILENCE_RATE) * 2)
    video = io.BytesIO()
    with own_session(client, template_id=template_id, mode="offline") as session:
        session.request(
            "process_segment", audio=silence, format="s16le", sample_rate=SILENCE_RATE, last=True, wait=True
        )
        at = 0
        while True:
            found = session.request("segments", from_seq=at)
            if not at:
                video.write(found["init"])
            for _, payload in found["segments"]:
                video.write(payload)
            at += len(found["segments"])
            if not found["segments"]:
                break
    video.seek(0)
    with unbroken(), av.open(video, "r") as container:
        pictures = [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)]
    chosen = [pictures[round(k * (len(pictures) - 1) / (COLUMNS * ROWS - 1))] for k in range(COLUMNS * ROWS)]
    height, width = chosen[0].shape[:2]
    size = (TILE, round(TILE * height / width))
    tiles = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in chosen]
    sheet = np.vstack([np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)])
    store(target, cv2.imencode(target.suffix, sheet)[1].tobytes())
