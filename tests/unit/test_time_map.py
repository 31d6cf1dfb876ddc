"""A turn's place on the media timeline, with idle video in between."""

from broker.media.speech_track import to_samples
from broker.media.time_map import TimeMap

MS = 1_000


def placed(pts: int) -> TimeMap:
    time_map = TimeMap(lambda: 0)
    time_map.move(0, pts)
    return time_map


def test_a_turn_that_has_no_place_would_begin_where_the_media_ends() -> None:
    end = 320 * MS
    time_map = TimeMap(lambda: end)
    assert not time_map.placed
    assert time_map.pts(48_000) == 1_320 * MS
    end = 640 * MS
    assert time_map.pts(0) == 640 * MS
    assert not time_map.begins(0)
    time_map.move(0, end)
    assert time_map.placed
    assert time_map.begins(0)


def test_speech_is_contiguous_until_it_is_moved() -> None:
    time_map = placed(320 * MS)
    assert time_map.pts(0) == 320 * MS
    assert time_map.pts(48_000) == 1_320 * MS
    time_map.move(48_000, 2_000 * MS)
    assert time_map.pts(24_000) == 820 * MS
    assert time_map.pts(48_000) == 2_000 * MS
    assert time_map.pts(96_000) == 3_000 * MS


def test_moving_back_voids_later_anchors() -> None:
    time_map = placed(0)
    time_map.move(96_000, 9_000 * MS)
    time_map.move(48_000, 5_000 * MS)
    assert time_map.pts(96_000) == 6_000 * MS


def test_what_is_shown_by_a_time_counts_no_idle_video() -> None:
    time_map = placed(320 * MS)
    time_map.move(48_000, 2_000 * MS)
    assert time_map.shown_by(0) < 0
    assert time_map.shown_by(820 * MS) == 24_000
    assert time_map.shown_by(1_500 * MS) == 48_000
    assert time_map.shown_by(2_500 * MS) == 48_000 + to_samples(500 * MS)
