"""Beginning and end: of a session, and of the daemon."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from tests.support.client import TERMINAL, Stranger
from tests.support.daemon import LIGHT, ROOT, Daemon, stage_row, supervisor_command
from tests.support.limits import BEAT_S, COMMAND_S, GONE_S, REPLY_S, STOP_S, WORK_S
from tests.support.processes import MUSECAST, alive, free_ports, wait_until


def test_end_session_lets_everything_be_heard(stranger: Stranger) -> None:
    session = stranger.session()
    turns = [session.say("One sentence that is spoken to its end."), session.say("And another one.")]
    result = session.end()
    for turn in turns:
        session.wait_ended(turn, REPLY_S)
    ended = session.wait_event("session.ended", timeout_s=REPLY_S)
    assert ended["data"]["reason"] == "ended"
    assert session.events()[-1] == ended
    headers = [m.header for m in session.media]
    assert result["turns"] == 2
    assert result["segments"] == len(headers)
    assert result["frames"] == sum(h["frames"] for h in headers)
    assert result["media_us"] == sum(h["dur"] for h in headers)
    assert result["degraded_us"] == sum(h["dur"] for h in headers if h["degraded"])
    assert isinstance(result["late"], int)
    assert session.refused("say", text="Too late.")["code"] == "NOT_FOUND"


def test_end_session_without_drain_interrupts_first(stranger: Stranger) -> None:
    session = stranger.session()
    turn = session.say("This is a long speech that nobody wants to hear to its end. " * 40)
    session.wait_media(1, turn)
    result = session.ok("end_session", REPLY_S, drain=False)  # it is minutes long
    session.wait_event("session.ended", timeout_s=REPLY_S)  # the reply comes on another socket
    names = [e["event"] for e in session.events()]
    assert names.index("turn.interrupted") < names.index("session.ended")
    assert result["turns"] == 1


@pytest.fixture(scope="module")
def forgetful(start_daemon_for_module: Callable[..., Daemon], state_dir: Path) -> Daemon:
    """Sessions expire soon; the last test with it ends it."""
    soon = ("limits.session_idle_s=7", "ring.keep_s=7", "stages.prepare.idle_exit_s=3600")
    return start_daemon_for_module(state_dir, "limits.sessions_per_client=2", *soon, *LIGHT)


def test_sessions_expire_and_are_forgotten(forgetful: Daemon, connect: Callable[[Daemon], Stranger]) -> None:
    stranger = connect(forgetful)
    session = stranger.session(mode="offline")
    beats = stranger.subscribe("sys.")
    turn = session.say("Hello.")
    while not session.events("turn.ended", turn):  # reading is a sign of life
        session.ok("segments", from_seq=0)
        beats.wait(lambda _: True, BEAT_S, "sys. message", start=len(beats.messages))
    asked = time.monotonic()
    session.ok("segments", from_seq=0)
    ended = session.wait_event("session.ended")
    assert time.monotonic() - asked > 6.9
    assert ended["data"]["reason"] == "expired"
    kept = session.ok("segments", from_seq=0)
    assert kept["end"] is True
    assert len(kept["segments"]) == len(session.media) > 0
    deadline = time.monotonic() + WORK_S
    while session.control.call("segments", session_id=session.sid, from_seq=0)["ok"]:
        assert time.monotonic() < deadline, "still readable long after keep_s"
        beats.wait(lambda _: True, BEAT_S, "sys. message", start=len(beats.messages))
    assert session.refused("events", from_n=0)["code"] == "NOT_FOUND"


def test_one_client_has_so_many_sessions(forgetful: Daemon, connect: Callable[[Daemon], Stranger]) -> None:
    stranger = connect(forgetful)
    one, other = stranger.another_control(), stranger.another_control()
    first = one.ok("start_session", idle_timeout_s=600)["session_id"]
    one.ok("start_session", idle_timeout_s=600)
    error = one.call("start_session")["error"]
    assert error["code"] == "BUSY"
    assert error["retry_after_ms"] > 0
    assert "limits.sessions_per_client" in error["message"]
    other.ok("start_session")
    one.ok("end_session", session_id=first)
    one.ok("start_session")


def test_sigterm_ends_sessions_and_leaves_nothing_behind(
    forgetful: Daemon, connect: Callable[[Daemon], Stranger]
) -> None:
    daemon = forgetful
    stranger = connect(daemon)
    session = stranger.session()
    turn = session.say("The lights go out while I am still speaking, which is a pity. " * 12)
    session.wait_media(1, turn)
    children = daemon.descendants()
    assert len(children) >= 7
    preparing = stage_row(stranger.control.ok("status"), "prepare.0")["pid"]
    os.kill(preparing, signal.SIGSTOP)
    begun = stranger.control.send("preprocess_template", template_id="never", image=b"a photo", keep=False)
    stranger.control.ok("health")  # requests of one connection are read in order
    daemon.process.terminate()
    refused = stranger.control.take(begun, STOP_S)["error"]
    with contextlib.suppress(ProcessLookupError):  # its time to stop may have run out
        os.kill(preparing, signal.SIGCONT)
    assert refused["code"] == "NOT_READY", "what nobody will answer any more"
    assert "restart" in refused["message"]
    assert session.wait_event("session.ended", timeout_s=STOP_S)["data"]["reason"] == "shutdown"
    assert daemon.process.wait(STOP_S) == 0
    assert len([e for e in session.events(turn=turn) if e["event"] in TERMINAL]) == 1
    assert not [pid for pid in children if alive(pid)]


def test_sigkill_of_the_supervisor_takes_every_child_along_and_commands_notice(
    start_daemon: Callable[..., Daemon],
    connect: Callable[[Daemon], Stranger],
    launch: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    daemon = start_daemon(*LIGHT)
    everything = connect(daemon).subscribe("evt.", "seg.", "sys.")
    everything.wait(lambda m: m.topic == "sys.", BEAT_S, "sys. message")
    film = tmp_path / "kept.mp4"
    commands = {
        "say": ("say", "One long sentence after the other. " * 100, "--out", str(film)),
        "render": ("render", "--text", "A film of many sentences. " * 400, "--out", str(film), "--connect"),
        "listen": ("listen", "-"),
        "say of a pipe": ("say", "-"),
        "probe stream": ("probe", "stream"),
    }
    where = os.environ | {
        "MUSECAST_ENDPOINTS__CONTROL": daemon.control,
        "MUSECAST_ENDPOINTS__STREAM": daemon.stream,
    }
    running = {name: launch(MUSECAST, *one, env=where, stdin=subprocess.PIPE) for name, one in commands.items()}
    stream = running["probe stream"].stdout
    assert stream is not None
    assert stream.readline()
    for count in range(4):
        everything.wait(
            lambda _, least=count: everything.names().count("session.started") > least, COMMAND_S, "four sessions"
        )
    everything.wait(lambda m: m.header.get("kind") == "media", COMMAND_S, "media")
    children = daemon.descendants()
    daemon.process.kill()
    daemon.process.wait()
    for name, process in running.items():
        assert process.stdout is not None
        printed = process.stdout.read()  # with standard input still open
        assert process.wait(WORK_S) == 1, (name, printed)
        assert "is gone" in printed, (name, printed)
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: not any(map(alive, children)), GONE_S, "the end of all children")


def test_a_second_daemon_on_the_same_runtime_dir_is_refused(daemon: Daemon, stranger: Stranger) -> None:
    control, stream = free_ports(2)
    second = subprocess.run(
        supervisor_command(
            f"runtime_dir={daemon.runtime_dir}",
            f"state_dir={daemon.state_dir}",
            f"endpoints.control=tcp://127.0.0.1:{control}",
            f"endpoints.stream=tcp://127.0.0.1:{stream}",
        ),
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        cwd=ROOT,
    )
    assert second.returncode == 75, second.stderr
    assert str(daemon.runtime_dir) in second.stderr + second.stdout
    session = stranger.session(mode="offline")
    session.speak("The first one is undisturbed.")


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("endpoints.control=tcp://0.0.0.0:28999", "endpoints.control"),
        ("endpoints.colour=blue", "colour"),
        ("stages.encode.instances=many", "stages.encode.instances"),
        ("engines.tts=[parrot]", "parrot"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, override: str, names: str) -> None:
    runtime = tmp_path / "r"
    result = subprocess.run(
        supervisor_command(f"runtime_dir={runtime}", f"state_dir={tmp_path}", override),
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        cwd=ROOT,
    )
    assert result.returncode == 78, result.stderr
    assert names in result.stderr + result.stdout
    shutil.rmtree(runtime, ignore_errors=True)


def test_a_session_id_may_be_used_again_at_once_and_meets_nothing_of_its_predecessor(stranger: Stranger) -> None:
    """More rounds than tts has credit: a lease that leaked at each cut would starve the last one."""
    control = stranger.control
    for _ in range(6):
        control.ok("start_session", session_id="again")
        control.ok("say", session_id="again", text="A long speech of a session that is cut off. " * 5)
        control.ok("end_session", session_id="again", drain=False)
    control.ok("start_session", session_id="again")
    turn = control.ok("say", session_id="again", text="Hello.")["turn"]
    result = control.ok("end_session", WORK_S, session_id="again")
    events = [msgpack.unpackb(e) for e in control.ok("events", session_id="again", from_n=0)["events"]]
    assert turn == 1
    assert [e["n"] for e in events] == list(range(len(events)))
    assert [e["event"] for e in events].count("turn.ended") == 1
    assert [e["data"]["text"] for e in events if e["event"] == "sentence"] == ["Hello."]
    segments = control.ok("segments", session_id="again", from_seq=0)["segments"]
    assert [msgpack.unpackb(h)["seq"] for h, _ in segments] == list(range(result["segments"]))
