"""What is particular to espeak: its data folder and its voices."""

from __future__ import annotations

import tempfile
from pathlib import Path

import espeakng_loader
import pytest

from models.tts import espeak_data
from models.tts.espeak import candidates

VARIANTS = frozenset({"muse", "f3"})


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_no_voice_of_the_folder_wavers(temporary: Path) -> None:
    folder = espeak_data.make(espeakng_loader.get_data_path())
    files = list((Path(folder.path) / "voices" / "!v").iterdir())
    assert len(files) == len(folder.variants) > 50
    for file in files:
        lines = file.read_text("utf-8", "replace").splitlines()
        assert [line for line in lines if line.startswith(("flutter", "roughness"))] == [
            "flutter 0",
            "roughness 0",
        ]
    assert (Path(folder.path) / "en_dict").exists()
    folder.remove()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("voice", "text", "wanted"),
    [
        ("", "hello", "en-us+muse"),
        ("", "你好 hello", "cmn+muse"),
        ("", "123", "en-us+muse"),
        ("zh-CN", "hello", "cmn+muse"),
        ("zh-TW-HsiaoChenNeural", "x", "cmn+muse"),
        ("zh-HK", "x", "yue+muse"),
        ("yue", "x", "yue+muse"),
        ("en", "你好", "en-us+muse"),
        ("en-GB-SoniaNeural", "x", "en+muse"),
        ("en-gb+f3", "x", "en+f3"),
        ("cmn+nobody", "x", "cmn+muse"),
        ("de_DE", "x", "de-de+muse"),
        ("alloy", "你好", "alloy+muse"),
        ("../../../etc/passwd", "x", "en-us+muse"),
        ("/tmp/voice", "x", "en-us+muse"),
        ("x" * 300, "x", "en-us+muse"),
        ("en-us+../../x", "x", "en-us+muse"),
        ("zh\x00", "x", "en-us+muse"),
    ],
)
def test_a_voice_name_is_read_as_what_it_most_likely_means(voice: str, text: str, wanted: str) -> None:
    names = candidates(voice, text, VARIANTS)
    assert names[0] == wanted
    assert any(name.startswith("en-us+") for name in names)
    assert all("/" not in name and len(name) < 40 for name in names)
