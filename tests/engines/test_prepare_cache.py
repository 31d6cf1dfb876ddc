"""The cache: the same content once, whole or not at all, whoever asks and whoever dies."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from models.api import Cancel, EngineError, Progress
from models.templates.cache import Outcome, Prepared
from models.templates.make import prepare_source, rebuild
from models.templates.origin import is_kept
from models.templates.store import MANIFEST_VERSION, Template, open_template
from models.templates.work import Source, Workplace
from models.templates.writer import damaged_files, sweep_all, template_lock
from models.warp.preparer import WarpPreparer
from tests.support.pictures import WEIGHTS, astronaut, encoded, film, moved, nobody, wander
from tests.support.processes import wait_until

MADE_S = 240.0
"""For a process that makes a template."""


@lru_cache(maxsize=1)
def photo() -> bytes:
    """The astronaut's head and shoulders, 320x320."""
    return encoded(np.ascontiguousarray(astronaut()[0:320, 60:380]))


def place(folder: Path) -> Workplace:
    return Workplace(str(folder), WEIGHTS)


def make(folder: Path, data: bytes | None = None, name: str = "one", **settings: object) -> Prepared:
    content = photo() if data is None else data
    return prepare_source(Source(name, data=content, **settings), place(folder), nobody, threading.Event())  # type: ignore[arg-type]


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    make(folder)
    return folder


@pytest.fixture
def state(original: Path, tmp_path: Path) -> Path:
    """A state folder that holds the template "one" of the photo."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_same_request_again_is_answered_from_the_cache(state: Path) -> None:
    before = (state / "templates/one/manifest.json").stat().st_ino
    said: list[str] = []
    again = prepare_source(
        Source("one", data=photo()), place(state), lambda phase, *_: said.append(phase), threading.Event()
    )
    assert again.cached
    assert set(said) == {"check"}, "no pixel is touched"
    assert (state / "templates/one/manifest.json").stat().st_ino == before


def test_force_makes_it_again(state: Path) -> None:
    before = (state / "templates/one/manifest.json").stat().st_ino
    assert not make(state, force=True).cached
    assert (state / "templates/one/manifest.json").stat().st_ino != before


def test_another_source_replaces_the_template(state: Path) -> None:
    old = open_template(str(state / "templates/one"), "")
    kept = old.i420[0].copy()
    new = make(state, encoded(moved(astronaut(), 10, 10)))
    assert not new.cached
    assert new.hash != old.hash
    assert np.array_equal(old.i420[0], kept), "who has the old one mapped goes on showing it"
    assert folders(state / "templates") == ["one"]


def test_what_replaces_another_source_says_so_and_can_be_refused(state: Path) -> None:
    other = encoded(moved(astronaut(), 10, 10))
    with pytest.raises(EngineError, match="made from another source") as error:
        make(state, other, if_absent=True)
    assert error.value.code == "ALREADY_EXISTS"
    assert make(state, if_absent=True).cached, "nothing was touched"
    assert not make(state).outcome.replaced
    assert make(state, other, name="two", if_absent=True).outcome == Outcome(cached=False)
    assert make(state, other).outcome == Outcome(cached=True, replaced=True, same_as="two")
    moved_box = make(state, other, bbox_shift=4, if_absent=True)
    assert moved_box.outcome == Outcome(cached=False), "the same source is nobody else"


def test_without_room_nothing_is_made(state: Path) -> None:
    before = open_template(str(state / "templates/one"), "").hash
    other = encoded(moved(astronaut(), 10, 10))
    said: list[str] = []
    source = Source("one", data=other, room=len(other) - 1, no_room="Delete some of anna (43.1 MB)")
    with pytest.raises(EngineError, match=r"there is room for .* MB\. Delete some of anna"):
        prepare_source(source, place(state), lambda phase, *_: said.append(phase), threading.Event())
    assert set(said) == {"check"}, "refused before any work"
    with pytest.raises(EngineError, match="there is room for"):
        make(state, other, room=20_000_000)
    assert open_template(str(state / "templates/one"), "").hash == before
    assert folders(state / "templates") == ["one"]


def age(folder: Path) -> None:
    """Let a template be of an older format, with other pixels."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"v": MANIFEST_VERSION - 1, "hash": "older"}))
    (folder / "frames.i420").unlink()


