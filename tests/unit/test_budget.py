"""What all sessions may have waiting together: two marks, and equal shares between them."""

import pytest

from broker.media.budget import Budget, speech_us


@pytest.mark.parametrize(
    ("own", "others", "more", "excess"),
    [
        (0, [], 10_000, 0),  # nobody else: there is nothing to share
        (900, [], 0, 0),
        (100, [899], 0, 0),  # below the high mark
        (0, [1200], 0, 0),  # who has nothing gets something
        (300, [1200], 0, 0),  # less than its share, which is half of 750
        (1200, [300], 0, 825),
        (500, [300, 300], 0, 250),
        (500, [300, 300, 0, 0], 0, 250),  # who has nothing has no share yet
        (400, [500], 101, 25),  # with what it asks for the mark is passed
        (400, [500], 100, 0),
    ],
)
def test_who_has_more_than_a_share_waits_above_the_high_mark(
    own: int, others: list[int], more: int, excess: int
) -> None:
    assert Budget(1000).excess(own, others, more) == excess


def test_it_opens_again_at_the_low_mark() -> None:
    budget = Budget(1000)
    assert budget.excess(900, [100]) == 0
    assert budget.excess(900, [101]) > 0
    assert budget.excess(700, [51]) > 0, "still closed"
    assert budget.excess(650, [100]) == 0
    assert budget.excess(900, [100]) == 0, "open again, up to the high mark"


@pytest.mark.parametrize(("text", "seconds"), [("", 0), ("a" * 100, 6.5), ("你好吗" * 10, 5.85)])
def test_how_long_a_text_speaks(text: str, seconds: float) -> None:
    assert speech_us(text) == seconds * 1_000_000
