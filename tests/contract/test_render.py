"""``musecast render``: exact lengths, sound and picture together, quality, and nothing left when it is cut off."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.client import Stranger
from tests.support.daemon import Daemon
from tests.support.limits import BEAT_S, COMMAND_S, STOP_S
from tests.support.media import watch
from tests.support.processes import MUSECAST
from tests.support.segments import speech_like, wav

BT709, LIMITED = 1, 1


def where(daemon: Daemon) -> dict[str, str]:
    return os.environ | {
        "MUSECAST_ENDPOINTS__CONTROL": daemon.control,
        "MUSECAST_ENDPOINTS__STREAM": daemon.stream,
        "MUSECAST_STATE_DIR": str(daemon.state_dir),
        "COLUMNS": "120",
    }


def render(daemon: Daemon, audio: Path, target: Path, *more: str, code: int = 0) -> str:
    """Runs the command; what it said on standard error."""
    result = subprocess.run(
        [MUSECAST, "render", "--audio", str(audio), "--out", str(target), "--connect", *more],
        check=False, capture_output=True, text=True, timeout=COMMAND_S, env=where(daemon),
    )  # fmt: skip
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    return result.stderr


def lag(heard: NDArray[np.float32], sent: NDArray[np.float32], reach: int = 4800) -> int:
    """Samples by which ``heard`` is late."""
    n = 1 << (len(heard) + len(sent)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(sent, n)), n)
    return int(np.argmax(np.concatenate([cross[-reach:], cross[:reach]]))) - reach


@pytest.mark.parametrize(
    ("seconds", "rate", "quality"),
    [(0.05, 48_000, "high"), (1.0, 44_100, "max"), (3.07, 48_000, "max"), (3.07, 22_050, "fast")],
)
def test_the_file_is_as_long_as_the_sound_and_both_begin_together(
    daemon: Daemon, tmp_path: Path, seconds: float, rate: int, quality: str
) -> None:
    source, target = tmp_path / "in.wav", tmp_path / "out.mp4"
    sound = speech_like(seconds, rate)
    source.write_bytes(wav(sound, rate))
    render(daemon, source, target, "--quality", quality)
    film = watch(target)
    assert film.frames == -(-len(sound) * 25 // rate)
    assert film.video_s == pytest.approx(film.frames / 25, abs=1e-6)
    assert film.fps == 25
    assert film.audio_samples == pytest.approx(len(sound) * 48_000 / rate, abs=2)
    assert film.starts == (0, 0)
    assert film.colour == (BT709, BT709, BT709, LIMITED)
    at_48k = np.interp(np.arange(film.audio_samples) * rate / 48_000, np.arange(len(sound)), sound)
    assert abs(lag(film.sound, at_48k.astype(np.float32))) < 24, "half a millisecond"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out.mp4"]


def test_the_index_is_in_front_and_stereo_stays_stereo(daemon: Daemon, tmp_path: Path) -> None:
    source, target = tmp_path / "in.wav", tmp_path / "out.mp4"
    left = speech_like(1.0, 48_000)
    source.write_bytes(wav(np.stack([left, -left // 2], axis=1), 48_000))
    render(daemon, source, target)
    data = target.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data
    with av.open(str(target)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert len(heard) == 2
    assert np.corrcoef(heard)[0, 1] < -0.99


def test_quality_max_is_closer_to_lossless_than_high_is(daemon: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "in.wav"
    source.write_bytes(wav(speech_like(1.5, 16_000), 16_000))
    seen = {}
    for quality in ("lossless", "high", "max"):
        render(daemon, source, tmp_path / f"{quality}.mp4", "--quality", quality)
        seen[quality] = watch(tmp_path / f"{quality}.mp4").luma.astype(np.float32)
    noise = {key: 10 * np.log10(255**2 / np.mean((seen[key] - seen["lossless"]) ** 2)) for key in ("high", "max")}
    assert noise["max"] > noise["high"] + 1.5
    assert noise["max"] > 48


def test_quality_max_is_for_offline_sessions(stranger: Stranger) -> None:
    error = stranger.control.refused("start_session", quality="max")
    assert error["code"] == "INVALID_ARGUMENT"
    assert "offline" in error["message"]
    session = stranger.session(mode="offline", quality="max")
    second = wav(speech_like(1.0), 48_000)
    first, reply = session.feed({"audio": second, "wait": True}, {"audio": second, "last": True, "wait": True})
    assert first["segments"] == []
    assert first["carried_ms"] == 1000
    session.wait_ended(reply["turn"])
    assert sum(m.header["frames"] for m in session.of_turn(reply["turn"])) == 56
    assert not any(m.header["degraded"] for m in session.of_turn(reply["turn"]))


def test_an_engine_that_does_not_run_is_refused_with_the_next_step(daemon: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "in.wav"
    source.write_bytes(wav(speech_like(0.5, 16_000), 16_000))
    said = render(daemon, source, tmp_path / "no.mp4", "--engine", "musetalk", code=1)
    assert "is warp, not musetalk" in said
    assert "engines.lipsync=[musetalk]" in said
    render(daemon, source, tmp_path / "yes.mp4", "--engine", "warp")
    render(daemon, source, tmp_path / "no.mp4", "--quality", "best", code=2)
    silent = tmp_path / "empty.wav"
    silent.write_bytes(wav(np.zeros(0, np.int16), 16_000))
    assert "no sound" in render(daemon, silent, tmp_path / "no.mp4", code=1)
    assert not (tmp_path / "no.mp4").exists()


@contextlib.contextmanager
def _reader_of(pipe: Path) -> Iterator[IO[bytes]]:
    """The writing end of a named pipe, as soon as somebody reads it."""
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(os.open, pipe, os.O_WRONLY)
        try:
            end = opening.result(COMMAND_S)
        except TimeoutError:
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # the thread may go
            raise
    with open(end, "wb") as file:
        yield file


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_cut_off_while_writing_leaves_nothing(
    daemon: Daemon,
    stranger: Stranger,
    launch: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    sent: signal.Signals,
) -> None:
    """The signal comes while the sound is read for the file: from a pipe that is held open until then."""
    source, target = tmp_path / "in.wav", tmp_path / "out.mp4"
    sound = wav(speech_like(24.0, 48_000), 48_000)  # of a pipe, FFmpeg looks at 5 s before it gives any
    source.write_bytes(sound)
    os.mkfifo(tmp_path / "pipe")
    stream = stranger.subscribe("seg.", "evt.", "sys.")
    stream.wait(lambda m: m.topic.startswith("sys."), BEAT_S, "sys. message")
    command = (MUSECAST, "render", "--audio", str(source), "--out", str(target), "--connect", "--quality", "fast")
    seen = len(stream.messages)
    process = launch(*command, env=where(daemon))
    started = stream.wait(
        lambda m: m.header.get("event") == "session.started", COMMAND_S, "its session", start=seen
    ).header
    of_it = f"seg.{started['sid']}."
    stream.wait(lambda m: m.topic == of_it and m.header["kind"] == "media", COMMAND_S, "its media", start=seen)
    # The file for the daemon is open by now; what is opened next is the sound of the MP4.
    os.replace(tmp_path / "pipe", source)
    with _reader_of(source) as pipe:
        pipe.write(sound[: len(sound) * 3 // 4])
        pipe.flush()
        part, whole = sorted(path.name for path in tmp_path.iterdir())
        assert (part[:10], part[-9:], whole) == (".musecast-", ".part.mp4", "in.wav")
        process.send_signal(sent)
    said, _ = process.communicate(timeout=STOP_S)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent], said
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def _runs(process: subprocess.Popen[str]) -> bool:
    """Whether it still does, a moment later: to look at the daemon meanwhile, and not to keep it from its work."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.05)
    return process.returncode is None