def test_a_template_is_made_anew_from_the_source_beside_it(state: Path) -> None:
    folder = state / "templates/one"
    before = open_template(str(folder), "")
    kept = before.i420[100].copy()
    make(state, keep=True)
    age(folder)
    again = rebuild("one", place(state), nobody, threading.Event())
    assert again.outcome == Outcome(cached=False)
    assert again.hash == before.hash
    assert np.array_equal(open_template(str(folder), again.hash).i420[100], kept)
    assert damaged_files(folder) == []
    assert is_kept(folder)
    assert (folder / "source").read_bytes() == photo()
    assert rebuild("one", place(state), nobody, threading.Event()).cached, "once is enough"


def test_the_bbox_shift_of_a_template_is_that_of_its_rebuild(tmp_path: Path) -> None:
    first = make(tmp_path, bbox_shift=6)
    age(first.path)
    assert rebuild("one", place(tmp_path), nobody, threading.Event()).hash == first.hash


def test_a_source_that_changed_on_disk_is_not_taken_for_the_template_s_own(state: Path) -> None:
    folder = state / "templates/one"
    age(folder)
    (folder / "source").write_bytes(encoded(moved(astronaut(), 10, 10)))
    with pytest.raises(EngineError, match="is damaged"):
        rebuild("one", place(state), nobody, threading.Event())
    (folder / "source").unlink()
    with pytest.raises(EngineError, match="no source was kept"):
        rebuild("one", place(state), nobody, threading.Event())
    assert not make(state).cached


def test_a_rebuild_that_fails_leaves_the_source_for_the_next_one(state: Path) -> None:
    folder = state / "templates/one"
    age(folder)
    stop = threading.Event()

    def give_up(phase: str, done: int, total: int) -> None:
        if phase == "frames":
            stop.set()

    with pytest.raises(EngineError, match="cancelled"):
        rebuild("one", place(state), give_up, stop)
    assert folders(state / "templates") == ["one"]
    assert not rebuild("one", place(state), nobody, threading.Event()).cached


def test_a_template_in_use_is_confirmed_but_not_replaced(state: Path) -> None:
    assert make(state, in_use=True).cached
    with pytest.raises(EngineError, match="shown by a session"):
        make(state, encoded(moved(astronaut(), 10, 10)), in_use=True)
    with pytest.raises(EngineError, match="shown by a session"):
        make(state, in_use=True, force=True)
    assert make(state).cached, "it is still whole"


def test_another_id_of_the_same_source_shares_the_files(state: Path) -> None:
    (state / "templates/one/idle/0.mp4").write_bytes(b"x")
    twin = make(state, name="two")
    assert twin.cached
    assert (twin.id, twin.path.name) == ("two", "two")
    one, two = (state / "templates" / name / "frames.i420" for name in ("one", "two"))
    assert one.stat().st_ino == two.stat().st_ino
    assert list((twin.path / "idle").iterdir()) == [], "idle segments are each template's own"
    assert json.loads((twin.path / "manifest.json").read_text())["id"] == "two"
    assert damaged_files(twin.path) == []


