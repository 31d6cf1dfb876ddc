from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.templates import catalog
from models.api import CROP, EngineError
from models.templates import builtin
from models.templates.origin import Entry
from models.templates.store import open_template, read_manifest
from models.templates.writer import GONE, TemplateWriter, content_hash, damaged_files, sweep_all, template_lock
from models.warp.preparer import WarpPreparer
from models.warp.warmup import synthetic_template
from tests.support.processes import wait_until

DRAWN_S = 240.0
"""For what draws a built-in template, or waits for it."""


def quiet(phase: str, done: int, total: int) -> None: ...


def alpha(side: int) -> np.ndarray:
    return np.zeros((side, side), np.uint8)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (8, 64, 96, 3), np.uint8)
    with TemplateWriter(tmp_path, "t", "image", (96, 64), (32, 32), alpha(32), Entry("h")) as writer:
        for k, frame in enumerate(frames):
            writer.add(frame, (2 * k, 4), valid=k != 3)
        path = writer.finish([], quiet, threading.Event())
    template = open_template(str(path), "h")
    assert (template.width, template.height, template.frames, template.kind) == (96, 64, 8, "image")
    assert np.array_equal(template.roi[5], frames[5, 4:36, 10:42])
    assert template.boxes[5].tolist() == [10, 4, 42, 36]
    assert template.valid.tolist() == [k != 3 for k in range(8)]
    assert template.i420.shape == (8, 96, 96)
    assert damaged_files(path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_flipped_byte_is_found_by_name(tmp_path: Path) -> None:
    path = synthetic_template(tmp_path).path
    with (path / "roi.bgr").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02")
    assert damaged_files(path) == ["roi.bgr"]


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with TemplateWriter(tmp_path, "t", "image", (64, 64), (32, 32), alpha(32), Entry("h")) as writer:
        writer.add(np.zeros((64, 64, 3), np.uint8), (0, 0))
        with pytest.raises(EngineError, match="multiple of 8"):
            writer.finish([], quiet, threading.Event())
    assert list(tmp_path.iterdir()) == []


def write(root: Path, digest: str) -> Path:
    with TemplateWriter(root, "t", "image", (64, 64), (32, 32), alpha(32), Entry(digest)) as writer:
        for _ in range(8):
            writer.add(np.zeros((64, 64, 3), np.uint8), (0, 0))
        return writer.finish([], quiet, threading.Event())


def test_there_is_a_template_at_every_step_of_its_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed between two steps leaves the old one or the new one, whose photo may be gone."""
    write(tmp_path, "old")
    seen: list[str] = []

    def after(step: Callable[..., None]) -> Callable[..., None]:
        def watched(*arguments: Any, **more: Any) -> None:
            step(*arguments, **more)
            seen.append(read_manifest(tmp_path / "t")["hash"])

        return watched

    for name in ("rename", "fsync"):
        monkeypatch.setattr(os, name, after(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", after(shutil.rmtree))
    write(tmp_path, "new")
    assert set(seen) == {"old", "new"}
    assert seen == sorted(seen, reverse=True)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_where_two_renames_are_needed_a_death_between_them_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems cannot exchange two folders in one step."""
    write(tmp_path, "old")
    monkeypatch.setattr("models.templates.writer._exchange", lambda one, other: False)
    rename, count = os.rename, 0

    def killed(*paths: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "new")
    assert not (tmp_path / "t").exists()
    assert sweep_all(tmp_path) == 1
    assert read_manifest(tmp_path / "t")["hash"] == "old"
    write(tmp_path, "new")
    assert read_manifest(tmp_path / "t")["hash"] == "new"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["t"]


def test_what_was_being_deleted_does_not_come_back(tmp_path: Path) -> None:
    write(tmp_path, "old")
    os.rename(tmp_path / "t", tmp_path / f".t{GONE}0123abcd")
    assert sweep_all(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_broker_deletes_under_the_same_mark() -> None:
    assert catalog.GONE == GONE


@pytest.mark.parametrize("origin", [(1, 0), (0, 40), (-2, 0)])
def test_a_box_that_is_odd_or_outside_is_refused(tmp_path: Path, origin: tuple[int, int]) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    with (
        TemplateWriter(tmp_path, "t", "image", (64, 64), (32, 32), alpha(32), Entry("h")) as writer,
        pytest.raises(EngineError, match="box"),
    ):
        writer.add(frame, origin)


@pytest.mark.slow
def test_a_cancelled_preparation_leaves_nothing(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(EngineError, match="cancelled"):
        builtin.ensure_builtin(str(tmp_path), "default", quiet, cancel)
    assert [p.name for p in (tmp_path / "templates").iterdir() if not p.name.endswith(".lock")] == []


def test_the_hash_names_source_parameters_and_preparer_versions() -> None:
    class Newer(WarpPreparer):
        version = WarpPreparer.version + "+1"

    base = content_hash("s", {"a": 1}, [WarpPreparer()])
    assert base == content_hash("s", {"a": 1}, [WarpPreparer()])
    others = {
        content_hash("x", {"a": 1}, [WarpPreparer()]),
        content_hash("s", {"a": 2}, [WarpPreparer()]),
        content_hash("s", {"a": 1}, [Newer()]),
    }
    assert base not in others
    assert len(others) == 3


def _draw(state: str, template_id: str, said: str) -> None:
    """Draw a part of it, say so and wait to be killed."""
    root = Path(state) / "templates"

    def progress(phase: str, done: int, total: int) -> None:
        if any(file.stat().st_size > 1 << 20 for file in root.glob(".default.part-*/frames.i420")):
            Path(said).touch()
            while True:
                signal.pause()

    builtin.ensure_builtin(state, template_id, progress, threading.Event())


@pytest.mark.slow
def test_a_preparation_killed_half_way_leaves_nothing_half(tmp_path: Path) -> None:
    root, said = tmp_path / "templates", tmp_path / "said"
    arguments = (str(tmp_path), "default", str(said))
    child = multiprocessing.get_context("spawn").Process(target=_draw, args=arguments, daemon=True)
    child.start()
    wait_until(said.exists, DRAWN_S)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(DRAWN_S)
    assert not (root / "default").exists()
    assert list(root.glob(".default.part-*"))
    made = builtin.ensure_builtin(str(tmp_path), "default", quiet, threading.Event())
    assert not made.cached
    assert damaged_files(made.path) == []
    assert not list(root.glob(".default.part-*"))


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> builtin.Prepared:
    state = tmp_path_factory.mktemp("state")
    return builtin.ensure_builtin(str(state), "default", quiet, threading.Event())


@pytest.mark.slow
def test_two_callers_at_once_draw_once(default: builtin.Prepared) -> None:
    state = str(default.path.parents[1])
    found: list[builtin.Prepared] = []

    def ask() -> None:
        found.append(builtin.ensure_builtin(state, "default", quiet, threading.Event()))

    with template_lock(default.path.parent, "default"):
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert found == []
    for thread in threads:
        thread.join(DRAWN_S)
    assert [f.cached for f in found] == [True, True]


@pytest.mark.slow
def test_a_builtin_that_is_whole_serves_from_a_folder_that_takes_no_lock(default: builtin.Prepared) -> None:
    lock = default.path.parent / ".default.lock"
    lock.unlink()
    lock.mkdir()  # as unwritable for root as a read-only folder is for others
    try:
        made = builtin.ensure_builtin(str(default.path.parents[1]), "default", quiet, threading.Event())
    finally:
        lock.rmdir()
    assert made.cached


@pytest.mark.slow
def test_a_damaged_builtin_is_drawn_again(default: builtin.Prepared) -> None:
    with (default.path / "frames.i420").open("r+b") as file:
        file.truncate(1000)
    made = builtin.ensure_builtin(str(default.path.parents[1]), "default", quiet, threading.Event())
    assert not made.cached
    assert made.hash == default.hash
    assert read_manifest(made.path)["hash"] == made.hash


@pytest.mark.slow
def test_the_drawn_loop_is_seamless_and_its_boxes_are_even(default: builtin.Prepared) -> None:
    template = open_template(str(default.path), default.hash)
    assert template.frames % 8 == 0
    assert (template.boxes % 2 == 0).all()
    assert (template.boxes[:, 2:] - template.boxes[:, :2] == CROP).all()
    luma = template.i420[:, : template.height].astype(np.int16)
    steps = [float(np.abs(luma[k] - luma[k - 1]).mean()) for k in range(0, template.frames, 1)]
    assert steps[0] <= max(steps[1:])
    assert not template.alpha[[0, -1]].any()
    assert not template.alpha[:, [0, -1]].any()


class _Preparer:
    """Writes one file, or refuses."""

    version = "1"

    def __init__(self, engine: str, *, refuses: bool) -> None:
        self.engine = engine
        self._refuses = refuses

    def prepare(self, template: object, out: str, progress: object, cancel: object) -> None:
        if self._refuses:
            raise EngineError("FAILED", "its weights are not there")
        (Path(out) / "made").write_text("yes")


def test_an_engine_that_cannot_prepare_costs_the_others_nothing(tmp_path: Path) -> None:
    for name, refusals, engines in (("one", (False, True), ["a"]), ("both", (False, False), ["a", "b"])):
        preparers = [_Preparer(e, refuses=r) for e, r in zip("ab", refusals, strict=True)]
        with TemplateWriter(tmp_path, name, "image", (64, 64), (32, 32), alpha(32), Entry("h")) as writer:
            for _ in range(8):
                writer.add(np.zeros((64, 64, 3), np.uint8), (0, 0))
            path = writer.finish(preparers, quiet, threading.Event())
        assert read_manifest(path)["engines"] == engines
        assert sorted(p.name for p in (path / "engine").iterdir()) == engines
    with TemplateWriter(tmp_path, "none", "image", (64, 64), (32, 32), alpha(32), Entry("h")) as writer:
        for _ in range(8):
            writer.add(np.zeros((64, 64, 3), np.uint8), (0, 0))
        with pytest.raises(EngineError, match="weights"):
            writer.finish([_Preparer("a", refuses=True)], quiet, threading.Event())
