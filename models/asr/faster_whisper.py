"""Whisper through CTranslate2 (the package faster-whisper): every language, in one pass at the utterance's end.

The decoding loop is our own: the package's guesses again at higher temperatures, which makes an answer late and
different each time, and tells a language only by encoding twice. Here each window of up to 30 s is encoded once
and decoded once, within a number of tokens that its length allows.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from configs.grid import ASR_RATE as RATE
from configs.schema import Config
from models.api import Cancel, EngineError, Pause, Pcm, Progress, Transcript
from models.asr import chinese, guards, whisper_files
from models.asr.finished import finished
from models.asr.hotwords import rare_words
from models.llm.faq.book import FaqError, questions

log = structlog.get_logger(__name__)

WINDOW = 30 * RATE
"""What the network sees at once."""
SHORTEST = RATE // 10
"""Less audio than this is nothing."""
TOKENS = 16
TOKENS_PER_S = 14
"""A text may have so many tokens: more than anybody says in that time."""
MAX_TOKENS = 220
PARTIAL_SAMPLES = RATE // 2
"""A partial text is made of so much more audio each time."""
SEAM = RATE // 20
"""Long audio is cut at the quietest stretch of this length in the window's last fifth."""


class _Heard(NamedTuple):
    text: str
    language: str
    logprob: float
    speech: bool


class FasterWhisperTranscriber:
    """See ``models.api.Transcriber``. Utterances may be open together; decoding is one at a time.

    Args:
        config: its section ``faster_whisper``, ``weights_dir``, and ``llm.faq`` for the hotwords.
        partials: whether to decode while audio arrives; None: on a GPU alone, a CPU cannot afford it.
    """

    name = "faster_whisper"

    def __init__(self, config: Config, *, partials: bool | None = None) -> None:
        self._config = config
        self._settings = config.faster_whisper
        self._partials = partials
        self._model: Any = None
        self._lock = threading.Lock()
        self._hotwords = ""

    @property
    def hotwords(self) -> str:
        """The words that an English utterance is expected to have. After ``load``."""
        return self._hotwords

    @property
    def partials(self) -> bool:
        """Whether it tells what it hears while it hears it. After ``load``."""
        return bool(self._partials)

    def load(self, progress: Progress) -> None:
        """Load the model onto its device and decode a moment of silence.

        Raises:
            EngineError: ``NOT_FOUND`` without the model's files, ``FAILED`` when it does not run here.
        """
        progress("faster_whisper", 0, 2)
        place = whisper_files.check(self._config.weights_dir, self._settings.model)
        device = self._device()
        compute = self._settings.compute_type
        if compute == "auto":
            compute = "float16" if device == "cuda" else "int8"
        self._model = self._read(place, device, compute)
        if self._partials is None:
            self._partials = device == "cuda"
        self._hotwords = self._settings.hotwords or self._faq_words()
        progress("faster_whisper", 1, 2)
        try:
            self.decode(np.zeros(RATE, np.float32), "en")
        except RuntimeError as error:
            raise self._unfit(device, compute, error) from error
        log.info("asr.whisper", model=str(place), device=device, compute=compute, hotwords=self._hotwords)
        progress("faster_whisper", 2, 2)

    def close(self) -> None:
        """Release the model."""
        self._model = None

    def open(self, language: str) -> FasterWhisperUtterance:
        """See ``Transcriber.open``.

        Raises:
            EngineError: ``UNSUPPORTED`` for a language that the model does not know.
        """
        model = self._loaded()
        code = language.replace("_", "-").split("-")[0].lower()
        code = {"cmn": "zh", "yue": "yue" if "yue" in model.supported_languages else "zh"}.get(code, code)
        if not model.model.is_multilingual and not code:
            code = "en"
        if code and code not in model.supported_languages:
            hint = "Set asr.language (or the session's language) to one that it knows, or choose another model"
            raise EngineError("UNSUPPORTED", f"Whisper {self._settings.model} does not know {language!r}", hint)
        return FasterWhisperUtterance(self, code)

    def decode(self, audio: NDArray[np.float32], language: str) -> _Heard:
        """The text of one window (f32 16 kHz, -1 to 1, at most 30 s); ``language`` is Whisper's code or ""."""
        from faster_whisper.audio import pad_or_trim
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        model = self._loaded()
        with self._lock:
            encoded = model.encode(pad_or_trim(model.feature_extractor(audio)))
            if not language:
                language = model.model.detect_language(encoded)[0][0][0][2:-2]
            tokenizer = Tokenizer(
                model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
            )
            expected = self._hotwords if language == "en" or self._settings.hotwords else ""
            begin = tokenizer.encode(" " + chinese.PROMPT) if language in ("zh", "yue") else []
            prompt = model.get_prompt(tokenizer, begin, without_timestamps=True, hotwords=expected or None)
            seconds = len(audio) / RATE
            most = min(MAX_TOKENS, int(TOKENS + TOKENS_PER_S * seconds), model.max_length - len(prompt))
            result = model.model.generate(
                encoded,
                [prompt],
                beam_size=self._settings.beam_size,
                max_length=len(prompt) + most,
                return_scores=True,
                return_no_speech_prob=True,
                suppress_blank=True,
                suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            )[0]
        tokens = result.sequences_ids[0]
        logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
        text = tokenizer.decode(tokens).strip()
        full = len(tokens) >= most
        found = guards.judge(guards.Decoding(text, logprob, result.no_speech_prob, seconds, full), expected)
        log.debug("asr.judged", text=text, logprob=round(logprob, 2), no_speech=round(result.no_speech_prob, 2),
                  refused=found.reason)  # fmt: skip
        text = chinese.simplified(found.text) if language == "zh" else found.text
        return _Heard(text, language, logprob, found.speech)

    def _loaded(self) -> Any:
        model = self._model
        if model is None:
            raise EngineError("NOT_READY", "the recogniser is not loaded", "Call load first")
        return model

    def _device(self) -> str:
        if self._settings.device != "auto":
            return self._settings.device
        try:
            import ctranslate2

            return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        except (ImportError, RuntimeError):
            return "cpu"

    def _read(self, place: Path, device: str, compute: str) -> Any:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            hint = "pip install 'faster-whisper>=1.2,<2'"
            raise EngineError("FAILED", f"faster-whisper does not import: {error}", hint) from error
        name, _, index = device.partition(":")
        try:
            return WhisperModel(
                str(place),
                device=name,
                device_index=int(index or 0),
                compute_type=compute,
                cpu_threads=self._config.stages.asr.threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise self._unfit(device, compute, error) from error

    def _unfit(self, device: str, compute: str, error: Exception) -> EngineError:
        self._model = None
        hint = "Set faster_whisper.device and compute_type to auto, or fetch the model anew"
        if device.startswith("cuda"):
            hint = "CTranslate2 needs CUDA 12 with cuBLAS and cuDNN 9; or set faster_whisper.device: cpu"
        return EngineError(
            "FAILED", f"Whisper {self._settings.model} does not run on {device} as {compute}: {error}", hint
        )

    def _faq_words(self) -> str:
        """What the FAQ's questions have that Whisper would not think of; "" where the FAQ answers nothing."""
        if "faq" not in self._config.engines.llm:
            return ""
        tokenizer = self._loaded().hf_tokenizer
        try:
            asked = questions(self._config.llm.faq, "en")
        except FaqError as error:
            log.warning("asr.no_hotwords", reason=str(error))
            return ""
        return rare_words(asked, lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids))


