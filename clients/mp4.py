"""Published segments as one film that begins at time 0. Pure.

Nothing is decoded or encoded: segments say in three fields which they are and when they play, and a segment that a
cut shortens is put together anew from its own samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct, unpack_from
from typing import Any, NamedTuple

from configs.grid import FRAME_US, QUANTUM_FRAMES, QUANTUM_US
from models.media.fmp4 import AUDIO_TRACK, VIDEO_TRACK, media_segment
from models.media.stamp import stamp

Header = dict[str, Any]
_BOX = Struct(">I4s")
_DATA_OFFSET, _FIRST_FLAGS, _SIZES = 0x1, 0x4, 0x200
"""What a ``trun`` of ours may hold (14496-12, 8.8.8)."""
_AAC_PER_QUANTUM = 15
_NEVER = 1 << 62


class Segment(NamedTuple):
    """A published segment: its header as on the stream, and ``moof`` + ``mdat``."""

    header: Header
    payload: bytes | memoryview


class _Run(NamedTuple):
    """The samples of one track in a segment."""

    tfdt_at: int
    data_at: int
    sizes: Sequence[int]


class _Layout(NamedTuple):
    mfhd_at: int
    runs: dict[int, _Run]


def rebased(payload: bytes | memoryview, seq: int, pts_us: int) -> bytes:
    """The segment as number ``seq`` (from 0) of a film in which it plays at ``pts_us``, a multiple of 320000.

    Raises:
        ValueError: it is no segment of this project.
    """
    layout = _layout(payload)
    return stamp(
        payload, layout.mfhd_at, layout.runs[VIDEO_TRACK].tfdt_at, layout.runs[AUDIO_TRACK].tfdt_at,
        seq=seq, pts_us=pts_us,
    )  # fmt: skip


def shortened(payload: bytes | memoryview, dur_us: int) -> bytes:
    """The first ``dur_us`` (a multiple of 320000) of a segment, as a segment with all times zero.

    Raises:
        ValueError: it is no segment of this project, or there would be nothing left.
    """
    quanta = dur_us // QUANTUM_US
    layout = _layout(payload)
    video = _samples(payload, layout.runs[VIDEO_TRACK], quanta * QUANTUM_FRAMES)
    audio = _samples(payload, layout.runs[AUDIO_TRACK], quanta * _AAC_PER_QUANTUM)
    return media_segment(video, audio).payload


def samples(payload: bytes | memoryview) -> tuple[list[bytes], list[bytes]]:
    """The access units of a segment, in order: H.264 (NAL units with their lengths before them) and AAC.

    Raises:
        ValueError: it is no segment of this project.
    """
    runs = _layout(payload).runs
    video, audio = ((run, len(run.sizes)) for run in (runs[VIDEO_TRACK], runs[AUDIO_TRACK]))
    return _samples(payload, *video), _samples(payload, *audio)


def film(segments: Sequence[Segment]) -> Iterator[bytes]:
    """What was to be seen of consecutive segments, rebased to 0; behind ``init`` it is a file.

    Where a generation ends, what it has at or after the beginning of the next one is left out.
    """
    first = segments[0].header["pts"] if segments else 0
    for number, (segment, dur) in enumerate(_visible(segments)):
        at = segment.header["pts"] - first
        payload = segment.payload if dur == segment.header["dur"] else shortened(segment.payload, dur)
        yield rebased(payload, number, at)


def mime(init: bytes) -> str:
    """The MIME type of a session's ``init``, as ``start_session`` tells it: profile, constraints and level of its
    ``avcC`` (ISO/IEC 14496-15), and AAC-LC.

    Raises:
        ValueError: there is no ``avcC``.
    """
    at = init.index(b"avcC") + 5  # the box's type, and configurationVersion
    return f'video/mp4; codecs="avc1.{init[at : at + 3].hex()},mp4a.40.2"'


def place(moof: bytes | memoryview) -> tuple[int, int, int]:
    """Number, time and length (us) that a segment says of itself; its ``moof`` alone is enough.

    Raises:
        ValueError: it is no segment of this project.
    """
    layout = _layout(moof)
    video = layout.runs[VIDEO_TRACK]
    (number,), (at,) = unpack_from(">I", moof, layout.mfhd_at), unpack_from(">Q", moof, video.tfdt_at)
    return number - 1, at * FRAME_US, len(video.sizes) * FRAME_US


class Endless:
    """A film that never goes back: time goes on by what was sent, whatever is cut afterwards."""

    def __init__(self) -> None:
        self._number = 0
        self._end_us = 0

    def add(self, header: Header, payload: bytes | memoryview) -> bytes:
        """The next segment of it."""
        made = rebased(payload, self._number, self._end_us)
        self._number += 1
        self._end_us += header["dur"]
        return made


def _visible(segments: Sequence[Segment]) -> Iterable[tuple[Segment, int]]:
    """Those of which something is to be seen, and how much of it in us."""
    seen: list[tuple[Segment, int]] = []
    gen, begin, end = None, _NEVER, _NEVER
    for segment in reversed(segments):
        header = segment.header
        if gen is not None and header["gen"] != gen:
            end = min(end, begin)
        gen, begin = header["gen"], header["pts"]
        dur = min(header["pts"] + header["dur"], end) - header["pts"]
        if dur > 0:
            seen.append((segment, dur))
    return reversed(seen)


def _samples(payload: bytes | memoryview, run: _Run, count: int) -> list[bytes]:
    at, found = run.data_at, []
    for size in run.sizes[:count]:
        found.append(bytes(payload[at : at + size]))
        at += size
    return found


def _boxes(payload: bytes | memoryview, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning of the content and end of each box."""
    while at + _BOX.size <= end:
        size, kind = _BOX.unpack_from(payload, at)
        if size < _BOX.size or at + size > end:
            raise ValueError(f"box {kind!r} of {size} bytes at {at} does not fit {end} bytes")
        yield kind, at + _BOX.size, at + size
        at += size


