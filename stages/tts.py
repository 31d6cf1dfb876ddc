"""The tts stage: sentences to speech, and a client's own audio to the same form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from broker.ipc.messages import AudioItem, TtsChunk, TtsItem, Word
from configs.grid import ASR_RATE
from models.api import SAMPLE_RATE, Chunk, EngineError, Progress, Span, Synthesizer
from models.chain.build import synthesizers
from models.chain.chain import Chain
from models.media.positions import input_needed
from models.media.resample import decode, resample
from stages.serving import serving, taken
from stages.stage import Result, Stage, Work

LONGEST_CHUNK = SAMPLE_RATE
"""Samples of one output of an audio item at most: 1 s."""


class TtsStage(Stage):
    """Handles ``TtsItem`` (one sentence) and ``AudioItem`` (a client's samples)."""

    name = "tts"

    def setup(self, progress: Progress) -> None:
        """Load the engines of ``engines.tts``."""
        self._synthesizer = synthesizers(self.config, self.meter)
        self._synthesizer.load(progress)
        resample(np.zeros(16), 0, ASR_RATE, 0, 48)

    @property
    def info(self) -> dict[str, str | int | float | bool | list[str]]:
        """For ``list_voices``: what every engine of the chain offers."""
        return {
            "voices": [
                "\t".join((engine, voice.name, voice.language, voice.gender))
                for engine, voice in self._synthesizer.offers()
            ]
        }

    @property
    def engine_chain(self) -> Chain[Synthesizer] | None:
        """See ``Stage.engine_chain``."""
        return self._synthesizer.chain if hasattr(self, "_synthesizer") else None

    def handle(self, work: Work) -> Iterator[Result]:
        """Outputs are ``TtsChunk``; ``at`` counts from the start of the sentence, or of the client's turn.

        Raises:
            EngineError: the engine failed, or the item is not one that this stage knows.
        """
        if isinstance(work.item, TtsItem):
            return self._speak(work, work.item)
        if isinstance(work.item, AudioItem):
            return self._convert(work, work.item)
        raise EngineError("UNSUPPORTED", f"the tts stage has no use for a {type(work.item).__name__}")

    def teardown(self) -> None:
        """Release the engine."""
        if hasattr(self, "_synthesizer"):
            self._synthesizer.close()

    def _speak(self, work: Work, item: TtsItem) -> Iterator[Result]:
        at = round(item.from_us * SAMPLE_RATE / 1_000_000)
        served: list[Result] = []
        several = len(self._synthesizer.chain.names) > 1

        def told(engine: str, reason: str) -> None:
            if several:
                served.append(serving(engine, reason))

        for chunk in self._synthesizer.speak_via(item.text, item.voice, item.from_us, work.cancel, told):
            yield from taken(served)
            yield _result(chunk, at)
            at += len(chunk.pcm)

    def _convert(self, work: Work, item: AudioItem) -> Iterator[Result]:
        if not work.buffers:
            raise EngineError("INVALID_ARGUMENT", "the audio item carries no samples", "Send them as its buffer")
        try:
            samples = decode(work.buffers[0], item.channels, item.encoding)
            for at in range(item.out_from, item.out_to, LONGEST_CHUNK):
                if work.cancel.is_set():
                    return
                until = min(at + LONGEST_CHUNK, item.out_to)
                # Only the part that this second needs, so that the cost stays linear.
                first, end = input_needed(at, until, item.sample_rate)
                first = max(first, item.start)
                part = samples[first - item.start : max(first, end) - item.start]
                yield _result(Chunk(resample(part, first, item.sample_rate, at, until)), at)
        except ValueError as error:
            raise EngineError("INVALID_ARGUMENT", str(error)) from error


def _result(chunk: Chunk, at: int) -> Result:
    output = TtsChunk(
        src="", ep=0, id="", attempt=0, index=0,
        at=at, words=_words(chunk.words), phonemes=_words(chunk.phonemes),
    )  # fmt: skip
    return output, [np.ascontiguousarray(chunk.pcm, "<i2")]


def _words(spans: Sequence[Span]) -> list[Word]:
    return [Word(*span) for span in spans]