class FasterWhisperUtterance:
    """See ``models.api.Utterance``. The words are found when it ends, or at a pause."""

    def __init__(self, engine: FasterWhisperTranscriber, language: str) -> None:
        self._engine: FasterWhisperTranscriber | None = engine
        self._language = language
        self._pieces: list[Pcm] = []
        self._samples = 0
        self._done: list[_Heard] = []
        """Of whole windows."""
        self._looked = 0
        self._told = ""

    def feed(self, pcm: Pcm) -> str | None:
        """See ``Utterance.feed``."""
        engine = self._open()
        self._pieces.append(np.array(pcm, np.int16))
        self._samples += len(pcm)
        while self._samples > WINDOW:
            self._window(engine)
        if not engine.partials or self._samples - self._looked < PARTIAL_SAMPLES:
            return None
        self._looked = self._samples
        text = self._so_far(engine).text
        if not text or text == self._told:
            return None
        self._told = text
        return text

    def pause(self, cancel: Cancel) -> Pause:
        """See ``Utterance.pause``: the same as ``finish`` would say now."""
        engine = self._open()
        if cancel.is_set():
            return Pause(finished=False)
        transcript = self._so_far(engine)
        return Pause(finished=finished(transcript.text), transcript=transcript)

    def finish(self, cancel: Cancel) -> Transcript:
        """See ``Utterance.finish``. Cancelled: an empty transcript; a native call is at most one window."""
        engine = self._open()
        self._engine = None
        if cancel.is_set():
            return Transcript("", self._language, 0.0)
        transcript = self._so_far(engine)
        return Transcript("", self._language, 0.0) if cancel.is_set() else transcript

    def _open(self) -> FasterWhisperTranscriber:
        if self._engine is None:
            raise EngineError("FAILED", "the utterance is already finished", "Open another one")
        return self._engine

    def _window(self, engine: FasterWhisperTranscriber) -> None:
        """Decode a whole window of audio that is longer, up to its quietest moment near the end."""
        pcm = np.concatenate(self._pieces)
        cut = quietest(pcm[:WINDOW])
        self._hear(engine, pcm[:cut])
        self._pieces = [pcm[cut:]]
        self._samples = len(pcm) - cut
        self._looked = 0

    def _hear(self, engine: FasterWhisperTranscriber, pcm: Pcm) -> None:
        heard = engine.decode(pcm.astype(np.float32) / 32768.0, self._language)
        self._language = self._language or heard.language
        self._done.append(heard)

    def _so_far(self, engine: FasterWhisperTranscriber) -> Transcript:
        heard = list(self._done)
        if self._samples >= SHORTEST:
            pcm = np.concatenate(self._pieces)
            self._pieces = [pcm]
            heard.append(engine.decode(pcm.astype(np.float32) / 32768.0, self._language))
        believed = [one for one in heard if one.text]
        if not believed:
            language = heard[-1].language if heard else self._language
            return Transcript("", language, 0.0, rejected=any(one.speech for one in heard))
        language = believed[0].language
        text = ("" if language in ("zh", "yue", "ja") else " ").join(one.text for one in believed)
        confidence = math.exp(min(0.0, float(np.mean([one.logprob for one in believed]))))
        return Transcript(text, language, round(confidence, 3))


def quietest(pcm: Pcm) -> int:
    """Where to cut s16 audio: the middle of the quietest ``SEAM`` of its last fifth."""
    first = len(pcm) * 4 // 5 // SEAM
    blocks = len(pcm) // SEAM
    levels = [
        float(np.abs(pcm[at * SEAM : (at + 1) * SEAM].astype(np.int32)).mean()) for at in range(first, blocks)
    ]
    return (first + int(np.argmin(levels))) * SEAM + SEAM // 2