def _layout(payload: bytes | memoryview) -> _Layout:
    for kind, at, end in _boxes(payload, 0, len(payload)):
        if kind == b"moof":
            return _fragment(payload, at, end)
    raise ValueError("there is no moof in it")


def _fragment(payload: bytes | memoryview, moof: int, moof_end: int) -> _Layout:
    mfhd_at, runs = 0, {}
    for kind, at, end in _boxes(payload, moof, moof_end):
        if kind == b"mfhd":
            mfhd_at = at + 4
        elif kind == b"traf":
            track, run = _track(payload, at, end, moof - _BOX.size)
            runs[track] = run
    if not mfhd_at or runs.keys() != {VIDEO_TRACK, AUDIO_TRACK}:
        raise ValueError(f"a segment has an mfhd and the tracks 1 and 2, not {sorted(runs)}")
    return _Layout(mfhd_at, runs)


def _track(payload: bytes | memoryview, traf: int, traf_end: int, moof: int) -> tuple[int, _Run]:
    track = tfdt_at = data_at = 0
    sizes: Sequence[int] = ()
    for kind, at, _ in _boxes(payload, traf, traf_end):
        if kind == b"tfhd":
            (track,) = unpack_from(">I", payload, at + 4)
        elif kind == b"tfdt":
            tfdt_at = at + 4
        elif kind == b"trun":
            flags, count, offset = unpack_from(">IIi", payload, at)
            if flags & ~_FIRST_FLAGS != _DATA_OFFSET | _SIZES:
                raise ValueError(f"a trun with the flags {flags:#x} is none of this project")
            data_at = moof + offset
            sizes = unpack_from(f">{count}I", payload, at + (16 if flags & _FIRST_FLAGS else 12))
    return track, _Run(tfdt_at, data_at, sizes)
