"""The text of a turn becomes its speech: sentences through tts, joined in order in a ``SpeechTrack``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.errors import ErrorCode
from broker.ipc.messages import Item, Output, Serving, TtsChunk, TtsItem
from broker.media.speech_track import SpeechTrack, to_us
from broker.sessions.task import Task
from broker.workers.ledger import Entry
from configs.grid import SAMPLE_BYTES

OUTSTANDING_SENTENCES = 3
"""Sentences of one turn in tts at a time: the next ones are ready when the first ends."""


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
    item: Entry | None = None
    """While it is in tts."""


class SpokenText:
    """Sentences are synthesised side by side and joined in order.

    Args:
        voice: name of the one that speaks; empty for the engine's own choice.
    """

    def __init__(self, task: Task, track: SpeechTrack, voice: str) -> None:
        self._task = task
        self._track = track
        self._voice = voice
        self.sentences: list[Sentence] = []
        self._closed = False
        self._sent = 0
        self._head = 0
        self._paused = 0
        """Sentences when it last was silent on purpose."""

    def add(self, text: str) -> None:
        """One more sentence."""
        self.sentences.append(Sentence(len(self.sentences), text))

    def close(self) -> None:
        """No more sentences will come."""
        self._closed = True
        self._settle()

    @property
    def waits(self) -> bool:
        """Whether all sentences so far are spoken, more may come, and no pause has been made since."""
        return not self._closed and self._paused < len(self.sentences) == self._head

    def pause(self, samples: int) -> None:
        """Be silent for so long."""
        self._paused = len(self.sentences)
        self._track.append(bytes(samples * SAMPLE_BYTES))

    def pump(self, limit: int) -> None:
        """Ask for speech until the track would pass sample ``limit``."""
        while self._sent < len(self.sentences) and self._sent - self._head < OUTSTANDING_SENTENCES:
            ahead = self._track.end + sum(s.length for s in self.sentences[self._head + 1 : self._sent])
            if ahead >= limit:
                return
            sentence = self.sentences[self._sent]
            self._sent += 1
            job = TtsJob(self._task, self, sentence, self._voice)
            sentence.item = self._task.submit("tts", sentence.index, job, at=ahead)

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
        sentence.done, sentence.item = True, None
        self._settle()

    def release(self) -> None:
        """Cancel and forget the sentences: the turn is over."""
        self._task.cancel(*(s.item for s in self.sentences[self._head : self._sent]))
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

    def __init__(self, task: Task, speech: SpokenText, sentence: Sentence, voice: str) -> None:
        self._task = task
        self._speech = speech
        self._sentence = sentence
        self._voice = voice

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Speak on from the end of what was accepted."""
        item = TtsItem(
            sid=self._task.sid,
            turn=self._task.number,
            text=self._sentence.text,
            voice=self._voice,
            from_us=to_us(self._sentence.length),
        )
        return item, ()

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """A chunk of speech, or who speaks."""
        if isinstance(message, Serving):
            self._task.served("tts", message.engine, message.reason)
            return
        assert isinstance(message, TtsChunk)
        self._task.mark("tts_first_audio")
        self._speech.chunk(self._sentence, message, bytes(buffers[0]))

    def done(self) -> None:
        """The sentence is complete."""
        self._speech.finished(self._sentence)

    def failed(self, code: ErrorCode, message: str) -> None:
        """No voice, no turn."""
        self._task.fail(code, f"speech synthesis failed: {message}")
