"""Skipping frames begins soon, ends slowly, does not flutter, and goes step by step."""

from broker.media.skip_policy import EASY_RUN, SkipPolicy


def tight(strain: SkipPolicy, times: int, skip: int) -> None:
    for _ in range(times):
        strain.observe(900, 1000, skip)


def easy(strain: SkipPolicy, times: int) -> None:
    for _ in range(times):
        strain.observe(100, 1000, strain.skip)


def test_two_tight_segments_lead_to_the_next_step_and_a_long_easy_run_back() -> None:
    strain = SkipPolicy()
    tight(strain, 1, 1)
    assert strain.skip == 1
    tight(strain, 1, 1)
    assert strain.skip == 2
    easy(strain, EASY_RUN - 1)
    assert strain.skip == 2
    easy(strain, 1)
    assert strain.skip == 1


def test_every_other_frame_comes_before_every_fourth_and_heals_after_it() -> None:
    strain = SkipPolicy()
    tight(strain, 2, 1)
    assert not strain.exhausted
    tight(strain, 2, 2)
    assert strain.skip == 4
    assert strain.exhausted
    tight(strain, 10, 4)
    assert strain.skip == 4
    easy(strain, EASY_RUN)
    assert strain.skip == 2
    easy(strain, EASY_RUN)
    assert strain.skip == 1
    easy(strain, 3 * EASY_RUN)
    assert strain.skip == 1


def test_segments_that_were_asked_for_before_a_step_do_not_lead_to_the_next() -> None:
    strain = SkipPolicy()
    tight(strain, 5, 1)
    assert strain.skip == 2
    tight(strain, 1, 2)
    tight(strain, 1, 1)
    assert strain.skip == 2
    tight(strain, 1, 2)
    assert strain.skip == 4


def test_one_tight_segment_among_easy_ones_changes_nothing() -> None:
    strain = SkipPolicy()
    for _ in range(20):
        easy(strain, 2)
        tight(strain, 1, 1)
        assert strain.skip == 1


def test_crops_that_are_given_up_are_as_tight_as_can_be() -> None:
    strain = SkipPolicy()
    strain.observe(1, 0)
    strain.observe(1, 0)
    assert strain.skip == 2
