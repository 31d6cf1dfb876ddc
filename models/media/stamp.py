"""The three fields of an encoded segment that only its publisher knows.

Encoding leaves ``mfhd.sequence_number`` and both ``tfdt.baseMediaDecodeTime`` zero at offsets it reports, so
that any worker can make any segment and the timeline has a single writer. The broker
uses it.
"""

from __future__ import annotations

from struct import Struct

from configs.grid import FPS, QUANTUM_US, SAMPLE_RATE

VIDEO_TIMESCALE = FPS
AUDIO_TIMESCALE = SAMPLE_RATE
_SECOND_US = 1_000_000
_U32 = Struct(">I")
_U64 = Struct(">Q")


def stamp(
    payload: bytes | bytearray | memoryview,
    mfhd_at: int,
    video_tfdt_at: int,
    audio_tfdt_at: int,
    *,
    seq: int,
    pts_us: int,
) -> bytes:
    """A copy of ``payload`` that says which segment it is and when it plays.

    Args:
        payload: ``moof`` + ``mdat`` (C-contiguous bytes) as encoded.
        mfhd_at: offset of the 32-bit sequence number; the first of the three.
        video_tfdt_at: offset of the video track's 64-bit decode time.
        audio_tfdt_at: offset of the audio track's 64-bit decode time; the last of the three.
        seq: the segment's number; ``mfhd`` becomes ``seq + 1`` (it must not be 0).
        pts_us: media time of the first frame, microseconds, a multiple of 320000 so that both timescales
            hold it exactly.

    Raises:
        ValueError: offsets out of order or range, or a time that is negative or not on a quantum.
    """
    if not 0 < mfhd_at < video_tfdt_at < audio_tfdt_at <= len(payload) - _U64.size:
        raise ValueError(f"offsets {mfhd_at}, {video_tfdt_at}, {audio_tfdt_at} do not fit {len(payload)} bytes")
    if pts_us < 0 or pts_us % QUANTUM_US:
        raise ValueError(f"pts {pts_us} us is not a multiple of {QUANTUM_US} us")
    view = memoryview(payload)
    return b"".join(
        (
            view[:mfhd_at],
            _U32.pack(seq + 1),
            view[mfhd_at + _U32.size : video_tfdt_at],
            _U64.pack(pts_us * VIDEO_TIMESCALE // _SECOND_US),
            view[video_tfdt_at + _U64.size : audio_tfdt_at],
            _U64.pack(pts_us * AUDIO_TIMESCALE // _SECOND_US),
            view[audio_tfdt_at + _U64.size :],
        )
    )
