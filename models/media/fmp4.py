"""Fragmented MP4 boxes: one H.264 and one AAC track. Pure functions, no libavformat.

A muxing library hands a fragment out only when the next one begins; here a segment is complete the moment
its last sample is encoded. Boxes by ISO/IEC 14496-12 (file format), 14496-14 (``mp4a``, ``esds``) and
14496-15 (``avc1``, ``avcC``). There is no edit list: segments hold exactly the samples of their span.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import NamedTuple

from models.media.stamp import AUDIO_TIMESCALE, VIDEO_TIMESCALE

VIDEO_TRACK, AUDIO_TRACK = 1, 2
AAC_FRAME = 1024
"""Samples per AAC access unit."""

_MOVIE_TIMESCALE = 1000
_UNITY_MATRIX = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_LANGUAGE_UND = 0x55C4
_SYNC, _NOT_SYNC = 0x02000000, 0x01010000
"""Sample flags (14496-12, 8.8.3.1): depends on nothing; depends on others and is no sync sample."""
_HIGH_PROFILES = (100, 110, 122, 244)
"""Profiles whose ``avcC`` names the chroma format (14496-15, 5.3.3.1.2)."""


class ParameterSets(NamedTuple):
    """One SPS and one PPS, as NAL units without start code or length."""

    sps: bytes
    pps: bytes


class Segment(NamedTuple):
    """``moof`` + ``mdat`` with zero at the three offsets (see ``models.media.stamp``)."""

    payload: bytes
    mfhd_at: int
    video_tfdt_at: int
    audio_tfdt_at: int


def mime(sets: ParameterSets) -> str:
    """What a browser's ``MediaSource`` wants to know (RFC 6381): profile, constraints and level in hex."""
    return f'video/mp4; codecs="avc1.{sets.sps[1:4].hex()},mp4a.40.2"'


def init_segment(width: int, height: int, sets: ParameterSets, audio_config: bytes, audio_bps: int) -> bytes:
    """``ftyp`` + ``moov`` for a stream of ``media_segment``.

    Args:
        width: luma pixels.
        height: luma pixels.
        sets: the encoder's parameter sets; 4:2:0, 8 bits.
        audio_config: AudioSpecificConfig of mono 48 kHz AAC-LC, as the encoder gives it.
        audio_bps: average bits per second, for ``esds``.
    """
    movie = _full(
        "mvhd", 0, 0, pack(">IIIIIH10x", 0, 0, _MOVIE_TIMESCALE, 0, 0x10000, 0x100), _UNITY_MATRIX, bytes(24),
        pack(">I", AUDIO_TRACK + 1),
    )  # fmt: skip
    video = _track(
        VIDEO_TRACK, "vide", VIDEO_TIMESCALE, _full("vmhd", 0, 1, bytes(8)), _avc1(width, height, sets),
        width=width, height=height,
    )  # fmt: skip
    audio = _track(
        AUDIO_TRACK, "soun", AUDIO_TIMESCALE, _full("smhd", 0, 0, bytes(4)), _mp4a(audio_config, audio_bps)
    )
    extends = _box("mvex", _trex(VIDEO_TRACK, 1, _NOT_SYNC), _trex(AUDIO_TRACK, AAC_FRAME, _SYNC))
    return _box("ftyp", b"iso6", pack(">I", 0), b"iso6", b"mp41") + _box("moov", movie, video, audio, extends)


def media_segment(video: Sequence[bytes], audio: Sequence[bytes]) -> Segment:
    """``moof`` + ``mdat`` of one segment.

    Args:
        video: length-prefixed access units, one per frame; the first is a key frame.
        audio: AAC access units of the same span.

    Raises:
        ValueError: one of the two is empty.
    """
    if not video or not audio:
        raise ValueError(f"a segment needs video and audio, not {len(video)} and {len(audio)} samples")
    video_bytes = sum(map(len, video))
    head = _box("mfhd", bytes(8))
    # Every field has a fixed size, so the boxes are built once to learn where mdat's data begins.
    size = 8 + len(head) + len(_video_fragment(video, 0)) + len(_audio_fragment(audio, 0))
    video_part = _video_fragment(video, size + 8)
    moof = _box("moof", head, video_part, _audio_fragment(audio, size + 8 + video_bytes))
    mdat = pack(">I4s", 8 + video_bytes + sum(map(len, audio)), b"mdat")
    first_fragment = 8 + len(head)
    return Segment(
        b"".join((moof, mdat, *video, *audio)),
        mfhd_at=8 + 12,
        video_tfdt_at=first_fragment + _TFDT_TIME_AT,
        audio_tfdt_at=first_fragment + len(video_part) + _TFDT_TIME_AT,
    )


