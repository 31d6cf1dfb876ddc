"""Which written words the spoken ones stand for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from models.text.alignment import align, written_words


def test_words_are_without_the_punctuation_around_them() -> None:
    text = "“Well,” she said — it's 3.50 (or so)... ❤ !"
    found = written_words(text)
    assert [word.text for word in found] == ["Well", "she", "said", "it's", "3.50", "or", "so"]
    assert all(text.startswith(word.text, word.at) for word in found)


@pytest.mark.parametrize(
    ("written", "spoken", "ranges"),
    [
        ("a b c", "a b c", [(0, 1), (1, 2), (2, 3)]),
        ("It costs $3.50 now", "It costs three dollars fifty now", [(0, 1), (1, 2), (2, 5), (5, 6)]),
        ("Mr Smith", "Mister Smith", [(0, 1), (1, 2)]),
        ("on 5 May 2024 we", "on May fifth twenty twenty four we", [(0, 1), (1, 1), (1, 2), (2, 6), (6, 7)]),
        ("one", "so one two", [(0, 3)]),
        ("x y", "", [(0, 0), (0, 0)]),
        ("", "a", []),
    ],
)
def test_every_spoken_word_belongs_to_one_written_word(
    written: str, spoken: str, ranges: list[tuple[int, int]]
) -> None:
    assert align(written.split(), spoken.split()) == ranges


@pytest.mark.parametrize("count", [10, 5000])
def test_ranges_never_overlap_and_leave_nothing_out(count: int) -> None:
    written = [f"w{k % 7}" for k in range(count)]
    spoken = [f"w{k % 5}" for k in range(count + count // 3)]
    ranges = align(written, spoken)
    assert len(ranges) == count
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(spoken)
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
