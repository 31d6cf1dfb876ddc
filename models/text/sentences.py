"""Cutting a growing text into sentences to be spoken: pure, standard library only.

Where a cut falls depends on the text alone, never on how it was split into deltas: a place is judged only
when everything that the judgement looks at has arrived.
"""

from __future__ import annotations

import re

from models.text.reasoning import ReasoningFilter
from models.text.speakable import URL, speakable, split_url
from models.text.tables import TableReader

MAX_WEIGHT = 220
"""The longest sentence, in Latin characters; some 13 s of speech."""
CJK_WEIGHT = 3
"""A Chinese, Japanese or Korean character takes as long to say as so many Latin ones."""
EARLY_WEIGHT = 32
"""From here on the first sentence of a reply may end at a comma, so that the voice begins sooner."""
ELLIPSIS_WEIGHT = 10
"""Below this "Well..." is not a sentence of its own."""
WRAPPED_LINE = 50
"""A line this long that ends without punctuation was wrapped; a shorter one is a line of its own."""

_WIDE_STOPS = "。！？｡！？；।॥؟։"
_WIDE = frozenset(_WIDE_STOPS)
_FIRST_CJK = "\u2e80"
_STOPS = ".!?" + _WIDE_STOPS + "…"
_CLOSERS = "\"'”’」』）)]】》〉›»*_`~"
_RUN = _STOPS + _CLOSERS
_MAX_RUN = 16
_CLAUSES = ",;:，；：、—–"
_PLAIN = "az"


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_NEVER_END = _words(
    "mr mrs ms mx dr prof rev hon st sr jr gen col capt lt sgt gov sen rep pres vs cf ca approx fig figs "
    "eq eqs vol pp ed eds dept univ assn ave blvd rd mt ft e.g i.e eg ie viz resp incl excl min max no "
    "nos art sec chap jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs "
    "fri sat sun"
)
"""Abbreviations after which a sentence goes on, unless the words below say otherwise."""
_NUMBERED = _words("no nos art sec chap fig figs eq eqs vol pp min max ca approx")
"""Of these, and of months and days, a full stop is an abbreviation only before a digit."""
_CALENDAR = _words("jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun")
_MAY_END = _words("etc inc ltd co corp jr sr a.m p.m am pm u.s u.k u.n e.u u.s.a ph.d b.a m.a d.c al est")
"""Abbreviations after which a sentence goes on only with a lower-case letter or a digit."""
_WORD_BEFORE = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$")
_LIST_MARK = re.compile(r"\s*(?:(?:\d{1,3}|[A-Za-z])[.)]|[-*+•‣◦▪]|#{1,6}|>)[ \t]")
_UNFINISHED_MARK = re.compile(r"\s*(?:\d{0,3}[.)]?|[A-Za-z][.)]?|[-*+•‣◦▪]|#{1,6}|>)")
_PARTIAL_WORD = re.compile(r"\S*$")
_SPACES = re.compile(r"\s*")
_BLANKS = re.compile(r"[ \t\r]*")
_OPENERS = re.compile(r"[ \t\"'“‘(（「『*_`]*")
_SCHEMES = ("http://", "https://")
_FENCE = re.compile(r"```+|~~~~+")


def is_cjk(char: str) -> bool:
    """Whether a character belongs to a script without spaces between words."""
    code = ord(char)
    return code >= 0x2E80 and (
        code <= 0x9FFF
        or 0xAC00 <= code <= 0xD7AF
        or 0xF900 <= code <= 0xFAFF
        or 0xFE30 <= code <= 0xFE4F
        or 0xFF00 <= code <= 0xFF9F
        or 0x20000 <= code <= 0x323AF
    )


class SentenceCutter:
    """Feed it text as it comes; it gives speakable sentences as soon as they are complete.

    Args:
        early: whether the very first sentence may end at a comma.
    """

    def __init__(self, *, early: bool = True) -> None:
        self._early = early
        self._first = True
        self._text = ""
        self._scan: _Scan | None = None
        """Of what is left of the text, as far as it has come."""
        self._reasoning = ReasoningFilter()
        self._fence = _FenceFilter()
        self._tables = TableReader()

    def feed(self, delta: str) -> list[str]:
        """Take more text; returns the sentences that it completes."""
        self._text += self._tables.feed(self._fence.feed(self._reasoning.feed(delta)))
        return self._take(final=False)

    def flush(self) -> list[str]:
        """The text has ended: returns what is left, and begins anew."""
        rest = self._fence.feed(self._reasoning.flush()) + self._fence.flush()
        self._text += self._tables.feed(rest) + self._tables.flush()
        found = self._take(final=True)
        rest = speakable(self._text)
        self._text, self._first = "", True
        return [*found, rest] if rest else found

    def cut_off(self) -> list[str]:
        """The text has broken off: returns what is left up to its last whole word, and begins anew."""
        if self._text and self._text[-1].isalnum() and not is_cjk(self._text[-1]):
            self._text = self._text[: len(self._text) - len(_PARTIAL_WORD.search(self._text).group())]  # type: ignore[union-attr]
        self._scan = None
        self._reasoning, self._fence, self._tables = ReasoningFilter(), _FenceFilter(), TableReader()
        return self.flush()

    def _take(self, *, final: bool) -> list[str]:
        found: list[str] = []
        text, at = self._text, 0
        while True:
            scan, self._scan = self._scan, None
            if scan is None:
                at = _SPACES.match(text, at).end()  # type: ignore[union-attr]
                scan = _Scan(text, at, final, self._early and self._first)
            else:
                scan.text, scan.final = text, final
            end = scan.go_on()
            if end is None:
                scan.move(-at)
                self._scan = scan if text[at:] and not final else None
                break
            sentence = speakable(text[at:end])
            at = end
            if sentence:
                found.append(sentence)
                self._first = False
        self._text = text[at:]
        return found


