"""The ``musecast`` command against a running daemon: what it prints, writes and returns."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import wave
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest

from clients.cli import player
from clients.cli.app import run
from tests.support.client import TERMINAL, Stranger
from tests.support.daemon import Daemon
from tests.support.limits import BEAT_S, COMMAND_S, REPLY_S, STOP_S
from tests.support.microphone import QUESTION
from tests.support.pictures import encoded
from tests.support.processes import MUSECAST
from tests.support.segments import decode, speech_like, wav

NOBODY = "endpoints.control=tcp://127.0.0.1:9"
LIMITS = ("common.ANSWER_S", "conf.ANSWER_S", "doctor.ANSWER_S", "probe.HEALTH_TIMEOUT_S")


def _where(daemon: Daemon) -> dict[str, str]:
    return os.environ | {
        "MUSECAST_ENDPOINTS__CONTROL": daemon.control,
        "MUSECAST_ENDPOINTS__STREAM": daemon.stream,
        "MUSECAST_STATE_DIR": str(daemon.state_dir),
    }


def _run(daemon: Daemon, *arguments: str, code: int = 0) -> str:
    """Run the command in this process, 80 columns wide; what it printed, or the error where one is expected."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, _where(daemon)),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for name in LIMITS:  # a daemon that a busy machine keeps still for seconds is there all the same
            patch.setattr(f"clients.cli.{name}", 0.5 if NOBODY in arguments else REPLY_S)
        found = run(list(arguments))
    assert found == code, (arguments, found, out.getvalue(), err.getvalue())
    return out.getvalue() if code == 0 or "--json" in arguments else err.getvalue()


def _video(path: Path) -> tuple[int, float, tuple[int, int]]:
    """Frames, seconds of sound and size of a file that any player would take."""
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        size = (container.streams.video[0].width, container.streams.video[0].height)
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return frames, samples / 48_000, size


def test_probes(daemon: Daemon, stranger: Stranger) -> None:
    assert json.loads(_run(daemon, "probe", "health", "--json"))["status"] == "ok"
    assert "ok" in _run(daemon, "probe", "health")
    status = json.loads(_run(daemon, "probe", "status", "--json"))
    assert {row["instance"] for row in status["stages"]} >= {"tts.0", "encode.1"}
    shown = _run(daemon, "probe", "status")
    assert "encode.1" in shown
    assert "ms per frame" in shown
    lines = _run(daemon, "probe", "stream", "--count", "2", "--json").splitlines()
    assert [json.loads(line)["topic"].split(".")[0] for line in lines] == ["sys", "sys"]
    turn = json.loads(_run(daemon, "probe", "turn", "Hello there.", "--json"))
    assert turn["event"] == "turn.ended"
    assert turn["timings_ms"]["first_segment"] > 0
    assert turn["client"]["frames"] % 8 == 0
    assert "first segment published" in _run(daemon, "probe", "turn", "--op", "chat", "Hello")


def test_top_shows_what_there_is_look_by_look(daemon: Daemon, stranger: Stranger) -> None:
    session = stranger.session()
    looks = [json.loads(line) for line in _run(daemon, "top", "--count", "2", "--json").splitlines()]
    assert len(looks) == 2
    assert all(session.sid in {row["session_id"] for row in look["sessions"]} for look in looks)
    shown = _run(daemon, "top", "--count", "1")
    assert "processes ready" in shown
    assert "encode.1" in shown
    assert session.sid in shown


def test_bench_measures_a_daemon_that_runs(daemon: Daemon) -> None:
    options = ("--sessions", "2", "--turns", "1", "--text", "Hi.", "--json")
    found = json.loads(_run(daemon, "probe", "bench", *options))
    assert (found["sessions"], found["turns"]) == (2, 2)
    assert 0 < found["first_segment_ms"]["p50"] <= found["first_segment_ms"]["max"]
    assert found["segments"] >= 2
    assert found["media_s"] > 0


def test_templates(daemon: Daemon) -> None:
    assert "default-portrait" in _run(daemon, "template", "list")
    assert json.loads(_run(daemon, "template", "show", "default", "--json"))["width"] == 512
    shown = _run(daemon, "template", "show", "default")
    assert [line.split()[0] for line in shown.splitlines()][-4:] == ["engines", "MB", "kept", "in"]
    assert not any(word in shown for word in ("_", "True", "False"))
    assert "template list" in _run(daemon, "template", "show", "nobody", code=1)
    assert "default" in _run(daemon, "template", "rm", "default", code=1)