@pytest.mark.parametrize("victim", ["frames.i420", "roi.bgr", "landmarks.npy", "engine/warp/poses.npy"])
def test_a_damaged_file_is_noticed_and_made_again(
    state: Path, victim: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = state / "templates/one" / victim
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = make(state)
    assert not again.cached
    assert damaged_files(again.path) == []
    said = capsys.readouterr()
    assert "template.damaged" in said.out + said.err
    assert victim in said.out + said.err


@pytest.mark.parametrize("damage", ["missing file", "empty manifest", "no manifest", "manifest without hash"])
def test_a_broken_entry_is_made_again(state: Path, damage: str) -> None:
    folder = state / "templates/one"
    if damage == "missing file":
        (folder / "roi.bgr").unlink()
    elif damage == "empty manifest":
        (folder / "manifest.json").write_text("")
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text(json.dumps({"v": 1}))
    assert not make(state).cached
    assert make(state).cached


def test_a_rebuilt_template_is_not_confused_with_its_damaged_self(state: Path) -> None:
    path = state / "templates/one/frames.i420"
    whole = open_template(str(path.parent), "").i420[0].copy()
    data = bytearray(path.read_bytes())
    data[100] ^= 255
    path.write_bytes(data)
    digest = open_template(str(path.parent), "").hash
    damaged = open_template(str(path.parent), digest)
    assert not np.array_equal(damaged.i420[0], whole)
    make(state)
    assert np.array_equal(open_template(str(path.parent), digest).i420[0], whole)


class Newer(WarpPreparer):
    """The same engine's preparer, of a later version."""

    version = "next"


def test_a_new_version_of_a_preparer_makes_it_again(state: Path) -> None:
    newer = Workplace(str(state), WEIGHTS, preparers=(Newer(),))
    assert not prepare_source(Source("one", data=photo()), newer, nobody, threading.Event()).cached


class Broken(WarpPreparer):
    """A later version that cannot."""

    version = "broken"

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        raise EngineError("FAILED", "the engine's weights are missing", "pull them")


def test_a_preparer_that_fails_leaves_the_old_template(state: Path) -> None:
    broken = Workplace(str(state), WEIGHTS, preparers=(Broken(),))
    with pytest.raises(EngineError, match="weights are missing"):
        prepare_source(Source("one", data=photo()), broken, nobody, threading.Event())
    assert make(state).cached


# --- several processes ------------------------------------------------------------------------------------


def _prepare_in_process(folder: str, name: str, data: bytes, at: str, phase_file: str) -> None:
    """Prepare; at the phase ``at`` say so and wait to be killed."""

    def progress(phase: str, done: int, total: int) -> None:
        if f"{phase} {done}" == at:
            Path(phase_file).write_text(at)
            while True:
                signal.pause()

    made = prepare_source(Source(name, data=data), place(Path(folder)), progress, threading.Event())
    Path(phase_file).write_text(str(made.cached))


def _start(folder: Path, name: str, data: bytes, at: str = "") -> tuple[multiprocessing.process.BaseProcess, Path]:
    said = folder / f"said-{name}"
    arguments = (str(folder), name, data, at, str(said))
    process = multiprocessing.get_context("spawn").Process(target=_prepare_in_process, args=arguments, daemon=True)
    process.start()
    return process, said


def _until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MADE_S
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("kind", "at"), [("photo", "frames 120"), ("photo", "warp 1"), ("video", "faces 16")])
def test_a_killed_preparation_leaves_nothing_half(tmp_path: Path, kind: str, at: str) -> None:
    data = photo() if kind == "photo" else film(wander(np.ascontiguousarray(astronaut()[0:320, 60:380]), 24))
    process, said = _start(tmp_path, "one", data, at)
    _until(said.is_file)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(MADE_S)
    root = tmp_path / "templates"
    assert not (root / "one").exists()
    assert len(folders(root)) == 1, "what it left is hidden"
    assert sweep_all(root) == 1
    assert folders(root) == []


def test_what_another_process_is_making_is_not_swept(tmp_path: Path) -> None:
    process, said = _start(tmp_path, "one", photo(), "frames 120")
    _until(said.is_file)
    root = tmp_path / "templates"
    try:
        assert sweep_all(root) == 0
        assert len(folders(root)) == 1
    finally:
        process.kill()
        process.join(MADE_S)


def test_two_ids_of_one_source_at_the_same_time_do_the_work_once(tmp_path: Path) -> None:
    started = [_start(tmp_path, name, photo()) for name in ("one", "two")]
    for process, _ in started:
        process.join(MADE_S)
        assert process.exitcode == 0
    assert sorted(said.read_text() for _, said in started) == ["False", "True"]


def test_locks_of_templates_that_are_gone_are_removed(state: Path) -> None:
    root = state / "templates"
    make(state, name="two")
    shutil.rmtree(root / "two")
    sweep_all(root)
    assert [path.name for path in root.glob(".*.lock")] == [".one.lock"]
    assert make(state, name="two").cached


def test_one_that_is_whole_serves_from_a_folder_that_takes_no_lock(state: Path) -> None:
    lock = state / "templates" / ".one.lock"
    lock.unlink()
    lock.mkdir()  # as unwritable for root as a read-only folder is for others
    assert make(state).cached
    with pytest.raises(EngineError, match="cannot write template one"):
        make(state, force=True)


def times_open(path: Path) -> int:
    """By this process."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(descriptor) == str(path.resolve())
    return found


def test_a_lock_that_was_removed_while_waiting_is_taken_anew(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with template_lock(tmp_path, "x"):
            order.append("second")

    thread = threading.Thread(target=second)
    lock = tmp_path / ".x.lock"
    with template_lock(tmp_path, "x"):
        thread.start()
        wait_until(lambda: times_open(lock) == 2, what="the other one waits for this file")
        lock.unlink()
        with template_lock(tmp_path, "x", wait=False) as held:
            assert held, "a new file is another lock"
            order.append("first")
    thread.join(60)
    assert sorted(order) == ["first", "second"]
    with template_lock(tmp_path, "x", wait=False) as held:
        assert held


def test_an_id_that_looks_like_a_lock_of_the_cache(tmp_path: Path) -> None:
    for number in range(3):
        assert make(tmp_path, name=f"content-{number}").frames == 248
