"""Where a turn's audio comes from: sentences through tts, or a client's own audio. Fills a ``SpeechTrack``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker.errors import ErrorCode
from broker.ipc.messages import AudioItem, Item, Output, TtsChunk, TtsItem
from broker.media.speech_track import SAMPLE_BYTES, SpeechTrack, to_us
from models.media.positions import input_needed, output_ready

if TYPE_CHECKING:
    from broker.sessions.turn import Turn

OUTSTANDING_SENTENCES = 3
"""Sentences of one turn in tts at a time: the next ones are ready when the first ends."""
AUDIO_SLICE = 96_000
"""48 kHz samples per conversion item (2 s): long enough to be cheap, short enough to share the stage."""


@dataclass(slots=True, eq=False)
class Sentence:
    """One speakable sentence of a turn."""

    index: int
    text: str
    start: int | None = None
    """48 kHz sample of the turn where it begins, once known."""
    length: int = 0
    done: bool = False
    waiting: list[tuple[TtsChunk, bytes]] = field(default_factory=list)
    """Chunks that came before the sentence's turn in the track."""


class SpokenText:
    """Sentences are synthesised side by side and joined in order."""

    def __init__(self, turn: Turn, track: SpeechTrack) -> None:
        self._turn = turn
        self._track = track
        self.sentences: list[Sentence] = []
        self._closed = False
        self._sent = 0
        self._head = 0

    def add(self, text: str) -> None:
        """One more sentence."""
        self.sentences.append(Sentence(len(self.sentences), text))

    def close(self) -> None:
        """No more sentences will come."""
        self._closed = True
        self._settle()

    def pump(self, limit: int) -> None:
        """Ask for speech until the track would pass sample ``limit``."""
        while self._sent < len(self.sentences) and self._sent - self._head < OUTSTANDING_SENTENCES:
            ahead = self._track.end + sum(s.length for s in self.sentences[self._head + 1 : self._sent])
            if ahead >= limit:
                return
            sentence = self.sentences[self._sent]
            self._sent += 1
            self._turn.submit("tts", sentence.index, TtsJob(self._turn, self, sentence), at=ahead)

    def chunk(self, sentence: Sentence, chunk: TtsChunk, pcm: bytes) -> None:
        """More speech of a sentence."""
        if chunk.at != sentence.length:
            raise ValueError(
                f"tts chunk at sample {chunk.at} of a sentence whose accepted end is {sentence.length}"
            )
        sentence.length += len(pcm) // SAMPLE_BYTES
        if sentence.index == self._head:
            self._place(sentence, chunk, pcm)
        else:
            sentence.waiting.append((chunk, pcm))

    def finished(self, sentence: Sentence) -> None:
        """A sentence is complete."""
        sentence.done = True
        self._settle()

    def release(self) -> None:
        """Forget the sentences: the turn is over."""
        self.sentences = []

    def _place(self, sentence: Sentence, chunk: TtsChunk, pcm: bytes) -> None:
        if sentence.start is None:
            sentence.start = self._track.end
        self._track.annotate(to_us(sentence.start), chunk.words, chunk.phonemes)
        self._track.append(pcm)

    def _settle(self) -> None:
        while self._head < len(self.sentences) and self.sentences[self._head].done:
            if self.sentences[self._head].start is None:
                self.sentences[self._head].start = self._track.end
            self._head += 1
            if self._head < len(self.sentences):
                head = self.sentences[self._head]
                for chunk, pcm in head.waiting:
                    self._place(head, chunk, pcm)
                head.waiting.clear()
        if self._closed and self._head == len(self.sentences):
            self._track.ended = True


class TtsJob:
    """One sentence in tts."""

    media_ms = 0

    def __init__(self, turn: Turn, voice: SpokenText, sentence: Sentence) -> None:
        self._turn = turn
        self._voice = voice
        self._sentence = sentence

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Speak on from the end of what was accepted."""
        turn = self._turn
        item = TtsItem(
            sid=turn.session.id,
            turn=turn.number,
            text=self._sentence.text,
            voice=turn.session.voice,
            from_us=to_us(self._sentence.length),
        )
        return item, ()

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """A chunk of speech."""
        assert isinstance(message, TtsChunk)
        self._turn.mark("tts_first_audio")
        self._voice.chunk(self._sentence, message, bytes(buffers[0]))

    def done(self) -> None:
        """The sentence is complete."""
        self._voice.finished(self._sentence)

    def failed(self, code: ErrorCode, message: str) -> None:
        """No voice, no turn."""
        self._turn.fail(code, f"speech synthesis failed: {message}")


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a client's samples are laid out."""

    sample_rate: int
    channels: int
    encoding: str
    frame_bytes: int


class ClientAudio:
    """A client's audio, call after call, converted piece by piece; positions make it one continuous stream."""

    def __init__(self, turn: Turn, track: SpeechTrack, audio_format: AudioFormat) -> None:
        self._turn = turn
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
        self._busy = False
        self.sentences: list[Sentence] = []

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
        if self._busy or target <= self._asked or self._track.end >= limit:
            return
        self._busy = True
        job = AudioJob(self._turn, self, self._asked, target)
        self._asked = target
        self._turn.submit("tts", self._items, job, at=self._track.end)
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
        """Forget what is not converted: the turn is over."""
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
        self._busy = False
        self._settle()

    def _settle(self) -> None:
        if self.closed and not self._busy and self._track.end >= self.ready:
            self._track.ended = True
            self._input.clear()


class AudioJob:
    """One piece of a client's audio in conversion."""

    media_ms = 0

    def __init__(self, turn: Turn, voice: ClientAudio, out_from: int, out_to: int) -> None:
        self._turn = turn
        self._voice = voice
        self._from = out_from
        self._to = out_to

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Convert on from the end of what was accepted."""
        turn, fmt = self._turn, self._voice.format
        start, samples = self._voice.slice(self._from, self._to)
        item = AudioItem(
            sid=turn.session.id,
            turn=turn.number,
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
        self._turn.mark("tts_first_audio")
        self._from += len(buffers[0]) // SAMPLE_BYTES
        self._voice.converted(bytes(buffers[0]))

    def done(self) -> None:
        """The piece is complete."""
        self._voice.piece_done()

    def failed(self, code: ErrorCode, message: str) -> None:
        """Audio that cannot be converted cannot be shown."""
        self._turn.fail(code, f"audio conversion failed: {message}")
