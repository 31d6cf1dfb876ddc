"""Reading the published media with nothing but PyAV and the box layout of ISO 14496-12."""

from __future__ import annotations

import io
import itertools
import math
import struct
import wave
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

QUANTUM_US = 320_000
FRAME_US = 40_000


@dataclass(frozen=True)
class Decoded:
    """Everything a player would show."""

    frames: int
    video_s: NDArray[np.float64]
    sound: NDArray[np.float32]
    """Mono 48 kHz, -1 to 1."""
    audio_s: float
    """When the sound begins."""
    first_frame: NDArray[np.uint8]


def decode(blob: bytes) -> Decoded:
    """Decode ``init`` and a run of media."""
    times: list[float] = []
    first: Any = None
    with av.open(io.BytesIO(blob)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            times.append(frame.time)
            if first is None:
                first = frame.to_ndarray(format="bgr24")
    sound: list[NDArray[np.float32]] = []
    begins = math.nan
    with av.open(io.BytesIO(blob)) as container:
        for sample in container.decode(audio=0):
            assert sample.sample_rate == 48_000
            if not sound:
                begins = float(sample.time or 0.0)
            sound.append(sample.to_ndarray().reshape(-1).astype(np.float32))
    return Decoded(len(times), np.array(times), np.concatenate(sound), begins, first)


def pictures(blob: bytes) -> NDArray[np.uint8]:
    """Every decoded picture of ``init`` and a run of media as it was encoded: u8 planes [n, H * 3 / 2, W]."""
    with av.open(io.BytesIO(blob)) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)])


def assert_continuous(decoded: Decoded, start_us: int, frames: int) -> None:
    """All frames there, at their times, and as much sound as picture."""
    assert decoded.frames == frames
    expected = start_us / 1e6 + np.arange(frames) * 0.04
    np.testing.assert_allclose(decoded.video_s, expected, atol=1e-6)
    assert math.isclose(decoded.audio_s, start_us / 1e6, abs_tol=1e-4)
    assert len(decoded.sound) == frames * 1920


def assert_seamless(headers: Sequence[dict[str, Any]], first_seq: int = 0) -> None:
    """``seq`` without hole or repeat, and within a generation ``pts`` without gap or overlap."""
    assert [h["seq"] for h in headers] == list(range(first_seq, first_seq + len(headers)))
    for one, following in itertools.pairwise(headers):
        if following["gen"] == one["gen"]:
            assert following["pts"] == one["pts"] + one["dur"], (one, following)
        else:
            assert following["gen"] > one["gen"]
            assert following["pts"] <= one["pts"] + one["dur"]


def boxes(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """Type and content of each box at this level."""
    at = 0
    while at < len(blob):
        size, kind = struct.unpack_from(">I4s", blob, at)
        assert size >= 8, f"box {kind!r} of {size} bytes"
        yield kind.decode("ascii"), blob[at + 8 : at + size]
        at += size
    assert at == len(blob)


def find(blob: bytes, *path: str) -> list[bytes]:
    """Contents of all boxes at ``path``."""
    found = [content for kind, content in boxes(blob) if kind == path[0]]
    return found if len(path) == 1 else [inner for one in found for inner in find(one, *path[1:])]


def check_segment(header: dict[str, Any], payload: bytes) -> None:
    """The promises of contract 3 that one segment can show alone."""
    assert zlib.crc32(payload) == header["crc32"]
    kinds = [kind for kind, _ in boxes(payload)]
    assert kinds in (["moof", "mdat"], ["styp", "moof", "mdat"])
    (mfhd,) = find(payload, "moof", "mfhd")
    assert struct.unpack(">I", mfhd[4:8]) == (header["seq"] + 1,)
    decode_times = {}
    for tfhd, tfdt in zip(
        find(payload, "moof", "traf", "tfhd"), find(payload, "moof", "traf", "tfdt"), strict=True
    ):
        assert tfdt[0] == 1, "tfdt version"
        decode_times[struct.unpack(">I", tfhd[4:8])[0]] = struct.unpack(">Q", tfdt[4:12])[0]
    assert decode_times == {1: header["pts"] // FRAME_US, 2: header["pts"] * 48_000 // 1_000_000}
    assert header["dur"] == header["frames"] * FRAME_US
    assert header["dur"] % QUANTUM_US == 0
    assert header["pts"] % QUANTUM_US == 0


def wav(samples: NDArray[np.int16], sample_rate: int) -> bytes:
    """A WAV file; ``samples`` is [n] or [n, channels]."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return target.getvalue()


def speech_like(seconds: float, sample_rate: int = 48_000, seed: int = 1) -> NDArray[np.int16]:
    """A voice-like sound that never repeats: harmonics of a gliding pitch, in syllables."""
    generator = np.random.default_rng(seed)
    t = np.arange(int(seconds * sample_rate)) / sample_rate
    points = max(2, int(seconds * 5))
    pitch = np.interp(t, np.linspace(0, seconds, points), generator.uniform(90, 260, points))
    loudness = np.interp(t, np.linspace(0, seconds, points * 2), generator.uniform(0.0, 1.0, points * 2))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 8))
    return np.asarray(voice * loudness * 9000, np.int16)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's, over the common length; sounds are taken as they lie."""
    n = min(len(a), len(b))
    x, y = a[:n].astype(np.float64), b[:n].astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / max(1e-12, math.sqrt((x @ x) * (y @ y))))


def aligned_correlation(heard: NDArray[Any], sent: NDArray[Any], reach: int = 2400) -> float:
    """The best correlation over shifts of up to ``reach`` samples either way (50 ms)."""
    n = 1 << (len(heard) + len(sent)).bit_length()
    x, y = heard - heard.mean(), sent - sent.mean()
    cross = np.fft.irfft(np.fft.rfft(x, n) * np.conj(np.fft.rfft(y, n)), n)
    best = max(cross[:reach].max(), cross[-reach:].max())
    return float(best / max(1e-12, math.sqrt(float(x @ x) * float(y @ y))))
