"""The words that Whisper is told to expect: those of the FAQ's questions that it would not think of itself.

A prompt costs time for every token and pulls what is said towards it, so it holds the rarest words alone. How rare
a word is, the tokenizer knows: byte-pair merges are numbered by how early, so how often, they were met.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

MAX_TOKENS = 60
RARE_TOKEN = 5000
"""A word whose every token has a lower number is known well enough."""
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]{2,}")

Encode = Callable[[str], Sequence[int]]


def rare_words(phrases: Iterable[str], encode: Encode) -> str:
    """The rarest words of these phrases, "" when there is none.

    Args:
        phrases: the questions.
        encode: the tokenizer's numbers of a text, without special tokens.
    """
    count: Counter[str] = Counter()
    written: dict[str, Counter[str]] = {}
    for phrase in phrases:
        found = {one.start(): one.group() for one in _WORD.finditer(phrase)}
        count.update({word.lower() for word in found.values()})
        for begin, word in found.items():
            # The first word of a question has a capital letter in any case.
            form = word if begin or not word.istitle() else word.lower()
            written.setdefault(word.lower(), Counter())[form] += 1
    weight = {word: _rarity(encode(f" {word}")) * number for word, number in count.items()}
    chosen = [word for word, value in sorted(weight.items(), key=lambda item: (-item[1], item[0])) if value > 0]
    while chosen and len(encode(" " + ", ".join(chosen))) >= MAX_TOKENS:
        chosen.pop()
    if not chosen:
        return ""
    # Whisper goes on in the style of what it is shown: capital letters, and an end.
    text = ", ".join(_usual(written[word]) for word in chosen)
    return f"{text[0].upper()}{text[1:]}."


def _usual(forms: Counter[str]) -> str:
    """As a word is written most often."""
    return max(forms, key=lambda form: (forms[form], form))


def _rarity(tokens: Sequence[int]) -> int:
    """0 for a common word; more for a rarer one, and for one of several tokens."""
    if len(tokens) > 1:
        return len(tokens) * 50_000
    return tokens[0] if tokens and tokens[0] >= RARE_TOKEN else 0
