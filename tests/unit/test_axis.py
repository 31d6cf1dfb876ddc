"""A turn's place on the media timeline, with idle video in between."""

from broker.media.speech_track import to_samples
from broker.media.time_map import TimeMap

MS = 1_000


def test_speech_is_contiguous_until_it_is_moved() -> None:
    axis = TimeMap(320 * MS)
    assert axis.pts(0) == 320 * MS
    assert axis.pts(48_000) == 1_320 * MS
    axis.move(48_000, 2_000 * MS)
    assert axis.pts(24_000) == 820 * MS
    assert axis.pts(48_000) == 2_000 * MS
    assert axis.pts(96_000) == 3_000 * MS


def test_moving_back_voids_later_anchors() -> None:
    axis = TimeMap(0)
    axis.move(96_000, 9_000 * MS)
    axis.move(48_000, 5_000 * MS)
    assert axis.pts(96_000) == 6_000 * MS


def test_what_is_shown_by_a_time_counts_no_idle_video() -> None:
    axis = TimeMap(320 * MS)
    axis.move(48_000, 2_000 * MS)
    assert axis.shown_by(0) < 0
    assert axis.shown_by(820 * MS) == 24_000
    assert axis.shown_by(1_500 * MS) == 48_000
    assert axis.shown_by(2_500 * MS) == 48_000 + to_samples(500 * MS)
