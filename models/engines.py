"""Which engines there are, and what each needs of this machine. Nothing of an engine is imported to tell."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from configs.schema import Config
from models.asr import silero, whisper_files
from models.errors import EngineError
from models.llm.faq.book import FaqError, questions, read

KNOWN: dict[str, dict[str, str]] = {
    "asr": {
        "pocketsphinx": "models.asr.pocketsphinx:PocketsphinxTranscriber",
        "faster_whisper": "models.asr.faster_whisper:FasterWhisperTranscriber",
    },
    "llm": {
        "faq": "models.llm.faq.responder:FaqResponder",
        "ollama": "models.llm.ollama:OllamaResponder",
        "openai": "models.llm.openai:OpenaiResponder",
    },
    "tts": {
        "espeak": "models.tts.espeak:EspeakSynthesizer",
        "hibari": "models.tts.hibari:HibariSynthesizer",
        "edge_tts": "models.tts.edge:EdgeSynthesizer",
    },
    "lipsync": {
        "warp": "models.warp.engine:WarpLipSync",
        "musetalk": "models.musetalk.engine:MuseTalkLipSync",
    },
}
"""kind -> name -> "module:Class"; a class takes the whole ``Config``."""

CORE = ("av", "cv2", "PIL", "pi_heif", "numpy", "zmq", "msgpack", "structlog")
"""Modules without which no stage runs."""
_MUSETALK = "pip install 'musecast[musetalk]'"
MODULES: dict[str, Mapping[str, str]] = {
    "faster_whisper": {
        "faster_whisper": "pip install 'faster-whisper>=1.2,<2'",
        "opencc": "pip install 'opencc>=1.1.9,<2'",
    },
    "pocketsphinx": {"pocketsphinx": "pip install 'pocketsphinx>=5.0.4,<6'"},
    "espeak": {"espeakng_loader": "pip install 'musecast[espeak]' (GPL)"},
    "hibari": {"hibari": "pip install 'hibari-tts==0.2.1'", "onnxruntime": "pip install 'onnxruntime>=1.20,<2'"},
    "ollama": {"ollama": "pip install 'ollama>=0.6,<1'"},
    "openai": {"httpx": "pip install 'httpx>=0.27,<1'"},
    "edge_tts": {"edge_tts": "pip install 'edge-tts>=7.2,<8'"},
    "musetalk": {"torch": _MUSETALK, "diffusers": _MUSETALK, "safetensors": _MUSETALK},
}
"""Engine -> module that it imports -> how to get it."""


def unknown(kind: str, name: str) -> EngineError | None:
    """The error of a name that no engine of this kind has."""
    names = KNOWN.get(kind, {})
    if name in names:
        return None
    known = ", ".join(sorted(names)) or "none"
    return EngineError(
        "UNSUPPORTED", f"there is no {kind} engine {name!r}; known are: {known}", f"Set engines.{kind}"
    )


class Lack(NamedTuple):
    """Why an engine cannot load, and the key of the configuration that it is about."""

    key: str
    error: EngineError


def lacking(kind: str, name: str, config: Config) -> Lack | None:
    """What a known engine cannot load without; None when nothing speaks against it."""
    key = f"engines.{kind}"
    for module, command in {**_STAGE_MODULES.get(kind, {}), **MODULES.get(name, {})}.items():
        if importlib.util.find_spec(module) is None:
            fact = f"{name} needs the package {module}, which is missing"
            return Lack(key, EngineError("FAILED", fact, f"Get it with: {command}"))
    for check in (*_STAGE_CHECKS.get(kind, ()), *_CHECKS.get(name, ())):
        try:
            check(config)
        except FaqError as error:
            step = "Correct it, or set llm.faq to another file"
            return Lack("llm.faq", EngineError("INVALID_ARGUMENT", str(error), step))
        except EngineError as error:
            return Lack(key, error)
    return None


def variables(config: Config) -> list[str]:
    """Environment variables that the chosen engines read beside the usual ones."""
    return [config.openai.api_key_env] if "openai" in config.engines.llm and config.openai.api_key_env else []


def missing_core() -> Iterator[str]:
    """Modules of the daemon itself that are not installed."""
    return (module for module in CORE if importlib.util.find_spec(module) is None)


def lacking_faces(config: Config) -> EngineError | None:
    """Why no photo or film can become a template here; None when nothing speaks against it."""
    if any(missing_core()):
        return EngineError("FAILED", "packages of the daemon itself are missing", "Install those first")
    if importlib.util.find_spec("ai_edge_litert") is None:
        fact = "that needs the package ai_edge_litert, which is missing"
        return EngineError("FAILED", fact, "Get it with: pip install 'musecast[landmarks]'")
    from models.landmarks import files

    try:
        files.load(config.weights_dir)
    except EngineError as error:
        return error
    return None


def _faq(config: Config) -> None:
    read(config.llm.faq)


def _questions(config: Config) -> None:
    if not questions(config.llm.faq, "en"):
        raise EngineError("FAILED", "no English question to listen for", "Add English questions to llm.faq")


def _weights(config: Config) -> None:
    from models.musetalk.layout import speaking
    from models.musetalk.manifest import converted_entry

    for name in speaking(config.musetalk.version, config.musetalk.tier):
        converted_entry(Path(config.weights_dir), name)


def _whisper(config: Config) -> None:
    whisper_files.check(config.weights_dir, config.faster_whisper.model)


def _voice_detector(_: Config) -> None:
    silero.model_path()


_STAGE_MODULES = {"asr": {"onnxruntime": "pip install 'onnxruntime>=1.20,<2'"}}
_STAGE_CHECKS: dict[str, tuple[Callable[[Config], None], ...]] = {"asr": (_voice_detector,)}
_CHECKS: dict[str, tuple[Callable[[Config], None], ...]] = {
    "faq": (_faq,),
    "pocketsphinx": (_questions,),
    "faster_whisper": (_whisper,),
    "musetalk": (_weights,),
}
