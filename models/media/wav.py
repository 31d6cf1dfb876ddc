"""Reading WAV headers: pure, cheap, no numpy; the samples stay where they are.

After Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" and "Multiple Channel Audio
Data and WAVE Files".
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from models.media.positions import MAX_CHANNELS, MAX_RATE, MIN_RATE, SAMPLE_BYTES

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format code in a KSDATAFORMAT_SUBTYPE GUID."""
_STREAMING = 0x7FFFF000
"""Sizes from here on are what tools write when they cannot know (0xFFFFFFFF, 0x7FFFFFFF, ...)."""
_MAX_CHUNKS = 1000
_ENCODINGS = {
    (_PCM, 8): "u8",
    (_PCM, 16): "s16le",
    (_PCM, 24): "s24le",
    (_PCM, 32): "s32le",
    (_FLOAT, 32): "f32le",
}
_NAMES = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG audio",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
}
_MAGIC = (
    (b"ID3", "MP3"),
    (b"OggS", "Ogg"),
    (b"fLaC", "FLAC"),
    (b"RIFX", "big-endian WAV (RIFX)"),
    (b"RF64", "64-bit WAV (RF64)"),
    (b"BW64", "64-bit WAV (BW64)"),
    (b"FORM", "AIFF"),
    (b"caff", "Core Audio"),
    (b".snd", "Sun audio"),
    (b"\x1aE\xdf\xa3", "WebM or Matroska"),
)
_ACCEPTED = "accepted are PCM of 8, 16, 24 or 32 bits and 32-bit float"
_NEXT = "convert it with: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav"


class WavInfo(NamedTuple):
    """Where the samples are and what they are; ``encoding`` is one of ``positions.SAMPLE_BYTES``."""

    sample_rate: int
    channels: int
    encoding: str
    data_offset: int
    data_bytes: int
    """Whole frames only; 0 for a file without samples."""

    @property
    def frames(self) -> int:
        """Samples per channel."""
        return self.data_bytes // (SAMPLE_BYTES[self.encoding] * self.channels)


def parse_wav(data: bytes | bytearray | memoryview) -> WavInfo:
    """Find the samples of a WAV file.

    Chunks may come in any order, odd chunks are padded, and sizes of 0 or about 4 GiB (a stream whose writer
    could not go back) mean the rest of the buffer.

    Raises:
        ValueError: not a WAV file that this project can play; the message names the fact, the limit and the
            next step.
    """
    view = memoryview(data)
    if len(view) < 12 or bytes(view[:4]) != b"RIFF" or bytes(view[8:12]) != b"WAVE":
        raise ValueError(_not_wav(bytes(view[:12])))
    riff_size = _u32(view, 4)
    layout: tuple[int, int, str] | None = None
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(view):
            break
        name, size, body = bytes(view[at : at + 4]), _u32(view, at + 4), at + 8
        if name == b"fmt ":
            layout = _layout(view[body : body + size], size)
        elif name == b"data":
            if layout is None:
                raise ValueError(f"WAV has samples before its format chunk; {_NEXT}")
            rate, channels, encoding = layout
            length = _data_bytes(size, len(view) - body, riff_size, body)
            return WavInfo(rate, channels, encoding, body, length - length % (SAMPLE_BYTES[encoding] * channels))
        at = body + size + (size & 1)
    missing = "format" if layout is None else "data"
    raise ValueError(f"WAV of {len(view)} bytes ends before its {missing} chunk; send the whole file, or {_NEXT}")


def _u32(view: memoryview, at: int) -> int:
    return int.from_bytes(view[at : at + 4], "little")


def _data_bytes(size: int, rest: int, riff_size: int, body: int) -> int:
    """Bytes of samples, seeing through the sizes of unfinished streams."""
    if size >= _STREAMING:
        return rest
    if size == 0:
        # An honest empty file says so twice; a stream's header was never completed.
        complete = riff_size not in (0, 0xFFFFFFFF) and abs(riff_size + 8 - (body + rest)) <= 1
        return 0 if complete else rest
    if size > rest:
        raise ValueError(
            f"WAV announces {size} bytes of samples and holds {rest}; it was cut off: send the whole file"
        )
    return size


def _layout(chunk: memoryview, size: int) -> tuple[int, int, str]:
    """``(sample rate, channels, encoding)`` of a format chunk."""
    if size < 16 or len(chunk) < 16:
        raise ValueError(f"WAV format chunk has {min(size, len(chunk))} bytes, at least 16 are needed; {_NEXT}")
    code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", chunk)
    if code == _EXTENSIBLE:
        if len(chunk) < 40:
            raise ValueError(f"WAV extensible format chunk has {len(chunk)} bytes, 40 are needed; {_NEXT}")
        if bytes(chunk[26:40]) != _GUID_TAIL:
            raise ValueError(f"WAV has a vendor's own sample format; {_ACCEPTED}; {_NEXT}")
        code = int.from_bytes(chunk[24:26], "little")
    if code not in (_PCM, _FLOAT):
        name = _NAMES.get(code, "an unknown encoding")
        raise ValueError(f"WAV holds {name} (format 0x{code:04x}); {_ACCEPTED}; {_NEXT}")
    encoding = _ENCODINGS.get((code, bits))
    if encoding is None:
        kind = "float" if code == _FLOAT else "PCM"
        raise ValueError(f"WAV holds {bits}-bit {kind}; {_ACCEPTED}; {_NEXT}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"WAV has {channels} channels; 1 to {MAX_CHANNELS} are accepted; {_NEXT} with -ac 1")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(
            f"WAV has a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are accepted; {_NEXT} with -ar 48000"
        )
    if align != channels * bits // 8:
        raise ValueError(
            f"WAV says {align} bytes per frame, {channels} x {bits} bits need {channels * bits // 8}; {_NEXT}"
        )
    return rate, channels, encoding


def _not_wav(head: bytes) -> str:
    """What the bytes are instead, as far as their first ones tell."""
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), "")
    if not found and head[4:8] == b"ftyp":
        found = "MP4"
    if not found and len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        found = "MP3 or AAC"
    if found:
        return f"audio is {found}, not WAV; {_NEXT}"
    if len(head) < 12:
        return f"audio has {len(head)} bytes, a WAV header has at least 44; send the whole file"
    return f"audio does not begin with RIFF/WAVE; {_NEXT}, or send raw samples with format s16le and sample_rate"
