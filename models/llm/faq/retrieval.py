"""Finding the question that was meant: TF-IDF cosine over words and letters, pure Python.

Weights after G. Salton and C. Buckley, "Term-weighting approaches in automatic text retrieval" (1988). A word
that no entry knows counts fully against the match; that is what makes an unknown question unknown.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from models.text.sentences import is_cjk

_WORD = re.compile(r"[^\W_]+")
_CONTRACTIONS = (
    (re.compile(r"[’`´]"), "'"),
    (re.compile(r"\b(can)'t\b"), r"\1 not"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(what|who|how|where|that|it|there|here)'s\b"), r"\1 is"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'s\b"), ""),
)
_FILLERS = frozenset(
    ["please", "well", "so", "okay", "ok", "um", "uh", "er", "hmm", "actually", "just", "then", "now"]
)
_WIDE_FILLERS = re.compile("请问|请你|麻烦|到底|究竟|其实|那么|那个|嗯|啊|呢|呀|吧|嘛|哦|了")
_SAME = {
    "您": "你",
    "妳": "你",
    "甚": "什",
    "麼": "么",
    "嗎": "吗",
    "說": "说",
    "話": "话",
    "會": "会",
    "誰": "谁",
}
_WORD_WEIGHT, _PAIR_WEIGHT, _LETTER_WEIGHT = 1.0, 0.5, 0.6
_WIDE_WEIGHT, _WIDE_PAIR_WEIGHT = 0.6, 1.0

Vector = dict[str, float]


class Match(NamedTuple):
    """The best entry's index and its similarity, 0 to 1."""

    entry: int
    score: float


def normalise(text: str) -> str:
    """Lower case, full-width forms narrowed, contractions written out, one character for each variant."""
    text = unicodedata.normalize("NFKC", text).lower()
    for pattern, replacement in _CONTRACTIONS:
        text = pattern.sub(replacement, text)
    return "".join(_SAME.get(char, char) for char in text)


def features(text: str) -> Vector:
    """Weighted terms: words, pairs of words and groups of three letters; Chinese characters and their pairs."""
    text = normalise(text)
    found: defaultdict[str, float] = defaultdict(float)
    words = [
        word for word in _WORD.findall("".join(" " if is_cjk(c) else c for c in text)) if word not in _FILLERS
    ]
    for word in words:
        found["w:" + word] += _WORD_WEIGHT
        padded = f"<{word}>"
        groups = [padded[at : at + 3] for at in range(len(padded) - 2)]
        for group in groups:
            found["l:" + group] += _LETTER_WEIGHT / math.sqrt(len(groups))
    for pair in itertools.pairwise(words):
        found["p:" + " ".join(pair)] += _PAIR_WEIGHT
    for run in re.split(r"[^\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af]+", _WIDE_FILLERS.sub("", text)):
        for char in run:
            found["c:" + char] += _WIDE_WEIGHT
        for at in range(len(run) - 1):
            found["d:" + run[at : at + 2]] += _WIDE_PAIR_WEIGHT
    return found


class Index:
    """All phrasings of all entries.

    Args:
        phrasings: per entry, every way of asking in every language.
    """

    def __init__(self, phrasings: Sequence[Sequence[str]]) -> None:
        bags = [(entry, features(phrase)) for entry, phrases in enumerate(phrasings) for phrase in phrases]
        # Document frequency over entries, not phrasings: a word that one entry repeats is still telling.
        seen: dict[str, set[int]] = {}
        for entry, bag in bags:
            for term in bag:
                seen.setdefault(term, set()).add(entry)
        count = len(phrasings)
        self._idf = {term: math.log((1 + count) / (0.5 + len(entries))) for term, entries in seen.items()}
        self._unknown = math.log((1 + count) / 0.5)
        self._vectors = [(entry, self._vector(bag)) for entry, bag in bags]

    def best(self, text: str) -> Match:
        """The entry with the most similar phrasing; score 0 when nothing is shared."""
        query = self._vector(features(text))
        best = Match(-1, 0.0)
        for entry, vector in self._vectors:
            score = sum(weight * vector.get(term, 0.0) for term, weight in query.items())
            if score > best.score + 1e-12:
                best = Match(entry, score)
        return best

    def _vector(self, bag: Vector) -> Vector:
        weights = {term: count * self._idf.get(term, self._unknown) for term, count in bag.items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {term: weight / norm for term, weight in weights.items()} if norm else {}
