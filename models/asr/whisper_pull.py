"""Downloading a Whisper model in CTranslate2's form to its place below ``weights_dir``: resumed and checked."""

from __future__ import annotations

from pathlib import Path

from models.asr.whisper_files import NEEDED, OPTIONAL, PREFIX, REPOSITORIES, VOCABULARY, folder
from models.errors import EngineError
from models.musetalk.layout import Download
from models.musetalk.pull import Step, fetch_hub


def pull(root: Path, size: str, step: Step, endpoint: str | None = None) -> list[str]:
    """Fetch what is not there yet; returns the paths that were fetched.

    Args:
        root: ``weights_dir``.
        size: one of ``REPOSITORIES``.
        step: told of every file.
        endpoint: another server than Hugging Face's; None: ``HF_ENDPOINT`` or Hugging Face.

    Raises:
        EngineError: NOT_FOUND for an unknown size; FAILED, naming the file, the reason and the next step.
    """
    repository = REPOSITORIES.get(size)
    if repository is None:
        known = ", ".join(PREFIX + one for one in REPOSITORIES)
        raise EngineError("NOT_FOUND", f"there is no Whisper model {size!r}", f"Known are {known}")
    place = folder(str(root), size)
    fetched = []
    # The largest comes last: a folder without it is known to be incomplete.
    vocabulary = next((name for name in VOCABULARY if (place / name).is_file()), None)
    wanted = [*(name for name in NEEDED if name != "model.bin"), *OPTIONAL, "model.bin"]
    for name in wanted if vocabulary else [*VOCABULARY, *wanted]:
        if (place / name).is_file() or (name in VOCABULARY and any((place / v).is_file() for v in VOCABULARY)):
            continue
        place.mkdir(parents=True, exist_ok=True)
        item = Download(f"{place.name}/{name}", repo=repository, file=name)
        try:
            fetch_hub(item, place / name, step, endpoint)
        except EngineError as error:
            if error.code == "NOT_FOUND" and name in (*OPTIONAL, *VOCABULARY[:-1]):
                continue
            raise
        fetched.append(item.to)
    return fetched
