"""Voice detection with the real network."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.api import EngineError
from models.asr import silero
from models.asr.vad import WINDOW, VoiceDetector
from tests.engines.doubles import quiet
from tests.hearing import RATE, names, recording, room


@pytest.fixture(scope="module")
def detector() -> Iterator[VoiceDetector]:
    made = VoiceDetector()
    made.load(quiet)
    yield made
    made.close()


def test_speech_between_noise_is_found_where_it_is(detector: VoiceDetector) -> None:
    speech = recording(names("question")[0])
    found = detector.stream().feed(room(2.0, speech, 2.0, level=60.0))
    begin, end = 2 * RATE // WINDOW, (2 * RATE + len(speech)) // WINDOW
    assert found[: begin - 1].mean() < 0.1
    assert found[begin + 3 : end - 6].mean() > 0.6
    assert found[end + 10 :].mean() < 0.1


def test_noise_and_tones_are_no_voice(detector: VoiceDetector) -> None:
    rng = np.random.default_rng(2)
    hum = 3000 * np.sin(np.arange(3 * RATE) * 2 * np.pi * 100 / RATE)
    for sound in (rng.normal(0, 1000, 3 * RATE), hum, np.zeros(3 * RATE)):
        assert (detector.stream().feed(sound.astype(np.int16)) > 0.5).mean() < 0.05


def test_the_cut_of_the_audio_changes_nothing(detector: VoiceDetector) -> None:
    pcm = room(0.3, recording(names("question")[1]), 0.3)
    whole = detector.stream().feed(pcm)
    stream, pieces, at = detector.stream(), [], 0
    for size in np.random.default_rng(3).integers(1, 1500, 10_000):
        pieces.append(stream.feed(pcm[at : at + size]))
        at += int(size)
        if at >= len(pcm):
            break
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len(whole) == len(pcm) // WINDOW


def test_streams_do_not_share_state(detector: VoiceDetector) -> None:
    pcm = room(recording(names("question")[2]))
    alone = detector.stream().feed(pcm)
    one, other = detector.stream(), detector.stream()
    mixed = []
    for begin in range(0, len(pcm) // WINDOW * WINDOW, WINDOW):
        mixed.append(one.feed(pcm[begin : begin + WINDOW]))
        other.feed(pcm[::-1][begin : begin + WINDOW])
    assert np.array_equal(np.concatenate(mixed), alone)


def test_it_is_fast_and_idle_costs_nothing(detector: VoiceDetector) -> None:
    stream = detector.stream()
    begin = time.process_time()
    stream.feed(np.zeros(10 * RATE, np.int16))
    assert time.process_time() - begin < 1.0  # 10 s of audio; 0.04 s on a quiet machine
    begin, wall = time.process_time(), time.monotonic()
    while time.monotonic() - wall < 0.3:
        time.sleep(0.1)  # nothing is awaited: the process is left alone on purpose
    assert time.process_time() - begin < 0.05


def test_a_missing_file_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(silero, "_FILE", Path("assets/no_such.onnx"))
    with pytest.raises(EngineError, match=r"no_such\.onnx") as caught:
        VoiceDetector().load(quiet)
    assert "faster-whisper" in caught.value.hint
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    monkeypatch.setattr(silero, "_FILE", broken)
    with pytest.raises(EngineError, match="does not run"):
        VoiceDetector().load(quiet)


def test_the_file_is_found_without_importing_the_package() -> None:
    script = (
        "import sys; from models.asr.vad import VoiceDetector; "
        "VoiceDetector().load(lambda *_: None); "
        "sys.exit('faster_whisper' in sys.modules or 'ctranslate2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=240).returncode == 0