def sentences(text: str, *, early: bool = False) -> list[str]:
    """The speakable sentences of a whole text."""
    cutter = SentenceCutter(early=early)
    return cutter.feed(text) + cutter.flush()


def next_cut(text: str, begin: int, *, final: bool, early: bool) -> int | None:
    """Where the sentence that begins at ``begin`` ends; None when it has no end yet.

    Args:
        text: what has come; nothing before ``begin`` is looked at.
        begin: of the sentence, no white space.
        final: no more will come.
        early: a clause may count as a sentence.
    """
    return _Scan(text, begin, final, early).go_on()


class _UndecidedError(Exception):
    """The text that has come does not decide; raised out of the scan."""


class _Scan:
    """One search for the end of a sentence."""

    __slots__ = ("at", "begin", "early", "final", "soft", "soft_rank", "text", "weight")

    def __init__(self, text: str, begin: int, final: bool, early: bool) -> None:
        self.text, self.begin, self.final, self.early = text, begin, final, early
        self.weight = 0
        self.soft = 0  # the best place to cut a sentence that is too long
        self.soft_rank = 0
        self.at: int | None = None
        """Where the search goes on when more has come; None: at the beginning."""

    def go_on(self) -> int | None:
        """Where the sentence ends, or None when what has come does not decide; called again when more has."""
        try:
            return self._run_on()
        except _UndecidedError:
            return None

    def move(self, by: int) -> None:
        """The text before the sentence is gone."""
        self.begin += by
        self.at = self.at + by if self.at is not None else None
        self.soft = self.soft + by if self.soft else 0

    def _run_on(self) -> int | None:
        if self.at is None:  # the number or bullet of a list is no sentence
            self.at = self._list_mark(self.begin) or self.begin
        at = self.at
        before = self.weight, self.soft, self.soft_rank
        try:
            while at < len(self.text):
                if _PLAIN[0] <= (char := self.text[at]) <= _PLAIN[1] and char != "h" and self.weight < MAX_WEIGHT:
                    self.weight += 1  # most of them; nothing can end here
                    at += 1
                    continue
                self.at, before = at, (self.weight, self.soft, self.soft_rank)
                at, end = self._step(at)
                if end is not None:
                    return end
        except _UndecidedError:
            self.weight, self.soft, self.soft_rank = before
            raise
        self.at = at
        return None

    def _step(self, at: int) -> tuple[int, int | None]:
        """Look at the character at ``at``: where to go on, and where the sentence ends if it does."""
        if self.text[at] in "hH" and (url := self._url(at)):
            self.weight += 20
            return at + len(url), None
        char = self.text[at]
        self.weight += CJK_WEIGHT if char >= _FIRST_CJK and is_cjk(char) else 1
        if self.weight > MAX_WEIGHT:
            return at, self.soft or at
        if char in _STOPS:
            run = self._run(at)
            if self._ends(at, run):
                return at, at + len(run)
            self.weight += len(run) - 1
            return at + len(run), None
        if (char == "\n" and self._line_ends(at)) or self._clause(at):
            return at, at + 1
        return at + 1, None

    def peek(self, at: int) -> str:
        """The character at ``at``, "" behind the end of the text."""
        if at < len(self.text):
            return self.text[at]
        if self.final:
            return ""
        raise _UndecidedError

    def _list_mark(self, at: int) -> int | None:
        """Where the list mark at ``at`` ends; None when there is none."""
        if not self.final and _UNFINISHED_MARK.fullmatch(self.text, at):
            raise _UndecidedError
        found = _LIST_MARK.match(self.text, at)
        return found.end() if found else None

    def _url(self, at: int) -> str:
        """The URL that begins here, "" if none does."""
        head = self.text[at : at + 8].lower()
        if not head.startswith(_SCHEMES):
            if not self.final and len(head) < 8 and any(scheme.startswith(head) for scheme in _SCHEMES):
                raise _UndecidedError
            return ""
        found = URL.match(self.text, at)
        arrived = found.end() if found else at + head.index("//") + 2
        if not self.final and arrived == len(self.text):
            raise _UndecidedError
        return split_url(found)[0] if found else ""

    def _run(self, at: int) -> str:
        """The stop at ``at`` with the stops and closing quotes behind it."""
        end = at + 1
        while end - at < _MAX_RUN and (char := self.peek(end)) and char in _RUN:
            end += 1
        return self.text[at:end]

    def _ends(self, at: int, run: str) -> bool:
        """Whether the stops ``run`` at ``at`` end the sentence."""
        if not _WIDE.isdisjoint(run):
            return True
        after = self.peek(at + len(run))
        if "…" in run and is_cjk(after or "a"):
            return self.weight >= ELLIPSIS_WEIGHT
        if after and not after.isspace() and not is_cjk(after):
            return False
        following = self._following(at + len(run))
        if run.startswith(("..", "…")) and (self.weight < ELLIPSIS_WEIGHT or following.islower()):
            return False
        if following.islower() and any(char in _CLOSERS for char in run):
            return False
        return not (run[0] == "." and self._abbreviation(at, following))

    def _following(self, at: int) -> str:
        """The next character that is neither space nor opening quote; "\\n" for the end of the line."""
        return self.peek(_OPENERS.match(self.text, at).end())  # type: ignore[union-attr]

    def _abbreviation(self, at: int, following: str) -> bool:
        if following in ("", "\n") or at == self.begin or not self.text[at - 1].isalnum():
            return False
        found = _WORD_BEFORE.search(self.text, max(self.begin, at - 24), at)
        if not found:
            return False
        word = found.group()
        lower = word.lower()
        if lower in _CALENDAR or lower in _NUMBERED:
            return following.isdigit()
        if lower in _NEVER_END:
            return True
        if lower in _MAY_END or "." in word:
            return following.islower() or following.isdigit()
        return len(word) == 1 and word.isascii() and word.isupper() and word != "I"

    def _line_ends(self, at: int) -> bool:
        """Whether the end of line at ``at`` ends the sentence: not where an editor wrapped a paragraph."""
        begin = _BLANKS.match(self.text, at + 1).end()  # type: ignore[union-attr]
        char = self.peek(begin)
        line = self.text[max(self.begin, self.text.rfind("\n", self.begin, at) + 1) : at].strip()
        if not char or char == "\n" or not line or is_cjk(line[-1]) or is_cjk(char):
            return True
        if len(line) < WRAPPED_LINE and not char.islower():
            return True
        return self._list_mark(begin) is not None

    def _clause(self, at: int) -> bool:
        """Note places where a long sentence may be cut; whether the first one should end here."""
        char = self.text[at]
        if char.isspace() or (is_cjk(char) and not char.isalnum()) or char in _CLAUSES:
            after = self.peek(at + 1) if char in ",;:" else ""
            mark = char in _CLAUSES and (not after or after.isspace() or is_cjk(after))
            rank = 2 if mark and self.weight > MAX_WEIGHT * 2 // 5 else 1
            if char in ",;:" and not mark:
                return False
            if rank >= self.soft_rank:
                self.soft, self.soft_rank = at + 1, rank
            return mark and self.early and self.weight >= EARLY_WEIGHT and char not in "、–"
        return False


