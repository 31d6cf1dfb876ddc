"""The embedded recogniser: pocketsphinx over the closed set of the FAQ's English questions.

Two decoders hear the same audio while it arrives: a grammar of the questions, and a free loop over phones that
shows when the grammar's best guess is not what was said (``rejection``). The model inside the pocketsphinx
package is English; there is none for Chinese.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from configs.grid import ASR_RATE as RATE
from configs.schema import Config
from models.api import Cancel, EngineError, Pause, Pcm, Progress, Transcript
from models.asr.rejection import PHONE_PRIOR_WEIGHT, Piece, judge
from models.llm.faq.book import FaqError, questions

log = structlog.get_logger(__name__)

STEP = 512
"""Samples per native call: pocketsphinx holds the interpreter for about 3 ms of it."""
CHECK_SAMPLES = 1600
"""A partial text is looked for every 100 ms, and told when two looks agree."""
MAX_SAMPLES = 15 * RATE
"""No question is longer; what goes on is refused without being decoded."""
MAX_SPARE = 8
"""Decoder pairs kept for the next utterances."""
CMN = "40,3,-1"
"""Cepstral mean that every utterance begins with (the model's own): what was said before changes nothing."""
LEVEL_SAMPLES = RATE * 8 // 10
"""The beginning of an utterance that its loudness is taken from; decoding waits for so much."""
LEVEL_BLOCK = RATE // 10
LEVEL = 3200.0
"""RMS that the loudest 100 ms of the beginning are brought to, because the fixed mean expects a level."""
MAX_GAIN = 16.0
_SHIFT = 1024
"""Scores come divided by 2**10 (SENSCR_SHIFT in pocketsphinx' hmm.h)."""
_TINY = 1e-305

EXTRA_WORDS: dict[str, tuple[str, ...]] = {
    "ai": ("EY AY",),
    "api": ("EY P IY AY",),
    "cpu": ("S IY P IY Y UW",),
    "gpu": ("JH IY P IY Y UW",),
    "llm": ("EH L EH L EH M",),
    "musecast": ("M Y UW Z K AE S T", "M Y UW S K AE S T"),
    "musetalk": ("M Y UW Z T AO K",),
    "ollama": ("OW L AA M AH", "AH L AA M AH"),
}
"""Pronunciations (ARPAbet) of words that the model's dictionary lacks or reads as another word."""

_NOT_A_WORD = re.compile(r"[^a-z' ]+")


class PocketsphinxTranscriber:
    """See ``models.api.Transcriber``. One thread per utterance; several utterances may be open.

    Args:
        config: ``llm.faq`` names the questions.
        phrases: the closed set, instead of the FAQ's.
    """

    name = "pocketsphinx"

    def __init__(self, config: Config, phrases: Sequence[str] | None = None) -> None:
        self._faq = config.llm.faq
        self._given = phrases
        self._spare: list[_Pair] = []
        self._lock = threading.Lock()
        self._phrases: dict[str, str] = {}
        self._words: dict[str, list[str]] = {}
        self._loaded = False

    def load(self, progress: Progress) -> None:
        """Read the questions, build the grammar, decode a moment of silence.

        Raises:
            EngineError: pocketsphinx or its model is missing, the FAQ is wrong, or no question is left.
        """
        progress("pocketsphinx", 0, 2)
        try:
            import pocketsphinx
        except ImportError as error:
            hint = "pip install 'pocketsphinx>=5.0.4,<6'"
            raise EngineError("FAILED", f"pocketsphinx does not import: {error}", hint) from error
        self._model = Path(pocketsphinx.get_model_path()) / "en-us"
        dictionary = self._model / "cmudict-en-us.dict"
        if not dictionary.is_file():
            raise EngineError(
                "FAILED", "this pocketsphinx carries no English model", "Install pocketsphinx 5.0.4 or newer"
            )
        try:
            wanted = list(self._given) if self._given is not None else questions(self._faq, "en")
        except FaqError as error:
            raise EngineError("INVALID_ARGUMENT", str(error), "Correct the file named by llm.faq") from error
        plain = {_plain(phrase): phrase for phrase in reversed(wanted)}
        self._words = pronunciations(dictionary, {word for text in plain for word in text.split()})
        self._phrases = {}
        for text, phrase in reversed(plain.items()):
            unknown = [word for word in text.split() if word not in self._words]
            if text and not unknown:
                self._phrases[text] = phrase
            else:
                log.warning("asr.question_skipped", question=phrase, unknown=unknown)
        if not self._phrases:
            raise EngineError("FAILED", "no English question to listen for", "Add English questions to llm.faq")
        progress("pocketsphinx", 1, 2)
        self._loaded = True
        pair = self._take()
        pair.feed(bytes(RATE // 2 * 2))
        pair.end()
        self._give(pair)
        progress("pocketsphinx", 2, 2)

    def close(self) -> None:
        """Drop the decoders; utterances that are still open keep theirs."""
        self._loaded = False
        with self._lock:
            self._spare.clear()

    def open(self, language: str) -> PocketsphinxUtterance:
        """See ``Transcriber.open``.

        Raises:
            EngineError: ``UNSUPPORTED`` for any language but English.
        """
        if language and language.replace("_", "-").split("-")[0].lower() != "en":
            hint = "Set engines.asr to [faster_whisper, pocketsphinx], which understands other languages"
            raise EngineError("UNSUPPORTED", f"pocketsphinx understands English, not {language!r}", hint)
        if not self._loaded:
            raise EngineError("NOT_READY", "the recogniser is not loaded", "Call load first")
        return PocketsphinxUtterance(self, self._take())

    def phrase(self, text: str) -> str | None:
        """The question as the FAQ writes it; None when the text is only a part of one."""
        return self._phrases.get(text)

    def complete(self, text: str) -> bool:
        """Whether a question ends here and none goes on."""
        return text in self._phrases and not any(other.startswith(f"{text} ") for other in self._phrases)

    def _take(self) -> _Pair:
        with self._lock:
            pair = self._spare.pop() if self._spare else None
        pair = pair or _Pair(self._model, self._words, self._phrases)
        pair.begin()
        return pair

    def _give(self, pair: _Pair) -> None:
        with self._lock:
            if self._loaded and len(self._spare) < MAX_SPARE:
                self._spare.append(pair)


class PocketsphinxUtterance:
    """See ``models.api.Utterance``. Decodes while audio arrives, so that ``finish`` has little left to do."""

    def __init__(self, engine: PocketsphinxTranscriber, pair: _Pair) -> None:
        self._engine = engine
        self._pair: _Pair | None = pair
        self._samples = 0
        self._waiting: list[Pcm] = []
        self._gain = 0.0
        self._checked = 0
        self._guess = ""
        self._told = ""

    def feed(self, pcm: Pcm) -> str | None:
        """See ``Utterance.feed``; the partial text follows the audio by 100 to 200 ms."""
        if self._pair is None:
            raise EngineError("FAILED", "the utterance is already finished", "Open another one")
        room = max(0, MAX_SAMPLES - self._samples)
        self._samples += len(pcm)
        self._waiting.append(pcm[:room])
        return self._decode() if self._gain or self._samples >= LEVEL_SAMPLES else None

    def pause(self, cancel: Cancel) -> Pause:
        """See ``Utterance.pause``. Complete is a question that is not the beginning of another one."""
        if self._pair is None:
            raise EngineError("FAILED", "the utterance is already finished", "Open another one")
        if cancel.is_set():
            return Pause(finished=False)
        self._decode()
        return Pause(finished=self._engine.complete(self._pair.guess()))

    def finish(self, cancel: Cancel) -> Transcript:
        """See ``Utterance.finish``. Cancelled: an empty transcript, at once."""
        pair = self._pair
        if pair is None:
            raise EngineError("FAILED", "the utterance is already finished", "Open another one")
        try:
            if not cancel.is_set():
                self._decode()
            pair.end()
            if cancel.is_set() or not self._samples:
                return Transcript("", "en", 0.0)
            return self._decide(pair)
        finally:
            self._pair = None
            self._engine._give(pair)

    def _decode(self) -> str | None:
        """Decode what waits; returns a new partial text."""
        assert self._pair is not None
        if not self._waiting:
            return None
        pcm = np.concatenate(self._waiting)
        self._waiting.clear()
        self._gain = self._gain or level_gain(pcm[:LEVEL_SAMPLES])
        data = np.clip(pcm * self._gain, -32768, 32767).astype("<i2")
        partial = None
        for begin in range(0, len(data), STEP):
            self._pair.feed(data[begin : begin + STEP].tobytes())
            self._checked += STEP
            if self._checked >= CHECK_SAMPLES:
                self._checked = 0
                partial = self._look() or partial
        return partial

    def _look(self) -> str | None:
        assert self._pair is not None
        guess = self._pair.guess()
        settled = guess if guess == self._guess else ""
        self._guess = guess
        if not settled or settled == self._told:
            return None
        self._told = settled
        return settled

    def _decide(self, pair: _Pair) -> Transcript:
        loop = pair.phones()
        words = pair.words()
        if not words and sum(piece.frames for piece in loop if piece.name.isalpha() and piece.name != "SIL") == 0:
            return Transcript("", "en", 0.0)
        phrase = self._engine.phrase(pair.guess())
        verdict = judge(words, loop)
        accepted = phrase is not None and verdict.accepted and self._samples <= MAX_SAMPLES
        log.debug(
            "asr.judged",
            guess=pair.guess(),
            accepted=accepted,
            score=round(verdict.score, 2) if math.isfinite(verdict.score) else None,
            uncovered=round(verdict.uncovered, 2),
        )
        if accepted and phrase is not None:
            return Transcript(phrase, "en", round(verdict.confidence, 3))
        return Transcript("", "en", round(verdict.confidence, 3), rejected=True)


class _Pair:
    """Grammar and phone loop. About 30 MB and 60 ms to make, so they are used again."""

    def __init__(self, model: Path, words: dict[str, list[str]], phrases: Iterable[str]) -> None:
        self._grammar = _decoder(model)
        entries = [
            (word if number == 0 else f"{word}({number + 1})", phones)
            for word, variants in words.items()
            for number, phones in enumerate(variants)
        ]
        for number, (name, phones) in enumerate(entries, 1):
            self._grammar.add_word(name, phones, number == len(entries))
        self._grammar.add_jsgf_string("questions", jsgf(phrases))
        self._grammar.activate_search("questions")
        self._loop = _decoder(model)
        self._loop.add_allphone_file("phones", str(model / "en-us-phone.lm.bin"))
        self._loop.activate_search("phones")

    def begin(self) -> None:
        for decoder in (self._grammar, self._loop):
            decoder.set_cmn(CMN)
            decoder.start_utt()

    def feed(self, data: bytes) -> None:
        self._grammar.process_raw(data)
        self._loop.process_raw(data)

    def end(self) -> None:
        self._grammar.end_utt()
        self._loop.end_utt()

    def guess(self) -> str:
        hypothesis = self._grammar.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""

    def words(self) -> list[Piece]:
        return [
            Piece(piece.word, piece.start_frame, piece.end_frame, _SHIFT * _log(piece.ascore))
            for piece in self._grammar.seg() or ()
        ]

    def phones(self) -> list[Piece]:
        return [
            Piece(
                piece.word,
                piece.start_frame,
                piece.end_frame,
                _SHIFT * (_log(piece.ascore) + PHONE_PRIOR_WEIGHT * _log(piece.lscore)),
            )
            for piece in self._loop.seg() or ()
        ]


def _log(value: float) -> float:
    """pocketsphinx hands out its logarithms as probabilities."""
    return math.log(max(value, _TINY))


def _decoder(model: Path) -> Any:
    from pocketsphinx import Decoder

    # No lattice: searching it would cost 50 ms at the end of an utterance and other units of score.
    try:
        return Decoder(hmm=str(model / "en-us"), dict=None, lm=None, bestpath=False, loglevel="FATAL")
    except (RuntimeError, ValueError) as error:
        raise EngineError("FAILED", f"pocketsphinx' model does not load: {error}", "Install it anew") from error


def level_gain(pcm: Pcm) -> float:
    """What to multiply an utterance with, from its beginning (s16 16 kHz)."""
    padded = np.zeros(-(-max(len(pcm), 1) // LEVEL_BLOCK) * LEVEL_BLOCK)
    padded[: len(pcm)] = pcm
    loudest = float(np.sqrt(np.mean(padded.reshape(-1, LEVEL_BLOCK) ** 2, axis=1)).max())
    return min(MAX_GAIN, max(1.0 / MAX_GAIN, LEVEL / max(loudest, 1.0)))


def _plain(phrase: str) -> str:
    """Lower-case words alone, as dictionary and grammar write them."""
    return " ".join(_NOT_A_WORD.sub(" ", phrase.lower().replace("’", "'")).split())


def jsgf(phrases: Iterable[str]) -> str:
    """A grammar that accepts exactly these phrases (JSpeech Grammar Format 1.0)."""
    return f"#JSGF V1.0; grammar questions; public <question> = {' | '.join(phrases)} ;"


def pronunciations(dictionary: Path, wanted: set[str]) -> dict[str, list[str]]:
    """ARPAbet pronunciations of the wanted words; a word that nobody knows is left out."""
    found = {word: list(EXTRA_WORDS[word]) for word in sorted(wanted) if word in EXTRA_WORDS}
    extra = set(found)
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            name, _, phones = line.strip().partition(" ")
            word = name.partition("(")[0]
            if word in wanted and word not in extra:
                found.setdefault(word, []).append(phones)
    return found
