"""One engine tried for real, in a process of its own (``python -m models.trial KIND NAME``), for ``doctor``.

Reads the configuration as JSON from its standard input and writes one JSON map: ``ok``, ``fact``, ``next_step``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from configs.grid import ASR_RATE, SAMPLE_RATE
from configs.schema import Config
from models.api import ChatMessage, EngineError, Pcm, Responder, Synthesizer, Transcriber
from models.media.resample import Resampler
from models.registry import create

QUESTION = [ChatMessage("user", "Say in one short sentence that you are there.")]
SENTENCES = {"en": "Hello, can you hear me?", "zh": "你好，你听得到我吗？"}
THOUGHTS = 8
"""So many pieces without text are thoughts."""
LISTEN_S = 1.0
FAQ_ALONE = frozenset({"pocketsphinx"})
"""Recognisers that know the FAQ's questions and nothing else."""


class Verdict(NamedTuple):
    """What came of it."""

    ok: bool
    fact: str
    next_step: str = ""


def trial(kind: str, name: str, config: Config) -> Verdict:
    """Load the engine and have it do one thing of its kind."""
    engine: Any = None
    try:
        engine = create(kind, name, config)
        engine.load(_quiet)
        return TRIALS[kind](engine, config)
    except EngineError as error:
        return Verdict(False, error.message, error.hint)
    except Exception as error:  # whatever it is, doctor has to say it
        return Verdict(False, f"{type(error).__name__}: {error}")
    finally:
        if engine is not None:
            engine.close()


def _answers(engine: Responder, config: Config) -> Verdict:
    began = time.monotonic()
    first: float | None = None
    empty, text = 0, ""
    for piece in engine.reply(QUESTION, "", threading.Event()):
        if not piece:
            empty += 1
        elif first is None:
            first = time.monotonic() - began
        text += piece
    if first is None:
        return Verdict(False, "it gave an empty answer", "Try the model by itself, or choose another")
    model = str(getattr(engine, "model", "")) or (config.ollama.model if engine.name == "ollama" else "")
    fact = f"{model + ': ' if model else ''}first word after {first:.1f} s"
    limit_s = config.chain.first_output_s.llm
    wanted = engine.name == "ollama" and config.ollama.think
    if empty >= THOUGHTS and not wanted:
        return Verdict(True, f"{fact}; it thinks first, and the server cannot be told not to", _OTHER_MODEL)
    if first > limit_s:
        step = "Choose a smaller model, or raise chain.first_output_s.llm"
        return Verdict(False, f"{fact}; the chain waits {limit_s:g} s", step)
    return Verdict(True, fact)


_OTHER_MODEL = "Answers begin sooner with a model that does not think"


def _speaks(engine: Synthesizer, config: Config) -> Verdict:
    text = SENTENCES["en" if engine.speaks("en") else "zh"]
    began = time.monotonic()
    first: float | None = None
    samples, loudest = 0, 0
    for chunk in engine.speak(text, config.tts.voice, 0, threading.Event()):
        first = time.monotonic() - began if first is None else first
        samples += len(chunk.pcm)
        loudest = max(loudest, int(np.abs(chunk.pcm.astype(np.int32)).max(initial=0)))
    if first is None or loudest < 100:
        return Verdict(False, "it spoke a sentence and nothing was to be heard")
    return Verdict(True, f"spoke {samples / SAMPLE_RATE:.1f} s, the first sound after {first:.1f} s")


def _hears(engine: Transcriber, config: Config) -> Verdict:
    began = time.monotonic()
    utterance = engine.open(config.asr.language)
    utterance.feed(np.zeros(int(ASR_RATE * LISTEN_S), np.int16))
    heard = utterance.finish(threading.Event())
    took = time.monotonic() - began
    if heard.text.strip():
        return Verdict(False, f"it heard {heard.text!r} in silence", "Choose another model")
    sentence = None if engine.name in FAQ_ALONE else _sentence(config)
    if sentence is None:
        return Verdict(True, f"listened to {LISTEN_S:g} s in {took:.1f} s")
    began = time.monotonic()
    utterance = engine.open(config.asr.language)
    utterance.feed(sentence.pcm)
    text = utterance.finish(threading.Event()).text.strip()
    if not text:
        fact = f"it understood nothing of {sentence.text!r}, spoken by {sentence.voice}"
        return Verdict(False, fact, "Choose a larger model, or set asr.language to what is spoken")
    return Verdict(True, f"heard {text!r} in {time.monotonic() - began:.1f} s")


class _Sentence(NamedTuple):
    text: str
    voice: str
    pcm: Pcm
    """At ``ASR_RATE``."""


def _sentence(config: Config) -> _Sentence | None:
    """By the first voice of this machine that speaks English; None where something else is listened to."""
    text = SENTENCES["en"]
    if config.asr.language.partition("-")[0] not in ("", "en"):
        return None
    for name in config.engines.tts:
        try:
            pcm = _spoken(create("tts", name, config), text)
        except EngineError:  # which its own trial tells
            continue
        if pcm is not None:
            return _Sentence(text, name, pcm)
    return None


def _spoken(voice: Synthesizer, text: str) -> Pcm | None:
    """None by a service, which need not know, and by a voice of another language."""
    if not voice.deterministic or not voice.speaks("en"):
        return None
    resampler = Resampler(SAMPLE_RATE, ASR_RATE)
    try:
        voice.load(_quiet)
        return np.concatenate([resampler.feed(one.pcm) for one in voice.speak(text, "", 0, threading.Event())])
    finally:
        voice.close()


TRIALS: dict[str, Callable[[Any, Config], Verdict]] = {"llm": _answers, "tts": _speaks, "asr": _hears}
"""By kind. Lip-sync is tried by ``musecast render``."""


def _quiet(phase: str, done: int, total: int) -> None:
    """Nobody watches."""


def main() -> None:
    """See above."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    print(json.dumps(trial(sys.argv[1], sys.argv[2], config)._asdict()))


if __name__ == "__main__":
    main()