CODE_SAID = {"en": "Here is a piece of code.", "zh": "这里有一段代码。"}


class _FenceFilter:
    """Says of fenced blocks of code that they are there: nobody wants them read aloud, finished or not."""

    def __init__(self) -> None:
        self._held = ""
        self._closing = ""
        self._wide = False

    def feed(self, delta: str) -> str:
        text, self._held = self._held + delta, ""
        marks = len(text) - len(text.rstrip("`~"))
        text, self._held = text[: len(text) - marks], text[len(text) - marks :]
        return self._pass(text)

    def flush(self) -> str:
        text, self._held = self._held, ""
        out = self._pass(text)
        self._closing, self._wide = "", False
        return out

    def _pass(self, text: str) -> str:
        out, at = [], 0
        for found in _FENCE.finditer(text):
            if not self._closing:
                out.append(text[at : found.start()])
                self._wide = self._wide or any(map(is_cjk, out[-1]))
                out.append(f"\n\n{CODE_SAID['zh' if self._wide else 'en']}\n\n")
                self._closing = found.group()[0]
            elif found.group()[0] == self._closing:
                self._closing = ""
            at = found.end()
        if not self._closing:
            out.append(text[at:])
            self._wide = self._wide or any(map(is_cjk, text[at:]))
        return "".join(out)
