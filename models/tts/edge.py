"""Speech by Microsoft Edge's service, through the package ``edge-tts``.

The service sends MP3 at 24 kHz as it speaks, and the times of the words. It tells nothing when a connection breaks
in the middle of a sentence; whether its end has come is looked up in the package's own state.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import numpy as np

from configs.schema import Config
from models.api import SAMPLE_RATE, Cancel, Chunk, EngineError, Progress, Span, Voice
from models.media.positions import output_length, output_ready
from models.media.resample import Samples, decode, resample
from models.tts.edge_voices import VOICES, choose
from models.tts.language import script_language
from models.tts.speech import FIRST_CHUNK, NEXT_CHUNK, pause_ms, printable

INSTALL = "Install it with: pip install 'edge-tts>=7.2,<8'"
ELSEWHERE = "See `musecast doctor`; engines.tts may name a second engine that needs no network"
CONNECT_S = 5
FIRST_S = 8.0
"""From the request to the first of the sound."""
NEXT_S = 5.0
"""Between two messages of the service."""
CLOSE_S = 1.0
LOOK_S = 0.04
"""How often a cancel flag is looked at."""
WORDLESS_S = 1.5
"""Sound is held until the words in it are known, but no more of it than this."""
TICKS_PER_US = 10
SOUND = 200 << 8
"""Below this amplitude (of 24 bits) the end of a sentence is silence."""


class EdgeSynthesizer:
    """Text to speech in some hundred languages, by a service on the internet.

    Voices: Edge's names ("zh-CN-XiaoxiaoNeural"), a language tag, or "" for one that suits the text.
    """

    name = "edge_tts"
    deterministic = False

    def __init__(self, config: Config) -> None:
        self._settings = config.edge_tts
        self._wanted = (config.tts.voice, config.edge_tts.voice)

    def load(self, progress: Progress) -> None:
        """Import the package and check the settings; nothing is sent.

        Raises:
            EngineError: the package is missing or a setting is not one that it takes.
        """
        progress("edge_tts", 0, 1)
        if importlib.util.find_spec("edge_tts") is None:
            raise EngineError("FAILED", "edge_tts needs the package edge-tts, which is missing", INSTALL)
        from edge_tts import communicate

        endpoint = self._settings.endpoint
        if endpoint:
            if not endpoint.startswith(("ws://", "wss://")):
                fact = f"edge_tts.endpoint is {endpoint!r}, not an address that begins with ws:// or wss://"
                raise EngineError("INVALID_ARGUMENT", fact, "Correct it, or leave it empty for the service")
            # The package appends its own parameters with "&".
            vars(communicate)["WSS_URL"] = endpoint if "?" in endpoint else f"{endpoint}?musecast"
        try:
            self._request("Hello.", choose("", self._wanted, "en"))
        except ValueError as error:
            step = 'Correct edge_tts; such as rate: "+10%", volume: "-5%", pitch: "+2Hz"'
            raise EngineError("INVALID_ARGUMENT", str(error), step) from error
        progress("edge_tts", 1, 1)

    def close(self) -> None:
        """Nothing is kept between sentences."""

    def speaks(self, language: str) -> bool:
        """Whether it has a voice for the language."""
        base = language.partition("-")[0].lower()
        return any(voice.language.partition("-")[0] == base for voice in VOICES)

    def voices(self) -> list[Voice]:
        """Those that are known here; the service may have more, which have to be written out."""
        return list(VOICES)

    def speak(self, text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        """See ``models.api.Synthesizer``. Words are the text's; there are no phonemes.

        Raises:
            EngineError: the service is not reached, refuses, is silent, or breaks off; what was heard up to then
                has been given.
        """
        clean = printable(text.encode("utf-8", "replace").decode("utf-8"))
        if cancel.is_set() or not any(char.isalnum() for char in clean):
            return
        name = choose(voice, self._wanted, script_language(clean))
        take = _Take(from_us)
        said = _Said()
        for message in self._messages(self._request(clean, name), name, cancel, said):
            if message["type"] == "audio":
                take.hear(message["data"])
            else:
                t0 = message["offset"] // TICKS_PER_US
                take.word(Span(message["text"], t0, t0 + message["duration"] // TICKS_PER_US))
            yield from take.ready()
        if cancel.is_set():
            return
        take.hear(b"")
        if not said.ended:
            yield from take.ready(over=True)
            fact = f"Edge closed the connection in mid-sentence, after {len(take.words)} words"
            raise EngineError("FAILED", fact, ELSEWHERE, retryable=True)
        yield from take.rest(clean)

    def _request(self, text: str, voice: str) -> Any:
        from edge_tts import Communicate

        s = self._settings
        return Communicate(
            text, voice, rate=s.rate, volume=s.volume, pitch=s.pitch, boundary="WordBoundary",
            connect_timeout=CONNECT_S, receive_timeout=int(NEXT_S) + 1,
        )  # fmt: skip

    def _messages(self, request: Any, voice: str, cancel: Cancel, said: _Said) -> Iterator[Any]:
        """What the service sends, as it comes; the connection is closed however this ends."""
        loop = asyncio.new_event_loop()
        stream: AsyncGenerator[Any, None] = request.stream()
        waiting: asyncio.Task[Any] | None = None
        limit, until = FIRST_S, time.monotonic() + FIRST_S
        try:
            while not cancel.is_set():
                if waiting is None:
                    waiting = loop.create_task(_next(stream))
                loop.run_until_complete(asyncio.wait({waiting}, timeout=LOOK_S))
                if waiting.done():
                    message, waiting = waiting.result(), None
                    if message is None:
                        said.ended = _ended(request)
                        return
                    limit, until = NEXT_S, time.monotonic() + NEXT_S
                    yield message
                    # Whoever takes the sound may be slow; the service is not to blame for it.
                    until = max(until, time.monotonic() + NEXT_S)
                elif time.monotonic() > until:
                    raise EngineError("FAILED", f"Edge sent nothing for {limit:g} s", ELSEWHERE, retryable=True)
        except EngineError:
            raise
        except Exception as error:  # of aiohttp's, ssl's and the package's own kinds
            raise _explained(error, voice) from error
        finally:
            loop.run_until_complete(_closed(stream, waiting))
            loop.close()


class _Said:
    """How a request has ended."""

    ended = False
    """The service said that this was all."""


class _Take:
    """The sound and the words of one request, as they come.

    Args:
        from_us: where an earlier request's accepted sound ended. The same text does not sound quite the same
            again: this one is cut where its own word ends, and its times are moved by the difference.
    """

    def __init__(self, from_us: int) -> None:
        import av

        self._decoder: Any = av.CodecContext.create("mp3float", "r")
        self._parts: list[Samples] = []
        self._samples: Samples = np.zeros(0)
        self._rate = 24_000
        self._from_us = from_us
        self._shift: int | None = 0 if from_us == 0 else None
        """48 kHz samples that the first take was longer up to the cut; None while the cut is not known."""
        self._at = 0
        """48 kHz samples of this take that were given or left out."""
        self._first = True
        self._told = 0
        self.words: list[Span] = []

    def hear(self, data: bytes) -> None:
        """Decode what has come; nothing: what the decoder still holds."""
        import av

        for packet in [*self._decoder.parse(data), *([None] if not data else [])]:
            try:
                frames = self._decoder.decode(packet)
            except av.error.InvalidDataError:  # a header of its own before the sound
                continue
            for frame in frames:
                self._rate = frame.sample_rate
                self._parts.append(decode(frame.to_ndarray()[0].tobytes(), 1, "f32le"))

    def word(self, span: Span) -> None:
        """The service says when a word is spoken."""
        if span.t1_us > span.t0_us and any(char.isalnum() for char in span.text):
            self.words.append(span)

    def ready(self, *, over: bool = False) -> Iterator[Chunk]:
        """What lies before the end of the last known word; ``over``: nothing more will come."""
        heard = output_ready(self._count(), self._rate, ended=over)
        known = _samples48(self.words[-1].t1_us) if self.words else 0
        until = max(min(heard, known), heard - round(WORDLESS_S * SAMPLE_RATE) if not self.words else 0)
        yield from self._give(until, least=1 if over else FIRST_CHUNK // 2)

    def rest(self, text: str) -> Iterator[Chunk]:
        """The end of it, with as much silence as a speaker leaves."""
        whole = self._whole()
        loud = np.flatnonzero(np.abs(whole) > SOUND)
        sounding = output_length(int(loud[-1]) + 1 if len(loud) else 0, self._rate)
        last = max(sounding, _samples48(self.words[-1].t1_us) if self.words else 0)
        pause = pause_ms(text) * SAMPLE_RATE // 1000
        yield from self._give(max(min(last, output_length(len(whole), self._rate)), self._at), least=1)
        if self._shift is not None and last and not self._first:
            yield Chunk(np.zeros(pause, np.int16))

    def _give(self, until: int, least: int) -> Iterator[Chunk]:
        if self._shift is None:
            self._find_cut(until)
            if self._shift is None:
                return
        while until - self._at >= least:
            end = min(until, self._at + (FIRST_CHUNK if self._first else NEXT_CHUNK))
            pcm = resample(self._whole(), 0, self._rate, self._at, end)
            words = []
            while self._told < len(self.words) and _samples48(self.words[self._told].t0_us) < end:
                words.append(_moved(self.words[self._told], self._shift))
                self._told += 1
            self._at, self._first = end, False
            yield Chunk(pcm, words)

    def _find_cut(self, until: int) -> None:
        """The end of the last word whose middle lies before ``from_us``."""
        wanted = _samples48(self._from_us)
        if until <= wanted:
            return
        before = [word for word in self.words if (word.t0_us + word.t1_us) // 2 < self._from_us]
        self._at = min(_samples48(before[-1].t1_us), until) if before else (0 if self.words else wanted)
        self._told = len(before)
        self._shift = wanted - self._at

    def _count(self) -> int:
        return len(self._samples) + sum(map(len, self._parts))

    def _whole(self) -> Samples:
        if self._parts:
            self._samples = np.concatenate([self._samples, *self._parts])
            self._parts = []
        return self._samples


def _ended(request: Any) -> bool:
    """Whether the service ended the sentence: only then does the package count its bytes as done."""
    state = request.state
    return bool(state["chunk_audio_bytes"] == 0 and state["cumulative_audio_bytes"] > 0)


async def _next(stream: AsyncGenerator[Any, None]) -> Any:
    return await anext(stream, None)


async def _closed(stream: AsyncGenerator[Any, None], waiting: asyncio.Task[Any] | None) -> None:
    """End the request and wait until its connection is closed, too: the package leaves that to others."""
    if waiting is not None:
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=CLOSE_S)
    await stream.aclose()
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=CLOSE_S)


def _explained(error: Exception, voice: str) -> EngineError:
    """The package's error in words that say what to do."""
    status = getattr(error, "status", None)
    kind = type(error).__name__
    if status == 403 or kind == "SkewAdjustmentError":
        step = "Check this machine's clock, update edge-tts, or set edge_tts.endpoint to a relay"
        return EngineError("FAILED", "Edge refuses the request (403)", step, retryable=True)
    if kind == "NoAudioReceived":
        fact = f"Edge sent no sound for voice {voice}"
        return EngineError("FAILED", fact, "See `musecast voices` for names that exist", retryable=True)
    return EngineError("FAILED", f"Edge is not reached: {kind}: {error}", ELSEWHERE, retryable=True)


def _samples48(us: int) -> int:
    return us * SAMPLE_RATE // 1_000_000


def _moved(span: Span, samples: int) -> Span:
    shift = samples * 1_000_000 // SAMPLE_RATE
    return Span(span.text, span.t0_us + shift, span.t1_us + shift)
