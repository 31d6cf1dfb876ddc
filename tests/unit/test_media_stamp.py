import struct

import pytest

from models.media.stamp import stamp


def test_stamp_writes_three_fields_and_touches_nothing_else() -> None:
    payload = bytes(range(200))
    done = stamp(payload, 20, 60, 160, seq=41, pts_us=3 * 320_000)
    assert struct.unpack_from(">I", done, 20) == (42,)
    assert struct.unpack_from(">Q", done, 60) == (24,)
    assert struct.unpack_from(">Q", done, 160) == (46_080,)
    assert len(done) == 200
    untouched = [*range(20), *range(24, 60), *range(68, 160), *range(168, 200)]
    assert all(done[i] == payload[i] for i in untouched)


def test_times_stay_exact_after_days() -> None:
    pts_us = 320_000 * 10_000_000
    done = stamp(memoryview(bytes(64)), 4, 16, 32, seq=0, pts_us=pts_us)
    (video,), (audio,) = struct.unpack_from(">Q", done, 16), struct.unpack_from(">Q", done, 32)
    assert video * 40_000 == pts_us
    assert audio * 1_000_000 == pts_us * 48_000


@pytest.mark.parametrize("pts_us", [-320_000, 1, 40_000])
def test_a_time_off_the_quantum_is_refused(pts_us: int) -> None:
    with pytest.raises(ValueError, match="multiple of 320000"):
        stamp(bytes(64), 4, 16, 32, seq=0, pts_us=pts_us)


@pytest.mark.parametrize("offsets", [(0, 16, 32), (16, 4, 32), (4, 16, 57), (-8, 16, 32)])
def test_offsets_that_do_not_fit_are_refused(offsets: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit 64 bytes"):
        stamp(bytes(64), *offsets, seq=0, pts_us=0)
