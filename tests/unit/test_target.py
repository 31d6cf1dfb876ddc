"""Where commands write files: what is refused before anything is done, and what is left as it was."""

from __future__ import annotations

import os
import stat
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.recorder import Recorder
from clients.target import TargetError, store, writable

NOBODY = 65534


def test_a_new_and_an_old_file_are_fine_and_keep_their_modes(tmp_path: Path) -> None:
    new, old = tmp_path / "new.mp4", tmp_path / "old.MP4"
    old.write_bytes(b"before")
    old.chmod(0o640)
    for one in (new, old):
        assert writable(one, ".mp4") == one
        store(one, b"after")
        assert one.read_bytes() == b"after"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.mp4", "old.MP4"]


def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, real = tmp_path / "link.mp4", tmp_path / "there" / "real.mp4"
    link.symlink_to(real)
    for content in (b"made", b"replaced"):
        store(link, content)
        assert link.is_symlink()
        assert real.read_bytes() == content
    lost = tmp_path / "lost.mp4"
    lost.symlink_to(tmp_path / "no" / "such.mp4")
    with pytest.raises(TargetError, match="no folder"):
        writable(lost)


def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path) -> None:
    pipe, folder, link = tmp_path / "pipe.mp4", tmp_path / "folder.mp4", tmp_path / "null.mp4"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to("/dev/null")
    for path, kind in (
        (pipe, "a pipe"),
        (folder, "a folder"),
        (link, "a device"),
        (Path("/dev/null"), "a device"),
    ):
        with pytest.raises(TargetError, match=kind):
            writable(path)
    with pytest.raises(TargetError, match="a pipe"):
        store(pipe, b"x")
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["a.avi", "a", ".mp4", "a.mp4.png"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TargetError, match=r"must end in \.mp4"):
        writable(tmp_path / name, ".mp4")


def test_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no folder"):
        writable(tmp_path / "typo" / "a.mp4", ".mp4")
    (tmp_path / "file").touch()
    with pytest.raises(TargetError):
        writable(tmp_path / "file" / "a.mp4", ".mp4")
    with pytest.raises(TargetError, match="too long"):
        writable(tmp_path / f"{'a' * 300}.mp4", ".mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def _as_nobody(check: Callable[[], None]) -> None:
    """Root may write everywhere, so its tests try this in a child that is nobody."""
    if os.geteuid():
        check()
        return
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.process
def test_what_may_not_be_written_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        closed, locked = folder / "closed", folder / "locked.mp4"
        closed.mkdir(mode=0o555)
        locked.touch(mode=0o444)

        def check() -> None:
            with pytest.raises(TargetError, match="nothing may be written"):
                writable(closed / "a.mp4")
            with pytest.raises(TargetError, match="may not be written"):
                writable(locked)

        _as_nobody(check)


def test_a_recording_knows_how_long_its_lips_stand_still(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        recorder.add({"kind": "init"}, b"")
        for at, degraded in enumerate([None, "audio_only", "skip", "audio_only"]):
            header = {"kind": "media", "gen": 0, "pts": at * 320_000, "dur": 320_000, "degraded": degraded}
            recorder.add(header, b"segment")
    assert recorder.still_us == 640_000
