"""Nothing leaves the machine, nothing is written into the home folder, and no process knows more than it needs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path

import av
import pytest

from tests.support.client import Stranger
from tests.support.daemon import OPERATOR, Daemon
from tests.support.limits import COMMAND_S
from tests.support.pictures import encoded
from tests.support.processes import MUSECAST
from tests.support.seccomp import Call, Watch, available
from tests.support.segments import decode

needs_watch = pytest.mark.skipif(not available(), reason="this machine has no watch on system calls that we know")
DEVICE_ID = Path.home() / ".cache" / "Microsoft"
"""Where onnxruntime keeps what it tells its maker."""


def watched(environment: dict[str, str], *arguments: str) -> tuple[str, list[Call]]:
    """What a command prints, and what all its processes do with sockets (nothing where they cannot be watched).

    Nothing tells them that this may be a test machine.
    """
    watch = Watch() if available() else None
    command = [MUSECAST, *arguments]
    with subprocess.Popen(
        watch.command(command) if watch else command,
        pass_fds=watch.pass_fds if watch else (),
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        if watch:
            watch.started()
        output, _ = process.communicate(timeout=COMMAND_S)
        assert process.returncode == 0, output
    if watch:
        watch.finish()
    return output, watch.calls if watch else []


@needs_watch
def test_say_and_template_add_reach_nothing_but_the_daemon_and_the_daemon_nothing(
    daemon: Daemon, stranger: Stranger, tmp_path: Path
) -> None:
    session = stranger.session(mode="offline")
    session.speak("Cheese.")
    photo = tmp_path / "watched.png"
    photo.write_bytes(encoded(decode(session.blob()).first_frame))
    where = {
        "HOME": str(tmp_path / "home"),
        "MUSECAST_ENDPOINTS__CONTROL": daemon.control,
        "MUSECAST_ENDPOINTS__STREAM": daemon.stream,
    }
    _, adding = watched(where, "template", "add", str(photo))
    _, saying = watched(where, "say", "Hello.", "--template", "watched", "--out", str(tmp_path / "said.mp4"))
    clients = [*adding, *saying]
    stranger.control.ok("delete_template", template_id="watched")
    assert any(call.what == "connect" and call.family == socket.AF_INET for call in clients), "nothing was seen"
    assert daemon.watch is not None
    calls = [*clients, *daemon.watch.calls]
    assert not [call for call in calls if call.outside]
    stages = [call for call in calls if " -m stages " in call.process]
    assert {call.process.split(" -m stages ")[1].split()[0] for call in stages} >= {"asr", "tts", "prepare"}
    assert {call.family for call in stages} == {socket.AF_UNIX}
    assert not (tmp_path / "home").exists()
    began = daemon.directory.stat().st_mtime
    assert not [path for path in DEVICE_ID.rglob("*") if path.is_file() and path.stat().st_mtime > began]


def test_demo_answers_the_bundled_question_and_reaches_nothing_but_its_own_daemon(
    daemon: Daemon, tmp_path: Path
) -> None:
    home, target = tmp_path / "home", tmp_path / "out"
    where = {"HOME": str(home), "MUSECAST_STATE_DIR": str(daemon.state_dir)}
    printed, calls = watched(where, "demo", "--out", str(target))
    assert "first segment published" in printed
    decoded = decode((target / "demo.mp4").read_bytes())
    assert decoded.frames >= 50
    assert len(decoded.sound) / 48_000 == pytest.approx(decoded.frames / 25, abs=0.05)
    with av.open(str(target / "demo.png")) as picture:
        frame = next(picture.decode(video=0))
        assert frame.width > 1000
        assert float(frame.to_ndarray(format="gray").std()) > 10, "an empty picture"
    assert sorted(path.name for path in target.iterdir()) == ["demo.mp4", "demo.png"]
    assert any(" -m stages asr" in call.process for call in calls) == available(), "its daemon was not seen"
    assert not [call for call in calls if call.outside]
    assert not home.exists()


def test_no_process_of_the_daemon_gets_what_the_operators_shell_holds(daemon: Daemon) -> None:
    given = []
    for pid in daemon.descendants():
        with contextlib.suppress(OSError):  # one that was only needed for a while has ended
            given.append(Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"))
    assert len(given) >= 7
    for pairs in filter(any, given):
        assert not OPERATOR.keys() & {pair.partition("=")[0] for pair in pairs}
        assert any(pair.startswith("PATH=") for pair in pairs)
