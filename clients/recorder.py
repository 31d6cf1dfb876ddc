"""A session's media as one plain MP4 file, whatever was cut in between (docs/protocol.md, the rule of ``gen``)."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av

from clients.client import FPS
from clients.errors import MediaError
from clients.signals import unbroken
from clients.target import part_of, put, writable

US = Fraction(1, 1_000_000)
FASTSTART = {"movflags": "faststart"}
Sound = Callable[[Any], Iterator[Any]]
"""Adds an audio stream to the output container, then yields its packets, in order from time 0."""


class RecordingError(MediaError):
    """There is not enough media for a file."""


@dataclass(slots=True)
class _Run:
    """Consecutive media of one generation, in a temporary file behind its ``init``."""

    gen: int
    file: IO[bytes]
    end_us: int
    cut_us: int | None = None


class Recorder:
    """Collects ``init`` and media and writes a standard MP4 with the index in front.

    Nothing stands under the final name until ``finish``; leaving the ``with`` block without it removes all.
    Media is kept on disk beside the target, so a recording may be as long as the disk allows.

    Args:
        target: a file that is there is replaced; a link to one stays.

    Raises:
        TargetError: nothing can be written there.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self._real = writable(target)
        self.frames = 0
        self.still_us = 0
        """How much of the media says that its lips stand still (``audio_only``)."""
        self._init = b""
        self._files = ExitStack()
        self._runs: list[_Run] = []
        self._start_us: int | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    @property
    def empty(self) -> bool:
        """Whether no media has come yet."""
        return not self._runs

    def add(self, header: dict[str, Any], payload: bytes) -> None:
        """Take the next ``init`` or media message, in the order of ``seq``."""
        if header["kind"] == "init":
            self._init = payload
            return
        if not self._runs or self._runs[-1].gen != header["gen"]:
            if self._runs:
                # A new generation begins at ``flush_from``: what the old one has at or after it is void.
                self._runs[-1].cut_us = header["pts"]
            file = self._files.enter_context(tempfile.TemporaryFile(dir=self._real.parent))  # noqa: SIM115
            file.write(self._init)
            self._runs.append(_Run(header["gen"], file, header["pts"]))
        if self._start_us is None:
            self._start_us = header["pts"]
        self._runs[-1].file.write(payload)
        self._runs[-1].end_us = header["pts"] + header["dur"]
        if header.get("degraded") == "audio_only":
            self.still_us += header["dur"]

    def finish(self, *, sound: Sound | None = None, frames: int | None = None) -> float:
        """Write the file; returns its duration in seconds.

        Args:
            sound: what is heard instead of the media's own sound.
            frames: cut the picture after so many frames; None: keep all.

        Raises:
            RecordingError: nothing was recorded, or fewer frames than are to be kept.
            TargetError: something that is no regular file stands at the target now.
        """
        if not self._runs or self._start_us is None:
            raise RecordingError("no media was received, so there is nothing to record")
        part = part_of(self._real, ".mp4")
        try:
            with unbroken() as may_stop, av.open(str(part), "w", format="mp4", options=FASTSTART) as output:
                if sound is None:
                    packets = self._packets(output, ("video", "audio"), frames)
                else:
                    picture = self._packets(output, ("video",), frames)
                    packets = heapq.merge(picture, sound(output), key=lambda p: p.dts * p.time_base)
                for packet in packets:
                    may_stop()
                    output.mux(packet)
            if frames is not None and self.frames < frames:
                raise RecordingError(f"only {self.frames} of {frames} frames were received")
            put(part, self._real)
        finally:
            part.unlink(missing_ok=True)
        return self.frames / FPS

    def _packets(self, output: Any, kinds: tuple[str, ...], frames: int | None) -> Iterator[Any]:
        """The recorded packets of these kinds on one time axis that begins at 0, copied as they are."""
        assert self._start_us is not None
        streams: dict[str, Any] = {}
        for run in self._runs:
            run.file.flush()
            run.file.seek(0)
            # By its path, so that FFmpeg reads it without a detour through Python.
            with av.open(f"/dev/fd/{run.file.fileno()}", "r", format="mp4") as source:
                copied = [stream for stream in source.streams if stream.type in kinds]
                for stream in copied:
                    if stream.type not in streams:
                        streams[stream.type] = output.add_stream_from_template(stream)
                for packet in source.demux(copied):
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    if run.cut_us is not None and packet.pts * packet.time_base >= run.cut_us * US:
                        continue
                    shift = round(self._start_us * US / packet.time_base)
                    packet.pts -= shift
                    packet.dts -= shift
                    packet.stream = streams[packet.stream.type]
                    if packet.stream.type == "video":
                        if self.frames == frames:
                            continue
                        self.frames += 1
                    yield packet
