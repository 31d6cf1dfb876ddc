"""Voice detection with the real network."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.schema import Asr
from models.api import EngineError
from models.asr import silero
from models.asr.endpointing import Ended, Endpointer, Event, Started
from models.asr.vad import WINDOW, VoiceDetector
from tests.support.doubles import quiet
from tests.support.hearing import RATE, names, recording, room


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


def test_idle_costs_nothing(detector: VoiceDetector) -> None:
    detector.stream().feed(np.zeros(RATE, np.int16))

    def idle() -> bool:
        begin = time.process_time()
        time.sleep(0.1)  # nothing is awaited: the process is left alone on purpose
        return time.process_time() - begin < 0.02

    assert any(idle() for _ in range(20)), "its threads go on looking for work"


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


def noise(kind: str, samples: int) -> NDArray[np.float64]:
    """White or pink noise of RMS 1."""
    random = np.random.default_rng(4).normal(size=samples)
    if kind == "pink":
        bins = np.fft.rfft(random)
        random = np.fft.irfft(bins / np.sqrt(np.maximum(1, np.arange(len(bins)))), samples)
    return np.asarray(random / np.std(random))


def events(detector: VoiceDetector, pcm: NDArray[np.float64]) -> list[tuple[Event, int]]:
    """What the endpointing makes of it, each event with the position at which it was told."""
    ends = Endpointer(Asr(), 60.0)
    found = []
    for probability in detector.stream().feed(pcm.clip(-32768, 32767).astype(np.int16)):
        found += [(event, ends.position) for event in ends.window(float(probability))]
    return [(event, at) for event, at in found if isinstance(event, Started | Ended)]


@pytest.mark.parametrize(("snr_db", "limit_ms"), [(20, 150), (10, 300), (5, 300)])
@pytest.mark.parametrize("kind", ["white", "pink"])
def test_speech_in_noise_begins_and_ends_where_it_does(
    detector: VoiceDetector, kind: str, snr_db: int, limit_ms: int
) -> None:
    for name in names("question")[::4]:
        speech = recording(name).astype(np.float64)
        loud = np.flatnonzero(np.abs(speech) > 500)
        begin, end = 2 * RATE + loud[0], 2 * RATE + loud[-1]
        clean = np.concatenate([np.zeros(2 * RATE), speech, np.zeros(2 * RATE)])
        power = np.sqrt(np.mean(clean[begin:end] ** 2))
        found = events(detector, (clean + noise(kind, len(clean)) * power / 10 ** (snr_db / 20)) / 2)
        assert [type(event) for event, _ in found] == [Started, Ended], name
        (started, _), (ended, decided) = found
        assert abs(started.at - begin) * 1000 / RATE <= limit_ms, name
        assert abs(ended.at - end) * 1000 / RATE <= limit_ms, name
        assert (decided - ended.at) * 1000 / RATE <= Asr().min_silence_ms + 100, name


def tones(samples: int) -> NDArray[np.float64]:
    """Chords that come and go."""
    seconds = np.arange(samples) / RATE
    parts = [(262, 1.0), (330, 0.5), (392, 0.7), (523, 2.0)]
    return np.sum([np.sin(2 * np.pi * f * seconds) * (np.sin(2 * np.pi * r * seconds) > 0) for f, r in parts], 0)


def coughs(samples: int) -> NDArray[np.float64]:
    """Bursts of noise that die away, shaped as a throat shapes them."""
    random = np.random.default_rng(5)
    out = np.zeros(samples)
    for at in range(RATE, samples - RATE, int(1.3 * RATE)):
        length = int(RATE * random.uniform(0.15, 0.35))
        burst = np.fft.rfft(random.normal(size=length) * np.exp(-np.arange(length) / RATE / 0.07))
        hertz = np.fft.rfftfreq(length, 1 / RATE)
        shape = np.exp(-(((hertz - 1200) / 900) ** 2)) + 0.3 * np.exp(-(((hertz - 400) / 200) ** 2))
        out[at : at + length] = np.fft.irfft(burst * shape, length)
    return out / np.std(out)


@pytest.mark.parametrize("kind", ["white", "pink", "tones", "coughs"])
def test_a_minute_of_noise_is_nobodys_voice(detector: VoiceDetector, kind: str) -> None:
    samples = 60 * RATE
    sound = {"tones": tones, "coughs": coughs}.get(kind, lambda count: noise(kind, count))(samples)
    assert events(detector, sound * 1500 / np.std(sound)) == []