def test_a_photo_is_added_looked_at_spoken_with_and_removed(
    daemon: Daemon, stranger: Stranger, tmp_path: Path
) -> None:
    session = stranger.session(mode="offline")
    session.speak("Cheese.")
    face = decode(session.blob()).first_frame
    photo, sheet = tmp_path / "my face.png", tmp_path / "me.png"
    photo.write_bytes(encoded(face))
    made = json.loads(_run(daemon, "template", "add", str(photo), "--json"))
    assert (made["template_id"], made["frames"], made["cached"]) == ("my-face", 248, False)
    assert "was there already" in _run(daemon, "template", "add", str(photo))
    assert "my-face" in _run(daemon, "template", "list")
    assert str(sheet) in _run(daemon, "template", "show", "my-face", "--out", str(sheet))
    with av.open(str(sheet)) as container:
        tiles = next(container.decode(video=0)).to_ndarray(format="gray").astype(np.int16)
    assert tiles.shape == (3 * 320, 4 * 320), "twelve frames of a square photo"
    height, width = face.shape[:2]
    small = face[:: height // 64, :: width // 64].mean(axis=2)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        tile = tiles[row * 320 : (row + 1) * 320 : 5, column * 320 : (column + 1) * 320 : 5]
        assert np.corrcoef(tile.ravel(), small.ravel())[0, 1] > 0.9, "not the face of the photo"
    assert np.abs(tiles[:320, :320] - tiles[320:640, 640:960]).max() > 10, "it does not move"
    _run(daemon, "say", "It is me.", "--template", "my-face", "--out", str(tmp_path / "me.mp4"))
    assert _video(tmp_path / "me.mp4")[2] == (512, 512)
    _check_another_photo(daemon, photo, encoded(face[:, ::-1]))
    assert "deleted" in _run(daemon, "template", "rm", "my-face")
    assert "template list" in _run(daemon, "template", "show", "my-face", code=1)
    photo.write_bytes(encoded(np.full_like(face, 128)))
    assert "no face was found" in _run(daemon, "template", "add", str(photo), code=1)


def _check_another_photo(daemon: Daemon, photo: Path, content: bytes) -> None:
    """A second person does not take the first one's place unasked."""
    other = photo.with_name("李明.png")
    other.write_bytes(content)
    made = json.loads(_run(daemon, "template", "add", str(other), "--json"))
    assert made["template_id"].startswith("LiMing-")
    same = _run(daemon, "template", "add", str(other), "--id", "my-face-2")
    assert f"made from the same file as template {made['template_id']}" in same
    assert "already" not in same
    error = json.loads(_run(daemon, "template", "add", str(other), "--id", "my-face", "--json", code=1))["error"]
    assert error["code"] == "ALREADY_EXISTS"
    assert "made from another file" in error["message"]
    assert "--force" in error["message"]
    assert "it replaced another one" in _run(daemon, "template", "add", str(photo), "--id", "my-face-2", "--force")
    listed = json.loads(_run(daemon, "template", "list", "--json"))
    assert {row["template_id"] for row in listed if row["keep"]} >= {"my-face", "my-face-2", made["template_id"]}
    other = other.rename(photo.with_name("---.png"))
    assert "--id anna" in _run(daemon, "template", "add", str(other), code=1)
    assert "such as --id Jose" in _run(daemon, "template", "add", str(other), "--id", "José", code=1)
    assert "comes with musecast" in _run(daemon, "template", "add", str(other), "--id", "default", code=1)
    for name in ("my-face-2", made["template_id"]):
        _run(daemon, "template", "rm", name)


def test_say_prints_the_words_and_keeps_the_video(daemon: Daemon, tmp_path: Path) -> None:
    target = tmp_path / "said.mp4"
    printed = _run(daemon, "say", "Good evening to all of you.", "--out", str(target))
    assert "Good evening to all of you." in printed
    assert "first segment" not in printed
    frames, seconds, size = _video(target)
    assert frames >= 24
    assert seconds == pytest.approx(frames / 25, abs=0.05)
    assert size == (512, 512)
    assert [p.name for p in tmp_path.iterdir()] == ["said.mp4"]


def test_without_a_picture_say_tells_how_to_see_it(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player.shutil, "which", lambda name: None)
    printed = _run(daemon, "say", "Hello.", "--timings")
    assert "first segment published" in printed
    assert "--out FILE.mp4" in printed
    assert "--play" not in printed
    assert "install one" in _run(daemon, "say", "Hello.", "--play", code=1)


def test_what_no_voice_can_say_is_a_failure(daemon: Daemon, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    for arguments in (
        ("say", "😀"),
        ("say", "😀", "--out", str(film)),
        ("render", "--text", "😀", "--out", str(film)),
    ):
        told = _run(daemon, *arguments, code=1)
        assert "nothing in the text can be spoken" in told
        assert told.count("\n") == 1
    assert not film.exists()


def test_a_player_gets_the_video_while_it_comes(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A player that keeps what it is given: that is a playable file, whole."""
    seen, fake = tmp_path / "seen.mp4", tmp_path / "bin" / "mpv"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nexec cat > {seen}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    kept = tmp_path / "kept.mp4"
    printed = _run(daemon, "chat", "Hello", "--play", "--out", str(kept))
    assert "--out FILE.mp4" not in printed
    assert _video(seen)[0] == _video(kept)[0] >= 16
    fake.write_text("#!/bin/sh\nexit 1\n")
    assert "ended before the video did" in _run(daemon, "say", "Hello. And one more sentence.", "--play")


def test_chat_prints_the_answer_as_json_events(daemon: Daemon) -> None:
    events = [json.loads(line) for line in _run(daemon, "chat", "Hello", "--json").splitlines()]
    assert [e["n"] for e in events] == list(range(len(events)))
    assert events[-1]["event"] == "turn.ended"


def test_interrupt_and_record(daemon: Daemon, stranger: Stranger, tmp_path: Path) -> None:
    """A recording across a cut keeps of the old generation only what came before ``flush_from``."""
    session = stranger.session()
    assert "nothing" in _run(daemon, "interrupt", session.sid)
    turn = session.say("This is going to be cut in the middle of a rather long sentence about nothing. " * 20)
    session.wait_media(4, turn)
    reply = json.loads(_run(daemon, "interrupt", session.sid, "--json"))
    assert reply["turn"] == turn
    session.speak("And this comes after.")
    target = tmp_path / "cut.mp4"
    _run(daemon, "probe", "record", session.sid, str(target), "--seconds", "0.1")
    new = [m.header for m in session.media if m.header["gen"] == 1]
    expected = (reply["flush_from"] - session.media[0].header["pts"]) // 40_000 + sum(h["frames"] for h in new)
    frames, seconds, _ = _video(target)
    assert frames == expected
    assert seconds == pytest.approx(frames / 25, abs=0.05)


def test_a_session_that_is_over_is_recorded_while_the_daemon_keeps_it(
    daemon: Daemon, stranger: Stranger, tmp_path: Path
) -> None:
    session = stranger.session(mode="offline")
    session.speak("Twenty segments are more than one request fetches, so this goes on for a while. " * 6)
    frames = session.end()["frames"]
    assert "has ended" in _run(daemon, "probe", "stream", session.sid, code=1)
    target = tmp_path / "over.mp4"
    _run(daemon, "probe", "record", session.sid, str(target))
    assert _video(target)[0] == frames


def test_render_turns_audio_into_a_video(daemon: Daemon, tmp_path: Path) -> None:
    source, target = tmp_path / "speech.wav", tmp_path / "speech.mp4"
    source.write_bytes(wav(speech_like(4.0, 22_050), 22_050))
    _run(daemon, "render", "--template", "default", "--audio", str(source), "--out", str(target), "--connect")
    frames, seconds, _ = _video(target)
    assert frames == 100
    assert seconds == pytest.approx(4.0, abs=0.03)
    _run(daemon, "render", "--text", "Hello.", "--out", str(tmp_path / "text.mp4"))
    assert _video(tmp_path / "text.mp4")[0] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["speech.mp4", "speech.wav", "text.mp4"]
    source.write_bytes(b"this is no sound")
    assert "audio file" in _run(
        daemon, "render", "--audio", str(source), "--out", str(tmp_path / "no.mp4"), code=1
    )
    assert not (tmp_path / "no.mp4").exists()


def test_render_without_a_daemon_starts_one_of_its_own(daemon: Daemon, tmp_path: Path) -> None:
    source, target = tmp_path / "speech.wav", tmp_path / "speech.mp4"
    source.write_bytes(wav(speech_like(2.0, 16_000), 16_000))
    nobody = ("--set", NOBODY)
    _run(daemon, "render", "--audio", str(source), "--out", str(target), *nobody)
    assert _video(target)[0] == 50
    assert "musecast up" in _run(
        daemon, "render", "--audio", str(source), "--out", str(tmp_path / "no.mp4"), "--connect", *nobody, code=1
    )


def test_an_aborted_render_leaves_nothing(
    daemon: Daemon,
    connect: Callable[[Daemon], Stranger],
    launch: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    source, target = tmp_path / "long.wav", tmp_path / "long.mp4"
    source.write_bytes(wav(np.tile(speech_like(10.0, 16_000), 30), 16_000))
    stranger = connect(daemon)
    seen = stranger.subscribe("seg.", "sys.")
    others = seen.wait(lambda m: m.topic == "sys.", BEAT_S, "sys. message").header["sessions"]
    command = (MUSECAST, "render", "--audio", str(source), "--out", str(target), "--connect")
    process = launch(*command, env=_where(daemon))
    seen.wait(lambda m: m.header.get("kind") == "media", COMMAND_S, "media of the rendering")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=STOP_S)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "interrupted"
    assert [p.name for p in tmp_path.iterdir()] == ["long.wav"]
    seen.wait(  # or fewer: one that somebody has left behind expires
        lambda m: m.header.get("sessions", others + 1) <= others,
        STOP_S,
        "end of its session",
        start=len(seen.messages),
    )


def test_listen_hears_a_recording(daemon: Daemon) -> None:
    events = [json.loads(line) for line in _run(daemon, "listen", str(QUESTION), "--json").splitlines()]
    names = [e["event"] for e in events]
    assert "transcript.final" in names
    assert [name for name in names if name in TERMINAL] == ["turn.ended"]


def test_listen_takes_any_sound_and_ends_when_there_is_no_voice_in_it(daemon: Daemon, tmp_path: Path) -> None:
    noise, empty, film = tmp_path / "noise.wav", tmp_path / "empty.wav", tmp_path / "answer.mp4"
    samples = np.random.default_rng(0).normal(0, 1000, 16_000).astype(np.int16)
    noise.write_bytes(wav(np.stack([samples, samples], axis=1), 44_100))
    assert "no voice was heard" in _run(daemon, "listen", str(noise), code=1)
    for content in (b"", wav(np.zeros(0, np.int16), 16_000), b"RIFF", b"this is no sound"):
        empty.write_bytes(content)
        assert str(empty) in _run(daemon, "listen", str(empty), code=1)
        assert str(empty) in _run(daemon, "render", "--audio", str(empty), "--out", str(film), "--connect", code=1)
    assert not film.exists()


def test_listen_ends_with_standard_input(daemon: Daemon) -> None:
    """A question without an end is answered; nothing at all is said to be nothing."""
    with wave.open(str(QUESTION), "rb") as file:
        pcm = file.readframes(file.getnframes())
    spoken = len(pcm) - 2 * file.getframerate()  # cut close behind the last word
    command, where = [MUSECAST, "listen", "-"], os.environ | _where(daemon)
    answered, silent = (
        subprocess.run(command, input=raw, check=False, capture_output=True, timeout=COMMAND_S, env=where)
        for raw in (pcm[:spoken], b"")
    )
    assert answered.returncode == 0, answered.stderr
    assert b"What happens when I ask a question" in answered.stdout
    assert silent.returncode == 1
    assert b"no voice was heard in standard input" in silent.stderr


def test_status_fits_into_80_columns(daemon: Daemon, stranger: Stranger) -> None:
    session = stranger.session()
    session.speak("Something to count.")
    status = json.loads(_run(daemon, "probe", "status", "--json"))
    shown = _run(daemon, "probe", "status")
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert session.sid in shown
    for row in status["stages"]:
        assert row["instance"] in shown
        assert all(name.removeprefix("ms.") in shown for name in row["metrics"])
    assert "RSS MB" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("say", "x", "--template", "nobody"), "NOT_FOUND", "nobody"),
        (("interrupt", "nobody"), "NOT_FOUND", "nobody"),
        (("probe", "stream", "nobody"), "NOT_FOUND", "nobody"),
        (("say", " "), "INVALID_ARGUMENT", "empty"),
        (("template", "show", "nobody"), "FAILED", "nobody"),
        (("listen", "no.wav"), "FAILED", "no.wav"),
        (("probe", "health", "--set", NOBODY), "NO_DAEMON", "musecast up"),
    ],
)
def test_failures_are_one_line_or_json(daemon: Daemon, arguments: tuple[str, ...], code: str, words: str) -> None:
    told = _run(daemon, *arguments, code=1)
    assert words in told
    assert told.count("\n") == 1
    for word in ("list_templates", "start_session", "preprocess_template", "Errno", "regex"):
        assert word not in told
    error = json.loads(_run(daemon, *arguments, "--json", code=1).splitlines()[-1])["error"]
    assert error["code"] == code
    assert words in error["message"]


def test_configuration_commands(daemon: Daemon, tmp_path: Path) -> None:
    assert json.loads(_run(daemon, "config", "show", "--json"))["endpoints"]["control"] == daemon.control
    hidden = _run(daemon, "config", "show", "--set", "gateway.token=0123456789-hush-hush")
    assert "token:" in hidden
    assert "hush" not in hidden
    assert "valid" in _run(daemon, "config", "check")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("timeline:\n  lead: 5\n")
    message = _run(daemon, "config", "check", "--config", str(wrong), code=78)
    assert "wrong.yaml, line 2" in message
    _run(daemon, "config", "check", "--set", "nonsense", code=78)
    refused = subprocess.run(
        [MUSECAST, "up", "--set", "timeline.lead=5"], check=False, capture_output=True, timeout=COMMAND_S
    )
    assert refused.returncode == 78


def test_usage_errors(daemon: Daemon) -> None:
    _run(daemon, "say", code=2)
    _run(daemon, "fly", code=2)
    _run(daemon, "render", "--out", "x.mp4", code=2)


def test_without_a_daemon_the_next_step_is_named(daemon: Daemon) -> None:
    message = _run(daemon, "probe", "health", "--set", NOBODY, code=1)
    assert "musecast up" in message


def test_doctor_finds_this_machine_fit(daemon: Daemon) -> None:
    findings = json.loads(_run(daemon, "doctor", "--json"))
    assert {one["verdict"] for one in findings} <= {"ok", "warn"}
    subjects = [one["subject"] for one in findings]
    for subject in ("python", "pyzmq", "engines.tts", "runtime_dir", "state_dir", "daemon", "gpu"):
        assert subject in subjects
    assert "endpoints.gateway" in subjects


def test_standard_input_is_said_while_it_comes(
    daemon: Daemon, stranger: Stranger, launch: Callable[..., subprocess.Popen[str]]
) -> None:
    session = stranger.session()
    command = (MUSECAST, "say", "-", "--session", session.sid)
    process = launch(*command, env=_where(daemon), stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("The first words are said. And when ")
    process.stdin.flush()
    first = session.wait_event("sentence", turn=1)
    assert first["data"]["text"] == "The first words are said."
    process.stdin.write("more comes, that is said, too.")
    process.stdin.close()
    session.wait_ended(1)
    spoken = [e["data"]["text"] for e in session.events("sentence", 1)]
    assert " ".join(spoken) == "The first words are said. And when more comes, that is said, too."
    assert process.wait(COMMAND_S) == 0


def test_standard_input_without_a_word_is_refused(daemon: Daemon) -> None:
    command = [MUSECAST, "say", "-"]
    found = subprocess.run(
        command, input=b" \n", check=False, capture_output=True, timeout=COMMAND_S, env=_where(daemon)
    )
    assert found.returncode == 1
    assert b"without a word" in found.stderr
