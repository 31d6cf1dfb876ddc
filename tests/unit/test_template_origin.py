"""The source beside a template, the mark that keeps it, and the room it may take."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from models.api import EngineError
from models.templates.cache import Held, Outcome, adopt, confirm, describe, held
from models.templates.origin import Entry, Origin, is_kept, keep_source, read_origin
from models.templates.store import MANIFEST_VERSION
from models.templates.writer import TemplateWriter, damaged_files, folder_size

FRAME = 64 * 96
ROI = 32 * 32 * 3


def quiet(phase: str, done: int, total: int) -> None: ...


def entry(source: bytes = b"photo", digest: str = "h", **more: object) -> Entry:
    origin = Origin(hashlib.sha256(source).hexdigest())
    return Entry(digest, io.BytesIO(source), origin, **more)  # type: ignore[arg-type]


def write(root: Path, one: Entry, name: str = "t") -> Path:
    alpha = np.zeros((32, 32), np.uint8)
    with TemplateWriter(root, name, "image", (64, 64), (32, 32), alpha, one) as writer:
        for _ in range(8):
            writer.add(np.zeros((64, 64, 3), np.uint8), (0, 0))
        return writer.finish([], quiet, threading.Event())


def set_version(folder: Path, version: int) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"v": version}))


def test_the_source_stands_beside_the_template_and_counts(tmp_path: Path) -> None:
    plain = folder_size(write(tmp_path, Entry("h"), "plain"))
    photo = bytes(range(256)) * 100
    path = write(tmp_path, entry(photo))
    assert (path / "source").read_bytes() == photo
    assert read_origin(path) == Origin(hashlib.sha256(photo).hexdigest())
    assert describe(path, Outcome(cached=False), seconds=0).nbytes > plain + len(photo)
    assert damaged_files(path) == []
    assert not is_kept(path)


@pytest.mark.parametrize("loss", ["source", "source.json", "torn"])
def test_a_source_that_is_not_whole_is_none_and_comes_back_with_the_next_request(
    tmp_path: Path, loss: str
) -> None:
    path = write(tmp_path, entry())
    if loss == "torn":
        (path / "source").write_bytes(b"phot")
    else:
        (path / loss).unlink()
        assert read_origin(path) is None
    confirm(path, entry())
    assert (path / "source").read_bytes() == b"photo"
    assert read_origin(path) == entry().origin


def test_a_template_from_before_sources_were_kept_gets_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, Entry("h"))
    assert read_origin(path) is None
    confirm(path, entry(keep=True))
    assert (path / "source").read_bytes() == b"photo"
    assert is_kept(path)
    confirm(path, entry())
    assert is_kept(path), "once kept, kept"


def test_the_mark_outlives_a_replacement(tmp_path: Path) -> None:
    write(tmp_path, entry(keep=True))
    assert is_kept(write(tmp_path, entry(b"another", "other")))
    other = write(tmp_path, entry(b"third", "third"), "other")
    assert is_kept(adopt(tmp_path, "t", other, entry(b"third", "third")))
    assert not is_kept(other)


def test_a_twin_has_its_own_source_and_mark(tmp_path: Path) -> None:
    one = write(tmp_path, entry(keep=True), "one")
    two = adopt(tmp_path, "two", one, entry())
    assert (two / "source").read_bytes() == b"photo"
    assert not is_kept(two)
    shutil.rmtree(one)
    assert read_origin(two) == entry().origin


def test_what_an_id_holds_is_told_by_its_source(tmp_path: Path) -> None:
    path = tmp_path / "t"
    assert held(path, entry()) is Held.NOTHING
    write(tmp_path, entry())
    assert held(path, entry(digest="of a later version")) is Held.SAME
    assert held(path, entry(b"another")) is Held.OTHER
    set_version(path, MANIFEST_VERSION + 1)
    assert held(path, entry(digest="of a later version")) is Held.SAME
    (path / "manifest.json").unlink()
    assert held(path, entry(b"another")) is Held.OTHER, "damaged, but its face is still there"


def test_of_a_template_without_a_source_the_content_hash_tells(tmp_path: Path) -> None:
    path = write(tmp_path, Entry("h"))
    assert held(path, entry(digest="h")) is Held.SAME
    assert held(path, entry(digest="g")) is Held.OTHER
    set_version(path, MANIFEST_VERSION - 1)
    assert held(path, entry(digest="g")) is Held.OTHER, "whose it is cannot be told"
    for rubbish in ("", "[]", "{}"):
        (path / "manifest.json").write_text(rubbish)
        assert held(path, entry()) is Held.NOTHING


def test_a_template_beyond_the_room_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    old = write(tmp_path, entry(b"old", "old"))
    before = folder_size(old)
    for room in (-5, FRAME, 8 * (FRAME + ROI), before - 1):
        with pytest.raises(EngineError, match="there is room for") as error:
            write(tmp_path, entry(b"new", "new", room=room, no_room="delete anna (43.1 MB)"))
        assert error.value.code == "FAILED"
        assert error.value.hint == "delete anna (43.1 MB)"
        assert (tmp_path / "t/source").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["t"]
    write(tmp_path, entry(b"new", "new", room=before))
    assert (tmp_path / "t/source").read_bytes() == b"new"


def test_sharing_the_files_of_another_takes_room_too(tmp_path: Path) -> None:
    one = write(tmp_path, entry(), "one")
    with pytest.raises(EngineError, match="there is room for"):
        adopt(tmp_path, "two", one, entry(room=folder_size(one) - 1))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert adopt(tmp_path, "two", one, entry(room=folder_size(one))).is_dir()


def test_a_source_is_never_seen_half_written(tmp_path: Path) -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(28, "No space left on device")

    keep_source(tmp_path, io.BytesIO(b"photo"), Origin("a"))
    with pytest.raises(OSError, match="No space"):
        keep_source(tmp_path, Torn(b"other"), Origin("b"))
    assert read_origin(tmp_path) == Origin("a")
    assert (tmp_path / "source").read_bytes() == b"photo"
