"""The runtime directory beside people who can write where it lies."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from supervision.environment import PASSED, ChildEnvironment, passed_on
from supervision.place import (
    InUseError,
    PlaceError,
    RuntimeDir,
    StateDir,
    check_runtime_dir,
    make_socket_folder,
    socket_fault,
)

ANOTHER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """What the daemon's user could write, and must not."""
    file = tmp_path / "victim"
    file.write_text("precious")
    return file


def refused(folder: Path, words: str) -> None:
    for use in (lambda: check_runtime_dir(str(folder)), lambda: RuntimeDir(str(folder))):
        with pytest.raises(PlaceError, match=words) as caught:
            use()
        assert caught.value.exit_code == 78


def test_it_is_made_private_and_its_lock_names_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    check_runtime_dir(str(path))
    assert not path.exists(), "looking makes nothing"
    place = RuntimeDir(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with pytest.raises(InUseError, match=f"in use by process {os.getpid()}") as caught:
        RuntimeDir(str(path))
    assert caught.value.exit_code == 75
    place.close()
    RuntimeDir(str(path)).close()


@pytest.mark.parametrize(
    "link", [lambda lock, victim: lock.symlink_to(victim), lambda lock, victim: lock.hardlink_to(victim)]
)
def test_a_linked_lock_leads_nowhere(folder: Path, victim: Path, link: Callable[[Path, Path], None]) -> None:
    link(folder / "lock", victim)
    refused(folder, "lock .*remove it")
    assert victim.read_text() == "precious"


def test_a_link_to_nothing_makes_no_file_there(folder: Path, tmp_path: Path) -> None:
    (folder / "lock").symlink_to(tmp_path / "new")
    refused(folder, "remove it")
    assert not (tmp_path / "new").exists()


def test_a_lock_that_is_no_file_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "lock")
    refused(folder, "not a plain file")


@as_root
def test_a_lock_of_another_user_is_not_written(folder: Path) -> None:
    lock = folder / "lock"
    lock.write_text("17\n")
    os.chown(lock, ANOTHER, -1)
    refused(folder, "not a plain file of user 0 alone")
    assert lock.read_text() == "17\n"


@as_root
def test_a_directory_of_another_user_is_not_used(folder: Path) -> None:
    os.chown(folder, ANOTHER, -1)
    refused(folder, "belongs to user 12345")


def test_a_link_is_no_directory(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    refused(link, "links are not followed")
    assert not list(folder.iterdir())


def test_a_directory_with_other_peoples_files_is_not_closed_to_them(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "letter").write_text("dear")
    refused(folder, "open to other users")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_only_what_daemons_put_there_is_removed_and_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    (folder / "tmp" / "lipsync.0" / "warm").mkdir(parents=True)
    (folder / "tmp" / "lipsync.0" / "link").symlink_to(kept)
    (folder / "w.tts.0.3").write_text("")
    (folder / "config.json.new").symlink_to(kept / "file")
    (folder / "notes").write_text("mine")
    place = RuntimeDir(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "notes"]
    (folder / "tmp").symlink_to(kept)
    place.close()
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "notes"]
    assert (kept / "file").read_text() == "mine"


def test_something_that_cannot_be_removed_is_named(folder: Path) -> None:
    (folder / "health").mkdir()
    with pytest.raises(PlaceError, match="health"):
        RuntimeDir(str(folder))
    (folder / "health").rmdir()
    RuntimeDir(str(folder)).close()


def test_what_a_killed_process_left_is_gone_when_its_successor_starts(folder: Path) -> None:
    environment = ChildEnvironment(str(folder))
    first = Path(environment.of("lipsync.0", {})["TMPDIR"])
    (first / "musecast-warm-x").mkdir()
    other = Path(environment.of("tts.0", {})["TMPDIR"])
    (other / "espeak-y").mkdir()
    assert Path(environment.of("lipsync.0", {})["TMPDIR"]) == first
    assert first.is_relative_to(folder)
    assert list(first.iterdir()) == []
    assert [path.name for path in other.iterdir()] == ["espeak-y"], "its neighbour lives"
    RuntimeDir(str(folder)).close()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_processes_get_what_they_need_of_the_environment_and_nothing_else() -> None:
    names = (
        "PATH HOME LANG LC_ALL TZ PYTHONPATH LD_LIBRARY_PATH CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES"
        " OMP_NUM_THREADS MUSECAST_FAULT XDG_CACHE_HOME SSL_CERT_FILE HTTPS_PROXY no_proxy HF_HOME"
        " HF_ENDPOINT"
    )
    others = (
        "AWS_SECRET_ACCESS_KEY GITHUB_TOKEN HF_TOKEN OPENAI_API_KEY PIP_INDEX_URL SSH_AUTH_SOCK NOTIFY_SOCKET CI"
    )
    needed, secrets = dict.fromkeys(names.split(), "x"), dict.fromkeys(others.split(), "secret")
    assert passed_on({**needed, **secrets}) == needed
    assert passed_on(secrets, ["OPENAI_*"]) == {"OPENAI_API_KEY": "secret"}


def test_the_variables_that_are_passed_on_are_those_that_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = page.partition("## Environment of the processes")[2].partition("\n## ")[0]
    assert [name for name in PASSED if f"`{name}`" not in section and not name.islower()] == []


def test_a_second_user_of_a_state_folder_is_noticed(tmp_path: Path) -> None:
    first, second = StateDir(str(tmp_path / "state")), StateDir(str(tmp_path / "state"))
    third = StateDir(str(tmp_path / "state"))
    assert (first.shared, second.shared, third.shared) == (False, True, True)
    for one in (first, second, third):
        one.close()
    alone = StateDir(str(tmp_path / "state"))
    assert not alone.shared, "the file stays, the use has ended"
    alone.close()


def test_a_state_folder_that_cannot_be_written_is_used_all_the_same(tmp_path: Path) -> None:
    (tmp_path / ".in_use").mkdir()  # as unwritable for root as a read-only folder is for others
    state = StateDir(str(tmp_path))
    assert not state.shared
    state.close()


# --- the folder of public sockets


def test_the_folder_of_a_local_socket_is_made_closed(tmp_path: Path) -> None:
    make_socket_folder(str(tmp_path / "public" / "control"))
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o700
    make_socket_folder(str(tmp_path / "public" / "control"))


@pytest.mark.parametrize(("mode", "fits"), [(0o700, True), (0o750, True), (0o755, False), (0o770, False)])
def test_a_folder_that_is_there_says_by_its_mode_who_may_connect(tmp_path: Path, mode: int, fits: bool) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public").chmod(mode)
    fault = socket_fault(str(tmp_path / "public" / "control"))
    assert (fault is None) == fits
    if fault is not None:
        assert "chmod 700 it, or 750" in str(fault)


def test_nothing_but_a_socket_is_replaced(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "control").write_text("a file")
    assert "no socket" in str(socket_fault(str(tmp_path / "control")))
    (tmp_path / "link").symlink_to(tmp_path)
    assert "no directory" in str(socket_fault(str(tmp_path / "link" / "control")))


def test_the_daemons_own_names_in_its_runtime_dir_are_not_for_the_public(tmp_path: Path) -> None:
    with contextlib.closing(RuntimeDir(str(tmp_path / "run"))):
        for name in ("health", "ingress", "w.tts.0.1", "lock", "journal"):
            assert "the daemon itself uses" in str(socket_fault(str(tmp_path / "run" / name)))
        assert socket_fault(str(tmp_path / "run" / "control.sock")) is None
