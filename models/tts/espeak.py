"""Speech by espeak-ng, in this process, through ctypes.

The library comes with the optional package ``espeakng-loader`` (espeak-ng is GPL-3.0-or-later). It is global
and not re-entrant, so one lock guards it; a sentence takes some 10 ms. Function and event numbers are those
of espeak-ng's ``speak_lib.h``, version 1.52.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from configs.schema import Config
from models.api import SAMPLE_RATE, Cancel, Chunk, EngineError, Progress, Span, Voice
from models.media.positions import output_length
from models.media.resample import decode
from models.text import normalise
from models.text.normalise import Spoken, spoken
from models.text.sentences import sentences
from models.tts import espeak_data
from models.tts.language import name_language, script_language
from models.tts.speech import SILENCE, Speech, emit, pause_ms, printable

HINT = "Install it with: pip install 'musecast[espeak]'"
LONGEST_PIECE = 400
"""Characters; longer texts are cut into sentences, so that memory and waiting stay bounded."""

_RATE, _CHARS_UTF8, _POS_CHARACTER, _SYNCHRONOUS, _BUFFER_MS = 1, 1, 1, 2, 50
_PHONEME_EVENTS, _DONT_EXIT = 0x0001, 0x8000
_WORD, _PHONEME = 1, 7
_ALIASES = {
    "en": "en-us",
    "zh": "cmn",
    "zh-CN": "cmn",
    "zh-TW": "cmn",
    "zh-SG": "cmn",
    "zh-Hans": "cmn",
    "zh-Hant": "cmn",
    "zh-HK": "yue",
    "zh-MO": "yue",
    "zh-Hant-HK": "yue",
    "en-GB": "en",
    "en-gb": "en",
    "no": "nb",
}
_VOICE_NAME = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,12}){0,4}")
"""The library takes paths, too, and copies names into fixed buffers: a client's text must not get that far."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _VoiceEntry(ctypes.Structure):
    """The beginning of espeak_VOICE."""

    _fields_ = (("name", ctypes.c_char_p), ("languages", ctypes.c_char_p))


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Said(NamedTuple):
    """What one call of the library gave; positions are samples at its own rate."""

    pcm: bytes
    words: list[tuple[int, int, int]]
    """``(sample, first character, characters)``"""
    phonemes: list[tuple[int, str]]


class _Library:
    """The one espeak-ng of this process. ``say`` may be called from any thread."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise EngineError(
                "FAILED", "espeak needs the package espeakng-loader, which is missing", HINT
            ) from None
        try:
            self._lib: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise EngineError("FAILED", f"the espeak-ng library does not load: {error}", HINT) from error
        try:
            self._folder = espeak_data.make(espeakng_loader.get_data_path())
        except OSError as error:
            hint = "Make the temporary folder ($TMPDIR) writable or reinstall espeakng-loader"
            raise EngineError("FAILED", f"espeak's voices cannot be set up: {error}", hint) from error
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceEntry))
        self._lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.sample_rate: int = self._lib.espeak_Initialize(
            _SYNCHRONOUS, _BUFFER_MS, self._folder.path.encode(), _PHONEME_EVENTS | _DONT_EXIT
        )
        if self.sample_rate <= 0:
            self._folder.remove()
            raise EngineError("FAILED", f"espeak-ng does not start with its data in {self._folder.path}", HINT)
        self._pcm: list[bytes] = []
        self._words: list[tuple[int, int, int]] = []
        self._phonemes: list[tuple[int, str]] = []
        self._cancel: Cancel | None = None
        self._voice = ""
        self._callback = _CALLBACK(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        """Called by the library on the calling thread; a result of 1 ends the synthesis."""
        if count > 0 and samples:
            self._pcm.append(ctypes.string_at(samples, count * 2))
        index = 0
        while (event := events[index]).type:
            if event.type == _WORD:
                self._words.append((event.sample, event.text_position - 1, event.length))
            elif event.type == _PHONEME:
                self._phonemes.append((event.sample, event.id.string.decode("utf-8", "replace")))
            index += 1
        return int(self._cancel is not None and self._cancel.is_set())

    @property
    def variants(self) -> frozenset[str]:
        """Names that may follow the "+" of a voice."""
        return self._folder.variants

    def languages(self) -> list[str]:
        """Codes of all languages, sorted."""
        listed = self._lib.espeak_ListVoices(None)
        codes, index = set(), 0
        while listed[index]:
            # A priority of one byte, then the code.
            code = listed[index].contents.languages[1:].decode("ascii", "replace")
            if _VOICE_NAME.fullmatch(code) and name_language(code):
                codes.add(code)
            index += 1
        return sorted(codes)

    def select(self, voice: str) -> bool:
        """Whether the library has this voice; it is then the current one."""
        if voice != self._voice:
            if self._lib.espeak_SetVoiceByName(voice.encode("utf-8", "replace")) != 0:
                return False
            self._voice = voice
        return True

    def say(self, text: str, rate: int, cancel: Cancel) -> _Said:
        """Speak with the current voice. ``text`` has no control characters."""
        self._pcm, self._words, self._phonemes, self._cancel = [], [], [], cancel
        data = text.encode("utf-8", "replace")
        self._lib.espeak_ng_SetRandSeed(1)
        self._lib.espeak_SetParameter(_RATE, rate, 0)
        self._lib.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        said = _Said(b"".join(self._pcm), self._words, self._phonemes)
        self._pcm, self._words, self._phonemes, self._cancel = [], [], [], None
        return said

    def close(self) -> None:
        """Release the library's memory and folder."""
        self._lib.espeak_Terminate()
        self._folder.remove()


