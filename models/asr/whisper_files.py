"""Which files a Whisper model in CTranslate2's form has, where they lie, and where they come from."""

from __future__ import annotations

from pathlib import Path

from models.errors import EngineError

_SYSTRAN = "Systran/faster-whisper-"
REPOSITORIES: dict[str, str] = {
    **{
        size: _SYSTRAN + size
        for size in (
            "tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en",
            "large-v1", "large-v2", "large-v3",
        )
    },
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
}  # fmt: skip
"""Size -> Hugging Face repository."""
NEEDED = ("config.json", "model.bin", "tokenizer.json")
VOCABULARY = ("vocabulary.json", "vocabulary.txt")
OPTIONAL = ("preprocessor_config.json",)
PREFIX = "whisper-"


def folder(weights_dir: str, model: str) -> Path:
    """Where a model lies: a size below ``weights_dir``, or the path itself."""
    if model in REPOSITORIES:
        return Path(weights_dir) / f"{PREFIX}{model}"
    return Path(model).expanduser()


def check(weights_dir: str, model: str) -> Path:
    """The folder of a model that is there.

    Raises:
        EngineError: ``NOT_FOUND``, with the command that fetches it; ``FAILED`` when a file of it is missing.
    """
    place = folder(weights_dir, model)
    known = model in REPOSITORIES
    command = f"musecast weights pull {PREFIX}{model}"
    if not place.is_dir():
        sizes = ", ".join(REPOSITORIES)
        step = f"Get it with: {command}" if known else f"Correct faster_whisper.model; known sizes are {sizes}"
        raise EngineError("NOT_FOUND", f"no Whisper model lies in {place}", step)
    missing = [name for name in NEEDED if not (place / name).is_file()]
    if not any((place / name).is_file() for name in VOCABULARY):
        missing.append(VOCABULARY[0])
    if missing:
        step = f"Get it with: {command}" if known else "Convert the model with CTranslate2's own converter"
        raise EngineError("FAILED", f"{place} has no {', '.join(missing)}", step)
    return place
