"""A source by its path: below a root, through no link, whatever is swapped in meanwhile; and sources at fault."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.api import EngineError
from models.templates.make import prepare_source
from models.templates.source import open_below, place_below
from models.templates.work import Source, Workplace

SECRET = b"what nobody may read"
LIMIT = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a photo in a folder, and a secret beside the root."""
    folder = tmp_path / "root" / "photos"
    folder.mkdir(parents=True)
    (folder / "me.jpg").write_bytes(b"a photo")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "me.jpg").write_bytes(SECRET)
    return tmp_path / "root"


def read(path: Path | str, *roots: Path) -> bytes:
    with open_below(str(path), [str(one) for one in roots], LIMIT) as file:
        return file.read()


def refusal(path: Path | str, *roots: Path) -> EngineError:
    with pytest.raises(EngineError) as caught:
        read(path, *roots)
    assert caught.value.hint
    return caught.value


def test_a_file_below_a_root_is_read(root: Path, tmp_path: Path) -> None:
    assert read(root / "photos" / "me.jpg", tmp_path / "elsewhere", root) == b"a photo"
    assert read(f"{root}/photos/../photos//./me.jpg", root) == b"a photo"


def test_a_root_may_be_a_link_of_the_operator_s(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert read(link / "photos" / "me.jpg", link) == b"a photo"
    assert read(root / "photos" / "me.jpg", link) == b"a photo"


@pytest.mark.parametrize("path", ["{}/../secret", "{}", "{}x/me.jpg", "/etc/passwd", "me.jpg", "", "{}/a\0b"])
def test_what_is_not_below_a_root_is_refused_by_its_words(root: Path, path: str) -> None:
    with pytest.raises(EngineError) as caught:
        place_below(path.format(root), [str(root)])
    assert caught.value.code == "INVALID_ARGUMENT"


def test_without_roots_nothing_is_read(root: Path) -> None:
    assert refusal(root / "photos" / "me.jpg").code == "INVALID_ARGUMENT"


def test_links_below_a_root_are_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "inside").symlink_to(root / "photos" / "me.jpg")
    (root / "loop").symlink_to(root / "loop")
    for name in ("file", "folder/me.jpg", "inside", "loop"):
        error = refusal(root / name, root)
        assert error.code == "INVALID_ARGUMENT"
        assert "link" in error.message


def swap(monkeypatch: pytest.MonkeyPatch, at: str, act: Callable[[], None]) -> None:
    """Do ``act`` once, right after ``at`` has been looked at."""
    real = os.stat
    done: list[bool] = []

    def stat(path: Any, **rest: Any) -> os.stat_result:
        found = real(path, **rest)
        if path == at and not done:
            done.append(True)
            act()
        return found

    monkeypatch.setattr(os, "stat", stat)


def test_a_link_swapped_in_after_the_check_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = root / "photos" / "me.jpg"

    def act() -> None:
        photo.unlink()
        photo.symlink_to(tmp_path / "secret")

    swap(monkeypatch, "me.jpg", act)
    assert "link" in refusal(photo, root).message
    assert photo.is_symlink()


def test_a_folder_swapped_for_a_link_after_it_was_opened_changes_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = root / "photos" / "me.jpg"

    def act() -> None:
        (root / "photos").rename(root / "moved")
        (root / "photos").symlink_to(tmp_path / "elsewhere")

    swap(monkeypatch, "me.jpg", act)
    assert read(photo, root) == b"a photo"


def test_a_pipe_swapped_in_after_the_check_is_refused_and_not_waited_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = root / "photos" / "me.jpg"

    def act() -> None:
        photo.unlink()
        os.mkfifo(photo)

    swap(monkeypatch, "me.jpg", act)
    assert "no regular file" in refusal(photo, root).message


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo], ids=["folder", "pipe"])
def test_only_regular_files_are_read(root: Path, make: Callable[[Path], None]) -> None:
    make(root / "thing")
    error = refusal(root / "thing", root)
    assert error.code == "INVALID_ARGUMENT"
    assert "no regular file" in error.message


def test_what_is_not_there_is_not_found(root: Path) -> None:
    assert refusal(root / "nothing.jpg", root).code == "NOT_FOUND"
    assert refusal(root / "no" / "folder.jpg", root).code == "NOT_FOUND"
    assert refusal(root / "photos" / "me.jpg" / "more", root).code == "INVALID_ARGUMENT"
    assert refusal(root / ("x" * 300), root).code == "INVALID_ARGUMENT"


def test_what_is_too_large_is_refused_unread(root: Path) -> None:
    with (root / "large").open("wb") as file:
        file.truncate(LIMIT + 1)
    assert refusal(root / "large", root).code == "TOO_LARGE"


def test_no_descriptor_is_left_open(root: Path) -> None:
    read(root / "photos" / "me.jpg", root)
    for name in ("nothing", "photos"):
        refusal(root / name, root)
    # Of this folder alone: other tests' sockets come and go.
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    assert not [link for link in links if link.is_symlink() and os.readlink(link).startswith(str(root))]


# --- sources at fault ------------------------------------------------------------------------------------


def prepare(folder: Path, **source: Any) -> None:
    place = Workplace(str(folder / "state"), str(folder / "weights"), roots=[str(folder / "root")])
    prepare_source(Source("one", **source), place, lambda *_: None, threading.Event())


def test_a_preparation_reads_only_below_the_roots(root: Path, tmp_path: Path) -> None:
    (root / "link.jpg").symlink_to(tmp_path / "secret")
    for path in (tmp_path / "secret", root / "link.jpg"):
        with pytest.raises(EngineError) as caught:
            prepare(tmp_path, path=str(path))
        assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (2, 2), (63, 63), (1, 5000), (5000, 17)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_picture_without_room_for_a_face_is_refused_with_a_sentence(
    tmp_path: Path, size: tuple[int, int], kind: str
) -> None:
    target = io.BytesIO()
    Image.new("RGB", size, (90, 120, 160)).save(target, kind)
    with pytest.raises(EngineError) as caught:
        prepare(tmp_path, data=target.getvalue())
    assert caught.value.code == "INVALID_ARGUMENT"
    assert f"the picture is {size[0]}x{size[1]} pixels; at least 64x64 are needed" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"hello, this is a text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM" + bytes(40), bytes(5000)],
)
def test_a_source_that_is_no_picture_is_itself_at_fault(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        prepare(tmp_path, data=data)
    assert caught.value.code == "INVALID_ARGUMENT"
    for name in ("JPEG", "HEIC", "TIFF", "MP4"):
        assert name in caught.value.hint
