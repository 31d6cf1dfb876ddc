"""English speech by hibari: a small network on the CPU, some sixty times faster than speech on one core.

The package ``hibari-tts`` brings the voice "heart" and everything that turns text into speech sounds. Its network
knows how long every sound lasts and does not say so; ``_expose`` makes it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.schema import Config
from models.api import SAMPLE_RATE, Cancel, Chunk, EngineError, Progress, Span, Voice
from models.media.positions import output_length
from models.media.resample import decode
from models.text.alignment import align, written_words
from models.text.sentences import sentences
from models.tts import hibari_times as times
from models.tts.language import name_language, script_language
from models.tts.speech import SILENCE, Speech, emit, pause_ms, printable

RATE = 24_000
INSTALL = "Install it with: pip install 'hibari-tts==0.2.1'"
LONGEST_PIECE = 400
"""Characters; longer texts are cut into sentences, so that memory and waiting stay bounded."""
LONGEST_CALL = 250
"""Phoneme characters that the network is given at once: some 17 s of speech, 0.3 s of one core."""
GAIN = 2.0
"""Brings the voice to the loudness of the others."""
STEPS = "/Cast_32_output_0"
"""The network's value that holds the steps of every phoneme."""
_LONG_NUMBER = re.compile(r"\d{16,}")
"""Has no name; it is read digit by digit."""
_CLAUSE_END = frozenset(",;:—")


class _Call(NamedTuple):
    """What the network is given at once."""

    characters: list[tuple[str, int]]
    """Phoneme characters, each with its token."""
    words: list[tuple[str, int, int]]
    """Written words and their tokens ``[first, end)``; those of the whole sentence."""


