"""Word and character error rates after one normaliser.

The normaliser: lower case, no punctuation, digits as words (0 to 100), British spelling of "cheque" as "check",
and "musecast" as one word ("muse cast" is how it was given to the voices). Nothing else is forgiven.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ALIKE = {"cheque": "check", "cheques": "checks"}
_HANZI_DIGITS = str.maketrans("0123456789", "零一二三四五六七八九")


def words(text: str) -> list[str]:
    """An English text's words."""
    text = re.sub(r"\bmuse cast\b", "musecast", text.lower().replace("’", "'"))
    found: list[str] = []
    for word in re.findall(r"[a-z']+|\d+", text):
        if word.isdigit() and int(word) <= 100:
            found += _number(int(word))
        elif word.strip("'"):
            found.append(_ALIKE.get(word.strip("'"), word.strip("'")))
    return found


def characters(text: str) -> list[str]:
    """A Chinese text's characters: letters alone, digits as characters."""
    return [one for one in text.lower().translate(_HANZI_DIGITS) if one.isalnum()]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Fewest substitutions, insertions and deletions."""
    row = list(range(len(heard) + 1))
    for number, one in enumerate(said, 1):
        before, row[0] = row[0], number
        for at, other in enumerate(heard, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (one != other))
    return row[-1]


def _number(value: int) -> list[str]:
    if value < 20:
        return [_ONES[value]]
    if value == 100:
        return ["one", "hundred"]
    return [_TENS[value // 10 - 2], *([_ONES[value % 10]] if value % 10 else [])]
