"""Which written words a list of spoken words stands for: pure, standard library only.

A voice that reads "$3.50 on 5 May" says "three dollars fifty on May fifth"; its times are of what it says, and
captions show what is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

_WORD = re.compile(r"\S+")
_EDGES = ",.!?;:\"'“”‘’()[]{}<>«»…—–-*_~`，。！？；：、（）「」『』"
PLAIN_WORDS = 200
"""Beyond this words are matched by their place alone: matching takes the square of it."""


class Written(NamedTuple):
    """A word of the text, without the punctuation around it."""

    text: str
    at: int
    """Its first character."""


def written_words(text: str) -> list[Written]:
    """The words of a text that has spaces between them; those without a letter or digit are left out."""
    found = []
    for match in _WORD.finditer(text):
        left = match.group().lstrip(_EDGES)
        word = left.rstrip(_EDGES)
        if any(char.isalnum() for char in word):
            found.append(Written(word, match.end() - len(left)))
    return found


def align(written: Sequence[str], spoken: Sequence[str]) -> list[tuple[int, int]]:
    """For every written word the spoken words ``[first, end)`` that stand for it, in order, without overlap.

    Spoken words that stand for none join the word before them (the first ones the word after them). Where the
    readings are fewer than the words, some words are given an empty range.
    """
    if not written:
        return []
    a, b = [_plain(word) for word in written], [_plain(word) for word in spoken]
    if max(len(a), len(b)) > PLAIN_WORDS:
        return _shared(0, len(a), 0, len(b))
    ranges: list[tuple[int, int]] = []
    for _, i0, i1, j0, j1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if i0 == i1:  # said and not written
            if ranges:
                ranges[-1] = (ranges[-1][0], j1)
            continue
        ranges += _shared(i0, i1, j0, j1)
    if ranges[0][0] > 0:
        ranges[0] = (0, ranges[0][1])
    return ranges


def _shared(i0: int, i1: int, j0: int, j1: int) -> list[tuple[int, int]]:
    """Words ``[i0, i1)`` share the spoken ones ``[j0, j1)`` evenly."""
    count, there = i1 - i0, j1 - j0
    edges = [j0 + there * k // count for k in range(count + 1)]
    return list(pairwise(edges))


def _plain(word: str) -> str:
    return "".join(char for char in word.casefold() if char.isalnum())