class HibariSynthesizer:
    """Text to speech for English.

    Voices: those of hibari that are on this machine ("heart" always is). Other names and language tags count as
    the configured one. Words are the text's, sounds espeak-ng's mnemonics.
    """

    name = "hibari"
    deterministic = True

    def __init__(self, config: Config) -> None:
        self._own = config.hibari.voice
        self._default_voice = config.tts.voice
        self._lock = threading.Lock()
        self._voices: dict[str, _Voice] = {}
        self._phonemes: dict[bool, Any] = {}

    def load(self, progress: Progress) -> None:
        """Load the network, the lexicon and the configured voice, and say one word.

        Raises:
            EngineError: the package is missing or another version, or the voice is not on this machine.
        """
        progress("hibari", 0, 1)
        if importlib.util.find_spec("hibari") is None:
            raise EngineError("FAILED", "hibari needs the package hibari-tts, which is missing", INSTALL)
        known = _known()
        if self._own not in known:
            there = ", ".join(sorted(known))
            fact = f"hibari has no voice {self._own!r}; known are: {there}"
            raise EngineError("INVALID_ARGUMENT", fact, "Set hibari.voice")
        if _file(self._own) is None:
            fetch = f"Fetch it once (8 MB) with: hibari Hello --voice {self._own} -o /dev/null"
            raise EngineError("FAILED", f"hibari's voice {self._own} is not on this machine", fetch)
        voice = self._voice(self._own)
        for call in self._calls("Warm, zyx.", voice):
            voice.say(call.characters)
        progress("hibari", 1, 1)

    def close(self) -> None:
        """Forget the networks."""
        self._voices.clear()
        self._phonemes.clear()

    def speaks(self, language: str) -> bool:
        """English only."""
        return language.partition("-")[0].lower() == "en"

    def voices(self) -> list[Voice]:
        """Those whose files are here."""
        return [
            Voice(name, entry["language"], entry["gender"])
            for name, entry in _known().items()
            if _file(name) is not None
        ]

    def speak(self, text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        """See ``models.api.Synthesizer``. Phonemes fill the whole duration without gaps; pauses are "_".

        Raises:
            EngineError: the text is in another script.
        """
        clean = printable(text)
        if script_language(clean) != "en":
            fact = f"hibari speaks English, not {script_language(clean)}"
            raise EngineError("UNSUPPORTED", fact, "Add a voice for it to engines.tts, such as espeak")
        return emit(self._pieces(clean, voice, cancel), from_us, cancel)

    def _pieces(self, text: str, name: str, cancel: Cancel) -> Iterator[Speech]:
        voice = self._voice(self._chosen(name))
        for piece in [text] if len(text) <= LONGEST_PIECE else sentences(text):
            for sentence in _sentences(piece):
                if cancel.is_set():
                    return
                calls = self._calls(sentence, voice)
                for number, call in enumerate(calls):
                    if cancel.is_set():
                        return
                    rest = sentence if number == len(calls) - 1 else ","
                    speech = _speech(voice.say(call.characters), call, pause_ms(rest))
                    if speech is not None:
                        yield speech

    def _chosen(self, name: str) -> str:
        """The first of the wanted names that is here; a language tag means the voice of that country, if any."""
        known = _known()
        for wanted in (name, self._default_voice):
            if wanted in known and _file(wanted) is not None:
                return wanted
            tag = name_language(wanted)
            if tag.startswith("en-") and tag != known[self._own]["language"]:
                for other in self.voices():
                    if other.language == tag:
                        return other.name
        return self._own

    def _voice(self, name: str) -> _Voice:
        with self._lock:
            if name not in self._voices:
                british = bool(_known()[name]["british"])
                if british not in self._phonemes:
                    from hibari.g2p import G2P

                    self._phonemes[british] = G2P(british=british)
                self._voices[name] = _Voice(_file(name) or Path(), self._phonemes[british])
            return self._voices[name]

    def _calls(self, sentence: str, voice: _Voice) -> list[_Call]:
        with self._lock:  # the tagger and the lexicon are not made for several threads
            tokens = voice.read(sentence)
        words = written_words(sentence)
        spoken = [k for k, (text, phonemes) in enumerate(tokens) if any(c in times.SOUNDS for c in phonemes)]
        ranges = align([word.text for word in words], [tokens[k][0] for k in spoken])
        named = [
            (word.text, spoken[first], spoken[end - 1] + 1)
            for word, (first, end) in zip(words, ranges, strict=True)
            if end > first
        ]
        calls: list[_Call] = [_Call([], named)]
        for k, (_, phonemes) in enumerate(tokens):
            so_far = calls[-1].characters
            full = len(so_far) + len(phonemes) > LONGEST_CALL
            ended = len(so_far) > LONGEST_CALL // 2 and so_far[-1][0] == " " and so_far[-2][0] in _CLAUSE_END
            if so_far and (full or ended):
                calls.append(_Call([], named))
            calls[-1].characters.extend((char, k) for char in phonemes[:LONGEST_CALL] if char in voice.ids)
        return [call for call in calls if any(char in times.SOUNDS for char, _ in call.characters)]


class _Voice:
    """One network and the reader of its language."""

    def __init__(self, path: Path, phonemes: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes() + _expose(STEPS), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of onnxruntime's own kinds
            fact = f"hibari's network {path.name} does not load: {error}"
            raise EngineError("FAILED", fact, INSTALL) from error
        self._phonemes = phonemes
        self.ids: dict[str, int] = json.loads((_assets() / "vocab.json").read_text("utf-8"))

    def read(self, sentence: str) -> list[tuple[str, str]]:
        """Tokens of a sentence: their text, and their phoneme characters with the space that follows."""
        from hibari.g2p.normalize import normalize

        # "[text](/sounds/)" is hibari's own notation; a client's text is only text.
        plain = _LONG_NUMBER.sub(lambda digits: " ".join(digits.group()), sentence.replace("](", "] ("))
        try:
            tokens = self._phonemes.phonemize_tokens(self._phonemes.tokenize(normalize(plain)))
        except Exception as error:
            raise EngineError("FAILED", f"hibari cannot read this: {type(error).__name__}: {error}") from error
        return [(token.text, (token.phonemes or "") + (" " if token.whitespace else "")) for token in tokens]

    def say(self, characters: list[tuple[str, int]]) -> tuple[NDArray[np.float32], list[int]]:
        """Audio at 24 kHz, and the steps of every character and of the rest before and after them."""
        from hibari import dsp

        ids = [0, *(self.ids[char] for char, _ in characters), 0]
        given = {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}
        *spectrum, steps = self._session.run(None, given)
        audio = dsp.synth(*(part[0] for part in spectrum), np.random.default_rng(0))
        return np.asarray(audio, np.float32), [int(step) for step in np.ravel(steps)]


def _speech(said: tuple[NDArray[np.float32], list[int]], call: _Call, rest_ms: int) -> Speech | None:
    """Cut the silence around what was said to size and time its sounds and words."""
    audio, steps = said
    level = times.levels(audio)
    if not level.any():
        return None
    sounds = times.lay_out(call.characters, steps)
    times.fit(sounds, audio)
    sounds = times.settle(sounds, times.silences(level))
    head = max(sounds[0].t1 - times.LEAD, 0) if sounds[0].symbol == SILENCE else 0
    tail = sounds[-1].t0 if sounds[-1].symbol == SILENCE else sounds[-1].t1
    rest = rest_ms * RATE // 1000
    kept = np.clip(audio[head * times.HOP : tail * times.HOP + rest] * GAIN, -1, 1)
    fade = min(rest, max(len(kept) - (tail - head) * times.HOP, 0))
    if fade:
        kept[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    length = output_length((tail - head) * times.HOP + rest, RATE)
    end_us = length * 1_000_000 // SAMPLE_RATE
    for sound in sounds:
        sound.t0, sound.t1 = max(sound.t0 - head, 0), max(sound.t1 - head, 0)
    if sounds[-1].symbol == SILENCE:
        sounds.pop()
    spans = [Span(s.symbol, _us(s.t0), _us(s.t1)) for s in sounds if s.t1 > s.t0]
    phonemes = [*spans, Span(SILENCE, spans[-1].t1_us, end_us)]
    samples = decode(kept.astype("<f4").tobytes(), 1, "f32le")
    return Speech(samples, RATE, length, _words(call, sounds), phonemes)


def _words(call: _Call, sounds: list[times.Sound]) -> list[Span]:
    """The written words whose first sound is in this call."""
    ends: dict[int, tuple[int, int]] = {}
    for sound in sounds:
        if sound.token >= 0:
            first, _ = ends.get(sound.token, (sound.t0, 0))
            ends[sound.token] = (first, sound.t1)
    spans = []
    for word, first, end in call.words:
        inside = [ends[token] for token in range(first, end) if token in ends]
        if inside and inside[0][0] < inside[-1][1] and (first in ends or first - 1 in ends):
            spans.append(Span(word, _us(inside[0][0]), _us(inside[-1][1])))
    return spans


def _us(hops: int) -> int:
    return hops * times.HOP * 1_000_000 // RATE


def _sentences(text: str) -> list[str]:
    from hibari import Hibari

    return list(Hibari.split_sentences(re.sub(r"\s+", " ", text)))


def _known() -> dict[str, dict[str, Any]]:
    """hibari's own list of voices."""
    from hibari.voices import VOICES

    return dict(VOICES)


def _file(name: str) -> Path | None:
    """The voice's network, None where it is not on this machine: nothing is downloaded here."""
    from hibari.voices import voice_path

    try:
        return Path(voice_path(name, download_missing=False))
    except FileNotFoundError:
        return None


def _assets() -> Path:
    import hibari

    return Path(str(hibari.__file__)).parent / "assets"


def _expose(value: str) -> bytes:
    """What makes ``value`` an output of the network when it is put behind its file.

    An ONNX file is a Protocol Buffers message, and two of those, one behind the other, are one: fields that
    hold messages are merged (7: the graph), lists grow (12: its outputs, of which 1 is the name).
    """

    def holding(number: int, content: bytes) -> bytes:
        assert len(content) < 128, "one byte of length"
        return bytes([number << 3 | 2, len(content)]) + content

    return holding(7, holding(12, holding(1, value.encode())))
