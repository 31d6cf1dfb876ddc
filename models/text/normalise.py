"""Numbers, dates, times, money and units as words, in Chinese and English, by ``wetext``.

For voices that read digits badly. What is said differently keeps its place in the written text, so that captions
show what is written.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

LANGUAGES = ("zh", "en")
LONGEST = 40
"""Characters of a run with digits that are looked at as a whole: the grammar takes the square of them."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NAMED_TWICE = re.compile(r"([￥¥]\s?\d+(?:\.\d+)?)\s?元")
_RUN = re.compile(r"[^\s，。！？；：“”、（）()!?;]*\d(?:[^，。！？；“”、（）()!?;]*[^\s，。！？；“”、（）()!?;])?")


class Part(NamedTuple):
    """A piece of the spoken text and the piece of the written one that it stands for; neither is cut inside."""

    spoken: int
    """Its first character."""
    written: int
    """Its first character."""


class Spoken(NamedTuple):
    """A text as it is to be said."""

    text: str
    parts: list[Part]
    """In order; the first is at 0. Between two of them as many characters are the same, or all are different."""

    def written(self, begin: int, end: int) -> tuple[int, int]:
        """The characters of the written text that spoken ones ``[begin, end)`` stand for."""
        first = max((p for p in self.parts if p.spoken <= begin), key=lambda p: p.spoken)
        after = [p for p in self.parts if p.spoken >= end]
        return first.written, after[0].written if after else self.parts[-1].written


def ready() -> bool:
    """Load the grammars; False where the package is not installed."""
    if importlib.util.find_spec("wetext") is None:
        return False
    for language in LANGUAGES:
        _normaliser(language).normalize("1")
    return True


def spoken(text: str, language: str) -> Spoken:
    """``text`` as it is said in ``language`` ("zh" or "en"; any other leaves it as it is)."""
    said: list[str] = []
    parts: list[Part] = []
    at = length = 0

    def keep(until: int) -> None:
        nonlocal at, length
        parts.extend(Part(length + k, at + k) for k in range(until - at))
        said.append(text[at:until])
        length, at = length + until - at, until

    if language in LANGUAGES and importlib.util.find_spec("wetext") is not None:
        for run in _RUN.finditer(text):
            if run.end() - run.start() > LONGEST and language == "zh":
                continue
            keep(run.start())
            read = _read(run.group(), language)
            for _, i0, i1, j0, j1 in _opcodes(run.group(), read, language):
                same = i1 - i0 == j1 - j0 and run.group()[i0:i1] == read[j0:j1]
                if same:
                    parts.extend(Part(length + j0 + k, at + i0 + k) for k in range(j1 - j0))
                elif j1 > j0:
                    parts.append(Part(length + j0, at + i0))
            said.append(read)
            length, at = length + len(read), run.end()
    keep(len(text))
    return Spoken("".join(said), [*parts, Part(length, len(text))])


def _read(run: str, language: str) -> str:
    plain = _NAMED_TWICE.sub(r"\1", _THOUSANDS.sub("", run))
    try:
        return str(_normaliser(language).normalize(plain))
    except Exception:  # a text that its grammar has no path for
        return run


def _opcodes(written: str, read: str, language: str) -> Sequence[tuple[str, int, int, int, int]]:
    """What became what: by characters in Chinese, by words in English."""
    if language == "zh":
        return SequenceMatcher(None, written, read, autojunk=False).get_opcodes()
    a, b = _words(written), _words(read)
    found = SequenceMatcher(None, [w for w, _ in a], [w for w, _ in b], autojunk=False).get_opcodes()
    ends = [*(at for _, at in a), len(written)], [*(at for _, at in b), len(read)]
    return [(tag, ends[0][i0], ends[0][i1], ends[1][j0], ends[1][j1]) for tag, i0, i1, j0, j1 in found]


def _words(text: str) -> list[tuple[str, int]]:
    return [(match.group(), match.start()) for match in re.finditer(r"\S+\s*|\s+", text)]


_made: dict[str, Any] = {}


def _normaliser(language: str) -> Any:
    if language not in _made:
        from wetext import Normalizer

        _made[language] = Normalizer(lang=language, operator="tn")
    return _made[language]