_TFHD_SIZE = 16
_TFDT_TIME_AT = 8 + _TFHD_SIZE + 12
"""Within ``traf``: its own header, ``tfhd``, then ``tfdt``'s header, version and flags."""


def _video_fragment(samples: Sequence[bytes], data_at: int) -> bytes:
    """The first sample's flags differ from ``trex``'s: data offset, first flags, sizes."""
    run = _full("trun", 0, 0x205, pack(">IiI", len(samples), data_at, _SYNC), _sizes(samples))
    return _fragment(VIDEO_TRACK, run)


def _audio_fragment(samples: Sequence[bytes], data_at: int) -> bytes:
    run = _full("trun", 0, 0x201, pack(">Ii", len(samples), data_at), _sizes(samples))
    return _fragment(AUDIO_TRACK, run)


def _fragment(track: int, run: bytes) -> bytes:
    default_base_is_moof = 0x020000
    head = _full("tfhd", 0, default_base_is_moof, pack(">I", track))
    return _box("traf", head, _full("tfdt", 1, 0, pack(">Q", 0)), run)


def _sizes(samples: Sequence[bytes]) -> bytes:
    return pack(f">{len(samples)}I", *map(len, samples))


def _box(kind: str, *parts: bytes) -> bytes:
    return b"".join((pack(">I4s", 8 + sum(map(len, parts)), kind.encode("ascii")), *parts))


def _full(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, pack(">I", version << 24 | flags), *parts)


def _track(
    track: int,
    handler: str,
    timescale: int,
    media_header: bytes,
    entry: bytes,
    *,
    width: int = 0,
    height: int = 0,
) -> bytes:
    enabled_in_movie = 3
    volume = 0 if width else 0x100
    header = _full(
        "tkhd", 0, enabled_in_movie, pack(">IIIII8xHHHH", 0, 0, track, 0, 0, 0, 0, volume, 0), _UNITY_MATRIX,
        pack(">II", width << 16, height << 16),
    )  # fmt: skip
    data_here = _full("dref", 0, 0, pack(">I", 1), _full("url ", 0, 1))
    table = _box(
        "stbl",
        _full("stsd", 0, 0, pack(">I", 1), entry),
        *(_full(kind, 0, 0, bytes(4)) for kind in ("stts", "stsc")),
        _full("stsz", 0, 0, bytes(8)),
        _full("stco", 0, 0, bytes(4)),
    )
    media = _box(
        "mdia",
        _full("mdhd", 0, 0, pack(">IIIIHH", 0, 0, timescale, 0, _LANGUAGE_UND, 0)),
        _full("hdlr", 0, 0, pack(">I4s12x", 0, handler.encode("ascii")), b"musecast\0"),
        _box("minf", media_header, _box("dinf", data_here), table),
    )
    return _box("trak", header, media)


def _trex(track: int, duration: int, flags: int) -> bytes:
    return _full("trex", 0, 0, pack(">IIIII", track, 1, duration, 0, flags))


def _avc1(width: int, height: int, sets: ParameterSets) -> bytes:
    profile = sets.sps[1]
    config = pack(">B3sBB", 1, sets.sps[1:4], 0xFF, 0xE1) + pack(">H", len(sets.sps)) + sets.sps
    config += pack(">BH", 1, len(sets.pps)) + sets.pps
    if profile in _HIGH_PROFILES:
        chroma_420, depth_8 = 0xFD, 0xF8
        config += bytes((chroma_420, depth_8, depth_8, 0))
    bt709, limited = 1, 0
    colour = _box("colr", b"nclx", pack(">HHHB", bt709, bt709, bt709, limited << 7))
    dpi72 = 0x480000
    entry = pack(">6xH16xHHIIIH32xHh", 1, width, height, dpi72, dpi72, 0, 1, 24, -1)
    return _box("avc1", entry, _box("avcC", config), colour)


def _mp4a(audio_config: bytes, bps: int) -> bytes:
    object_aac, stream_audio = 0x40, 0x15
    decoder = _descriptor(4, pack(">BB3xII", object_aac, stream_audio, bps, bps), _descriptor(5, audio_config))
    stream = _descriptor(3, pack(">HB", AUDIO_TRACK, 0), decoder, _descriptor(6, b"\x02"))
    entry = pack(">6xH8xHH4xI", 1, 1, 16, AUDIO_TIMESCALE << 16)
    return _box("mp4a", entry, _full("esds", 0, 0, stream))


def _descriptor(tag: int, *parts: bytes) -> bytes:
    """An MPEG-4 descriptor (14496-1, 8.3.3); all of ours are shorter than 128 bytes."""
    body = b"".join(parts)
    return bytes((tag, len(body))) + body