def test_a_long_recording_is_rendered_with_little_of_it_under_way(
    daemon: Daemon,
    connect: Callable[[Daemon], Stranger],
    launch: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    """Across the border of 30 s."""
    source, target = tmp_path / "in.wav", tmp_path / "out.mp4"
    sound = np.tile(speech_like(6.2, 16_000), 5)
    source.write_bytes(wav(sound, 16_000))
    stranger = connect(daemon)
    command = (MUSECAST, "render", "--audio", str(source), "--out", str(target), "--connect", "--quality", "max")
    process = launch(*command, env=where(daemon))
    most = 0
    deadline = time.monotonic() + 2 * COMMAND_S
    while _runs(process):
        assert time.monotonic() < deadline
        queues = stranger.control.ok("status")["queues"]
        most = max(most, sum(queue["media_ms"] for queue in queues.values()))
    said, _ = process.communicate()
    assert most > 0, "it was never seen at work"
    assert process.returncode == 0, said
    assert most <= 2 * 8_000, "lip-sync and encode hold a few seconds each"
    film = watch(target)
    assert film.frames == 31 * 25
    assert film.audio_samples == 31 * 48_000
    still = [np.abs(a.astype(np.int16) - b).mean() for a, b in itertools.pairwise(film.luma[::5])]
    assert np.mean(still) > 0.05, "the face moves"
