"""Published segments as a film that begins at 0."""

from __future__ import annotations

import pytest

from clients.mp4 import Endless, Segment, film, rebased, samples, shortened
from models.media.fmp4 import media_segment
from models.media.stamp import stamp
from tests.support.segments import find

QUANTUM = 320_000


def payload(quanta: int, *, seq: int = 0, pts: int = 0, fill: int = 0) -> bytes:
    video = [bytes([fill, n]) * (n + 3) for n in range(8 * quanta)]
    audio = [bytes([fill, 200 + n % 50]) * (n % 7 + 2) for n in range(15 * quanta)]
    made = media_segment(video, audio)
    return stamp(made.payload, made.mfhd_at, made.video_tfdt_at, made.audio_tfdt_at, seq=seq, pts_us=pts)


def segment(seq: int, gen: int, pts: int, quanta: int) -> Segment:
    dur = quanta * QUANTUM
    header = {"seq": seq, "gen": gen, "pts": pts, "dur": dur, "frames": 8 * quanta, "crc32": 0}
    return Segment(header, payload(quanta, seq=seq, pts=pts, fill=seq))


def told(made: bytes) -> tuple[int, int, int]:
    """Number, and both decode times."""
    (mfhd,) = find(made, "moof", "mfhd")
    video, audio = (int.from_bytes(one[4:12]) for one in find(made, "moof", "traf", "tfdt"))
    return int.from_bytes(mfhd[4:8]), video, audio


def test_a_segment_takes_another_place_and_nothing_else_of_it_changes() -> None:
    original = payload(2, seq=41, pts=7 * QUANTUM)
    made = rebased(memoryview(original), 3, QUANTUM)
    assert told(made) == (4, 8, 15_360)
    assert rebased(made, 41, 7 * QUANTUM) == original


def test_a_shortened_segment_is_the_one_of_its_first_samples() -> None:
    assert rebased(shortened(payload(3, seq=1, pts=QUANTUM, fill=9), 2 * QUANTUM), 0, 0) == payload(2, fill=9)


def test_samples_are_those_that_were_put_together() -> None:
    video, audio = samples(memoryview(payload(2, fill=9)))
    assert video == [bytes([9, n]) * (n + 3) for n in range(16)]
    assert audio == [bytes([9, 200 + n % 50]) * (n % 7 + 2) for n in range(30)]


@pytest.mark.parametrize(
    "blob", [b"", b"\0\0\0\x08free", b"\0\0\0\x04moof", payload(1)[8:], b"\0\0\0\x10moof\0\0\0\x08mfhd"]
)
def test_what_is_no_segment_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match=r"moof|box|segment"):
        rebased(blob, 0, 0)


def test_a_film_begins_at_0_and_leaves_out_what_cuts_made_void() -> None:
    segments = [
        segment(5, 0, 10 * QUANTUM, 1),
        segment(6, 0, 11 * QUANTUM, 3),  # cut after its first quantum
        segment(7, 0, 14 * QUANTUM, 2),  # void
        segment(8, 1, 12 * QUANTUM, 1),
        segment(9, 1, 13 * QUANTUM, 4),  # cut, and cut again further to the front
        segment(10, 2, 15 * QUANTUM, 1),  # void: the next cut is before it
        segment(11, 3, 14 * QUANTUM, 2),
    ]
    made = list(film(segments))
    assert [told(one) for one in made] == [(n + 1, 8 * at, 15_360 * at) for n, at in enumerate((0, 1, 2, 3, 4))]
    assert [len(find(one, "moof", "traf", "trun")[0]) // 4 for one in made] == [12, 12, 12, 12, 20]
    assert made[4] == payload(2, seq=4, pts=4 * QUANTUM, fill=11)


def test_a_film_of_nothing_is_nothing() -> None:
    assert list(film([])) == []


def test_an_endless_film_never_goes_back() -> None:
    endless = Endless()
    cut = [segment(3, 0, 6 * QUANTUM, 2), segment(4, 1, 7 * QUANTUM, 1), segment(9, 1, 30 * QUANTUM, 1)]
    assert [told(endless.add(*one)) for one in cut] == [(1, 0, 0), (2, 16, 30_720), (3, 24, 46_080)]
