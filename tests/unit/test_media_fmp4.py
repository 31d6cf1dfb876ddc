"""The boxes, read back by a reader that knows only the standard's layout."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from clients.aio.messages import init_message
from models.media.fmp4 import ParameterSets, init_segment, media_segment, mime

SETS = ParameterSets(bytes.fromhex("6742c01eda020041"), bytes.fromhex("68ce0fc8"))
HIGH = ParameterSets(bytes.fromhex("6764001eacb40400"), bytes.fromhex("68ef0fcb"))
CONTAINERS = ("moov", "trak", "mdia", "minf", "stbl", "mvex", "moof", "traf", "dinf")


def boxes(data: bytes, path: str = "") -> dict[str, Any]:
    """``{"moov.trak[0].tkhd": body}``; repeated boxes are counted."""
    found: dict[str, Any] = {}
    at, counts = 0, dict[str, int]()
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        assert 8 <= size <= len(data) - at, f"box {kind!r} of {size} bytes does not fit"
        name, body = kind.decode(), data[at + 8 : at + size]
        counts[name] = counts.get(name, -1) + 1
        key = f"{path}{name}" + (f"[{counts[name]}]" if name in ("trak", "traf", "trex") else "")
        found[key] = body
        if name in CONTAINERS:
            found |= boxes(body, f"{key}.")
        at += size
    return found


def test_init_holds_two_tracks_and_no_edit_list() -> None:
    found = boxes(init_segment(720, 1280, SETS, bytes.fromhex("1188"), 96_000))
    assert next(iter(found)) == "ftyp"
    assert not any("edts" in name for name in found)
    video, audio = found["moov.trak[0].tkhd"], found["moov.trak[1].tkhd"]
    assert struct.unpack_from(">I", video, 12) == (1,)
    assert struct.unpack_from(">I", audio, 12) == (2,)
    assert struct.unpack(">II", video[-8:]) == (720 << 16, 1280 << 16)
    assert struct.unpack_from(">I", found["moov.trak[0].mdia.mdhd"], 12) == (25,)
    assert struct.unpack_from(">I", found["moov.trak[1].mdia.mdhd"], 12) == (48_000,)
    assert len(found["moov.mvhd"]) == 100
    assert len(video) == len(audio) == 84


def test_init_says_bt709_limited_and_carries_the_parameter_sets() -> None:
    entry = boxes(init_segment(512, 512, SETS, bytes.fromhex("1188"), 96_000))["moov.trak[0].mdia.minf.stbl.stsd"]
    assert struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", 1, 1, 1, 0) in entry
    assert b"avcC\x01\x42\xc0\x1e\xff\xe1" + struct.pack(">H", 8) + SETS.sps in entry
    assert b"\x01" + struct.pack(">H", 4) + SETS.pps in entry


def test_high_profiles_name_their_chroma_format() -> None:
    assert HIGH.pps + b"\xfd\xf8\xf8\x00" in init_segment(512, 512, HIGH, bytes.fromhex("1188"), 96_000)


def test_mime_is_that_of_the_sps() -> None:
    assert mime(SETS) == 'video/mp4; codecs="avc1.42c01e,mp4a.40.2"'
    assert mime(HIGH) == 'video/mp4; codecs="avc1.64001e,mp4a.40.2"'


@pytest.mark.parametrize("sets", [SETS, HIGH])
def test_an_init_that_is_read_back_tells_its_mime_too(sets: ParameterSets) -> None:
    """The gateway gives it to a viewer as the stream would have."""
    init = init_segment(512, 512, sets, bytes.fromhex("1188"), 96_000)
    assert init_message("one", init).header["mime"] == mime(sets)


def test_media_offsets_and_sample_data() -> None:
    video = [b"K" * 100, b"p" * 7, b"q" * 9]
    audio = [b"a" * 5, b"b" * 6]
    payload, mfhd_at, video_at, audio_at = media_segment(video, audio)
    assert payload[mfhd_at - 8 : mfhd_at] == b"mfhd" + bytes(4)
    for at in (video_at, audio_at):
        assert payload[at - 8 : at] == b"tfdt\x01\0\0\0"
    assert payload[mfhd_at : mfhd_at + 4] == bytes(4)
    assert payload[video_at : video_at + 8] == payload[audio_at : audio_at + 8] == bytes(8)

    found = boxes(payload)
    assert next(iter(found)) == "moof"
    assert list(found)[-1] == "mdat"
    assert found["mdat"] == b"".join(video + audio)
    flags, count, data_at, first_flags, *sizes = struct.unpack(">IIiI3I", found["moof.traf[0].trun"])
    assert (flags, count, first_flags, sizes) == (0x205, 3, 0x02000000, [100, 7, 9])
    assert payload[data_at : data_at + 100] == video[0]
    flags, count, data_at, *sizes = struct.unpack(">IIi2I", found["moof.traf[1].trun"])
    assert (flags, count, sizes) == (0x201, 2, [5, 6])
    assert payload[data_at:] == b"".join(audio)
    for index in (0, 1):  # default-base-is-moof: offsets count from the moof
        assert struct.unpack(">II", found[f"moof.traf[{index}].tfhd"]) == (0x020000, index + 1)


def test_only_the_first_picture_is_a_sync_sample() -> None:
    found = boxes(init_segment(512, 512, SETS, bytes.fromhex("1188"), 96_000))
    assert struct.unpack(">6I", found["moov.mvex.trex[0]"]) == (0, 1, 1, 1, 0, 0x01010000)
    assert struct.unpack(">6I", found["moov.mvex.trex[1]"]) == (0, 2, 1, 1024, 0, 0x02000000)


@pytest.mark.parametrize(("video", "audio"), [([], [b"a"]), ([b"v"], [])])
def test_an_empty_track_is_refused(video: list[bytes], audio: list[bytes]) -> None:
    with pytest.raises(ValueError, match="needs video and audio"):
        media_segment(video, audio)
