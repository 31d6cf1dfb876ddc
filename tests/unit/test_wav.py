"""``parse_wav``: what it accepts, what it refuses, and that a refusal helps."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.media.wav import parse_wav

GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def fmt(code: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16, extra: bytes = b"") -> bytes:
    align = channels * bits // 8
    body = struct.pack("<HHIIHH", code, channels, rate, rate * align, align, bits) + extra
    return b"fmt " + struct.pack("<I", len(body)) + body


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    pad = b"\0" if len(body) & 1 else b""
    return name + struct.pack("<I", len(body) if size is None else size) + body + pad


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


@pytest.mark.parametrize(
    ("code", "bits", "encoding"),
    [(1, 8, "u8"), (1, 16, "s16le"), (1, 24, "s24le"), (1, 32, "s32le"), (3, 32, "f32le")],
)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_every_accepted_encoding_is_found(code: int, bits: int, encoding: str, channels: int) -> None:
    payload = bytes(range(1, 1 + 3 * channels * bits // 8))
    data = riff(fmt(code, channels, 44100, bits), chunk(b"data", payload))
    info = parse_wav(data)
    assert (info.sample_rate, info.channels, info.encoding) == (44100, channels, encoding)
    assert data[info.data_offset : info.data_offset + info.data_bytes] == payload
    assert info.frames == 3


def test_a_file_of_the_standard_library_is_read() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(22050)
        out.writeframes(b"\1\2\3\4" * 100)
    info = parse_wav(buffer.getvalue())
    assert info == (22050, 2, "s16le", 44, 400)


@pytest.mark.parametrize(("code", "bits", "encoding"), [(1, 24, "s24le"), (3, 32, "f32le"), (1, 32, "s32le")])
def test_extensible_files_are_read(code: int, bits: int, encoding: str) -> None:
    extra = struct.pack("<HHI", 22, bits, 3) + struct.pack("<H", code) + GUID_TAIL
    data = riff(fmt(0xFFFE, 2, 48000, bits, extra), chunk(b"data", bytes(48)))
    assert parse_wav(data).encoding == encoding


def test_odd_and_unknown_chunks_are_stepped_over() -> None:
    data = riff(
        chunk(b"LIST", b"odd"), fmt(), chunk(b"junk", b""), chunk(b"data", b"\1\2\3\4"), chunk(b"id3 ", b"x")
    )
    info = parse_wav(data)
    assert data[info.data_offset : info.data_offset + info.data_bytes] == b"\1\2\3\4"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF024])
@pytest.mark.parametrize("riff_size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_unfinished_streams_reach_to_the_end_of_the_buffer(size: int, riff_size: int) -> None:
    data = riff(fmt(), chunk(b"data", bytes(100), size=size), size=riff_size)
    assert parse_wav(data).data_bytes == 100


def test_an_empty_file_is_empty() -> None:
    assert parse_wav(riff(fmt(), chunk(b"data", b""))).data_bytes == 0


def test_half_a_frame_at_the_end_is_left_out() -> None:
    assert parse_wav(riff(fmt(channels=2), chunk(b"data", bytes(10)))).data_bytes == 8


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (riff(fmt(7, bits=8), chunk(b"data", b"1")), ["mu-law", "16", "ffmpeg"]),
        (riff(fmt(0x55), chunk(b"data", b"1")), ["MP3", "ffmpeg"]),
        (riff(fmt(0x1234), chunk(b"data", b"1")), ["0x1234", "ffmpeg"]),
        (riff(fmt(bits=12), chunk(b"data", b"1")), ["12-bit", "ffmpeg"]),
        (riff(fmt(3, bits=64), chunk(b"data", b"1")), ["64-bit float", "ffmpeg"]),
        (riff(fmt(channels=0), chunk(b"data", b"1")), ["0 channels", "1 to 8"]),
        (riff(fmt(channels=9), chunk(b"data", b"1")), ["9 channels", "1 to 8"]),
        (riff(fmt(rate=7999), chunk(b"data", b"1")), ["7999", "8000", "192000"]),
        (riff(fmt(rate=192001), chunk(b"data", b"1")), ["192001", "192000"]),
        (riff(chunk(b"data", b"12"), fmt()), ["before its format"]),
        (riff(fmt(), chunk(b"data", b"1234", size=5000)), ["5000", "cut off"]),
        (riff(fmt()), ["data chunk"]),
        (riff(chunk(b"fmt ", b"123")), ["3 bytes", "16"]),
        (b"RIFF\0\0\0\0WAVE", ["format chunk"]),
        (b"", ["0 bytes", "44"]),
        (b"ID3\4" + bytes(100), ["MP3", "ffmpeg"]),
        (b"\xff\xfb\x90\0" + bytes(100), ["MP3", "ffmpeg"]),
        (b"OggS" + bytes(100), ["Ogg", "ffmpeg"]),
        (b"RF64" + bytes(100), ["RF64", "ffmpeg"]),
        (bytes(4) + b"ftypisom" + bytes(100), ["MP4", "ffmpeg"]),
        (bytes(100), ["RIFF", "s16le"]),
    ],
)
def test_a_refusal_names_the_fact_and_the_next_step(data: bytes, words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"WAV|audio") as caught:
        parse_wav(data)
    for word in words:
        assert word in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_cause_anything_but_a_value_error(noise: bytes, at: int) -> None:
    good = riff(fmt(), chunk(b"data", bytes(32)))
    for data in (noise, good[:at], good[:at] + noise + good[at + len(noise) :], riff(noise)):
        try:
            info = parse_wav(data)
        except ValueError:
            continue
        assert 0 <= info.data_offset <= info.data_offset + info.data_bytes <= len(data)


def test_what_the_broker_imports_is_light() -> None:
    """Reading headers, counting positions and cutting sentences bring in neither numpy nor an engine."""
    code = (
        "import sys; import models.media.wav, models.media.positions, models.text.sentences;"
        "print([name for name in ('numpy', 'structlog', 'yaml', 'zmq') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert result.stdout.strip() == "[]"
