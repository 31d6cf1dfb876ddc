"""A client's own audio becomes a turn's speech: converted piece by piece into a ``SpeechTrack``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.errors import ErrorCode
from broker.ipc.messages import AudioItem, Item, Output, TtsChunk
from broker.media.speech_track import SpeechTrack
from broker.sessions.spoken_text import Sentence
from broker.sessions.task import Task
from broker.workers.ledger import Entry
from configs.grid import SAMPLE_BYTES
from models.media.positions import input_needed, output_ready

AUDIO_SLICE = 96_000
"""48 kHz samples per conversion item (2 s): long enough to be cheap, short enough to share the stage."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a client's samples are laid out."""

    sample_rate: int
    channels: int
    encoding: str
    frame_bytes: int


class ClientAudio:
    """A client's audio, call after call, converted piece by piece; positions make it one continuous stream."""

    def __init__(self, task: Task, track: SpeechTrack, audio_format: AudioFormat) -> None:
        self._task = task
        self._track = track
        self.format = audio_format
        self._input = bytearray()
        self._base = 0
        """Input frame of the first byte kept."""
        self.frames = 0
        """Input frames accepted."""
        self.closed = False
        self._asked = 0
        self._items = 0
        self._item: Entry | None = None
        """The piece that is being converted."""
        self.sentences: list[Sentence] = []
        """None: nobody knows what is said."""

    @property
    def ready(self) -> int:
        """48 kHz samples that the accepted audio is enough for."""
        return output_ready(self.frames, self.format.sample_rate, self.closed)

    @property
    def waiting_bytes(self) -> int:
        """Accepted and not yet converted."""
        return len(self._input)

    def push(self, samples: memoryview) -> None:
        """Accept more audio."""
        self._input += samples
        self.frames += len(samples) // self.format.frame_bytes

    def close(self) -> None:
        """No more audio will come."""
        self.closed = True
        self._settle()

    def pump(self, limit: int) -> None:
        """Convert until the track would pass sample ``limit``."""
        target = min(self.ready, self._asked + AUDIO_SLICE)
        if self._item is not None or target <= self._asked or self._track.end >= limit:
            return
        job = AudioJob(self._task, self, self._asked, target)
        self._asked = target
        self._item = self._task.submit("tts", self._items, job, at=self._track.end)
        self._items += 1

    def slice(self, out_from: int, out_to: int) -> tuple[int, bytes]:
        """First input frame and the bytes needed for these output samples."""
        if out_to <= out_from:
            return self._base, b""
        first, end = input_needed(out_from, out_to, self.format.sample_rate)
        end = min(end, self.frames)
        size = self.format.frame_bytes
        self._drop(first)
        return first, bytes(self._input[(first - self._base) * size : (end - self._base) * size])

    def release(self) -> None:
        """Cancel and forget what is not converted: the turn is over."""
        self._task.cancel(self._item)
        self._input = bytearray()

    def _drop(self, before: int) -> None:
        if before > self._base:
            del self._input[: (before - self._base) * self.format.frame_bytes]
            self._base = before

    def converted(self, pcm: bytes) -> None:
        """More of the track."""
        self._track.append(pcm)

    def piece_done(self) -> None:
        """The piece asked for is complete; the next may be asked for."""
        self._item = None
        self._settle()

    def _settle(self) -> None:
        if self.closed and self._item is None and self._track.end >= self.ready:
            self._track.ended = True
            self._input.clear()


class AudioJob:
    """One piece of a client's audio in conversion."""

    media_ms = 0

    def __init__(self, task: Task, audio: ClientAudio, out_from: int, out_to: int) -> None:
        self._task = task
        self._audio = audio
        self._from = out_from
        self._to = out_to

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Convert on from the end of what was accepted."""
        fmt = self._audio.format
        start, samples = self._audio.slice(self._from, self._to)
        item = AudioItem(
            sid=self._task.sid,
            turn=self._task.number,
            sample_rate=fmt.sample_rate,
            channels=fmt.channels,
            encoding=fmt.encoding,
            start=start,
            out_from=self._from,
            out_to=self._to,
        )
        return item, [samples]

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """Converted samples."""
        assert isinstance(message, TtsChunk)
        self._task.mark("tts_first_audio")
        self._from += len(buffers[0]) // SAMPLE_BYTES
        self._audio.converted(bytes(buffers[0]))

    def done(self) -> None:
        """The piece is complete."""
        self._audio.piece_done()

    def failed(self, code: ErrorCode, message: str) -> None:
        """Audio that cannot be converted cannot be shown."""
        self._task.fail(code, f"audio conversion failed: {message}")