_lock = threading.Lock()
_shared: _Library | None = None
_users = 0


class EspeakSynthesizer:
    """Text to speech for some hundred languages; English and Chinese are the ones that are tested.

    Voices: one of espeak's ("en-us", "cmn", "yue", "en-gb+f3"), a language tag ("zh-CN"), another engine's
    name that begins with one ("zh-CN-XiaoxiaoNeural"), or "" to follow the script of the text (see
    ``models.tts.language.script_language``). A name that says nothing to espeak counts as "".
    """

    name = "espeak"
    deterministic = True

    def __init__(self, config: Config) -> None:
        self._rate = min(max(config.tts.words_per_minute, 80), 450)
        self._default_voice = config.tts.voice
        self._loaded = False

    def load(self, progress: Progress) -> None:
        """Start the library and read the English and Chinese dictionaries once.

        Raises:
            EngineError: the package or its data is missing.
        """
        global _shared, _users
        progress("espeak", 0, 1)
        with _lock:
            if self._loaded:
                return
            if _shared is None:
                _shared = _Library()
            _users += 1
            self._loaded = True
            for voice in ("cmn", "en-us"):
                if not _shared.select(f"{voice}+{espeak_data.DEFAULT_VARIANT}"):
                    raise EngineError("FAILED", f"espeak-ng has no voice {voice}", HINT)
                said = _shared.say("one 1", self._rate, _NEVER)
                _speech("one 1", spoken("one 1", ""), said, _shared.sample_rate).chunk(0, 480, 0)
        normalise.ready()
        progress("espeak", 1, 1)

    def close(self) -> None:
        """Release the library when nobody else in this process uses it."""
        global _shared, _users
        with _lock:
            if self._loaded:
                self._loaded = False
                _users -= 1
                if _users == 0 and _shared is not None:
                    _shared.close()
                    _shared = None

    def speaks(self, language: str) -> bool:
        """It has rules for some hundred languages, and reads the letters of all others."""
        return True

    def voices(self) -> list[Voice]:
        """Its languages, each with the variant that is used unless another is named."""
        with _lock:
            codes = _shared.languages() if _shared is not None and self._loaded else []
        tags = {"cmn": "zh-CN", "yue": "zh-HK"}
        variant = espeak_data.DEFAULT_VARIANT
        return [Voice(f"{code}+{variant}", tags.get(code) or name_language(code), "female") for code in codes]

    def speak(self, text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        """See ``models.api.Synthesizer``. Phonemes fill the whole duration without gaps; pauses are "_"."""
        clean = printable(text)
        pieces = [clean] if len(clean) <= LONGEST_PIECE else sentences(clean)
        return emit((self._synthesise(piece, voice, cancel) for piece in pieces), from_us, cancel)

    def _synthesise(self, text: str, voice: str, cancel: Cancel) -> Speech | None:
        with _lock:
            if _shared is None or not self._loaded:
                raise EngineError("FAILED", "espeak is not loaded", "Call load() first")
            for candidate in candidates(voice or self._default_voice, text, _shared.variants):
                if _shared.select(candidate):
                    break
            # espeak reads "2024年" as a quantity and "$3.50" as "dollar three point five zero".
            normal = spoken(text, "zh" if candidate.startswith("cmn") else candidate[:2])
            said = _shared.say(normal.text, self._rate, cancel)
            rate = _shared.sample_rate
        audible = any(symbol and symbol[0] not in "_(" for _, symbol in said.phonemes)
        return _speech(text, normal, said, rate) if audible and not cancel.is_set() else None


def candidates(voice: str, text: str, variants: frozenset[str]) -> list[str]:
    """espeak voice names to be tried in order, each with a variant of ours (see ``espeak_data``)."""
    base, _, variant = voice.partition("+")
    if variant not in variants:
        variant = espeak_data.DEFAULT_VARIANT
    names: list[str] = []
    tag = name_language(base)
    for name in (base if _VOICE_NAME.fullmatch(base) else "", tag):
        parts = name.split("-") if name else []
        while parts:
            names.append(_ALIASES.get("-".join(parts), "-".join(parts).lower()))
            parts.pop()
    script = script_language(text)
    names += [_ALIASES.get(script, script), "en-us"]
    return [f"{name}+{variant}" for name in dict.fromkeys(names)]


def _speech(text: str, normal: Spoken, said: _Said, rate: int) -> Speech:
    """``text`` as it is written; ``normal`` is what was said of it."""
    samples = decode(said.pcm, 1, "s16le")
    length = output_length(len(samples), rate) + pause_ms(text) * SAMPLE_RATE // 1000
    phonemes = _phoneme_spans(said, len(samples), rate, length)
    return Speech(samples, rate, length, _word_spans(said, len(samples), rate, text, normal, phonemes), phonemes)


def _phoneme_spans(said: _Said, spoken: int, rate: int, length: int) -> list[Span]:
    """Tile ``[0, length)``: each phoneme lasts until the next one, pauses are merged."""
    marks = [(0, SILENCE)]
    for sample, symbol in said.phonemes:
        if not symbol or symbol.startswith("("):  # "(en)": a change of language
            continue
        symbol = SILENCE if symbol.startswith("_") else symbol
        sample = min(max(sample, marks[-1][0]), spoken)
        if sample == marks[-1][0]:
            marks.pop()
        if not marks or symbol != SILENCE or marks[-1][1] != SILENCE:
            marks.append((sample, symbol))
    if marks[-1][1] != SILENCE:
        marks.append((spoken, SILENCE))
    edges = [_us(sample, rate) for sample, _ in marks] + [length * 1000 // 48]
    return [Span(symbol, t0, t1) for (_, symbol), t0, t1 in zip(marks, edges, edges[1:], strict=False) if t1 > t0]


def _word_spans(
    said: _Said, end: int, rate: int, text: str, normal: Spoken, phonemes: list[Span]
) -> list[Span]:
    """A word lasts until the next one or the next pause. What is read as several words ("3.50") is one."""
    words = _merged((min(sample, end), first, first + count) for sample, first, count in said.words)
    nexts = [first for _, first, _ in words[1:]] + [len(normal.text)]
    # A Chinese word of several characters is announced with the length of its first one.
    whole = [
        (sample, first, following if until - first == 1 else until)
        for (sample, first, until), following in zip(words, nexts, strict=True)
    ]
    words = _merged((sample, *normal.written(first, until)) for sample, first, until in whole)
    pauses = [span.t0_us for span in phonemes if span.text == SILENCE and span.t0_us > 0]
    starts = [_us(sample, rate) for sample, _, _ in words] + [_us(end, rate)]
    spans = []
    for (_, first, until), t0, after in zip(words, starts, starts[1:], strict=False):
        t1 = min([after, *(pause for pause in pauses if pause > t0)])
        word = text[first:until].strip().strip("，。！？；：、,.!?;:\"'“”‘’()（）[]「」『』…—-")
        if word and t1 > t0:
            spans.append(Span(word, t0, t1))
    return spans


def _merged(words: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """``(sample, first character, end)`` with those that overlap made one."""
    merged: list[tuple[int, int, int]] = []
    for sample, first, end in words:
        if merged and first < merged[-1][2]:
            merged[-1] = (merged[-1][0], merged[-1][1], max(merged[-1][2], end))
        else:
            merged.append((sample, first, end))
    return merged


def _us(sample: int, rate: int) -> int:
    return sample * 1_000_000 // rate


class _Never:
    def is_set(self) -> bool:
        return False


_NEVER: Cancel = _Never()
