"""Skipping frames begins soon, ends slowly, and does not flutter."""

from broker.strain import EASY_RUN, Strain


def test_two_tight_segments_switch_skipping_on_and_a_long_easy_run_off() -> None:
    strain = Strain()
    strain.observe(800, 1000)
    assert not strain.skip
    strain.observe(900, 1000)
    assert strain.skip
    for _ in range(EASY_RUN - 1):
        strain.observe(100, 1000)
        assert strain.skip
    strain.observe(100, 1000)
    assert not strain.skip


def test_one_tight_segment_among_easy_ones_changes_nothing() -> None:
    strain = Strain()
    for _ in range(20):
        strain.observe(100, 1000)
        strain.observe(100, 1000)
        strain.observe(990, 1000)
        assert not strain.skip


def test_a_missed_deadline_is_as_tight_as_can_be() -> None:
    strain = Strain()
    strain.observe(1, 0)
    strain.observe(1, 0)
    assert strain.skip
