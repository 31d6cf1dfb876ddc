"""Tables of a written text as somebody would read them aloud: pure, standard library only."""

from __future__ import annotations

import re

LONGEST_LINE = 2000
"""Characters of a row that are waited for; a longer one is passed on as it is."""
_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_STOPS = ".!?。！？…"
_WIDE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


class TableReader:
    """Feed it text as it comes; it gives the text with each row of a table as a sentence.

    "| Name | Age |", "|---|---|", "| Anna | 5 |" become "Anna: Age 5." What comes out does not depend on how the
    text was split. A table's rows begin with "|"; without a line of dashes under the first one there is no table.
    """

    def __init__(self) -> None:
        self._line = ""
        """Of a line that may be a row; "" in other lines."""
        self._start = True
        self._first = ""
        """A row that is a table's head if dashes follow."""
        self._head: list[str] | None = None

    def feed(self, delta: str) -> str:
        """Take more text; returns what is known of it to be said."""
        out: list[str] = []
        for piece in delta.splitlines(keepends=True) if "|" in delta or self._line or self._first else [delta]:
            out.append(self._piece(piece))
        return "".join(out)

    def flush(self) -> str:
        """The text has ended: returns what was held back, and begins anew."""
        line, self._line = self._line, ""
        out = self._whole(line) if line.lstrip(" \t").startswith("|") else self._not_a_row(line)
        out += self._first
        self._first, self._head, self._start = "", None, True
        return out

    def _piece(self, piece: str) -> str:
        """Part of one line, or of several without any row."""
        if not self._start:
            self._start = piece.endswith("\n")
            return piece
        self._line += piece
        bare = self._line.lstrip(" \t")
        if not bare:
            return ""
        if bare.startswith("|") and len(self._line) <= LONGEST_LINE:
            if not self._line.endswith("\n"):
                return ""
            line, self._line = self._line, ""
            return self._whole(line)
        line, self._line = self._line, ""
        self._start = line.endswith("\n")
        return self._not_a_row(line)

    def _not_a_row(self, line: str) -> str:
        first, self._first = self._first, ""
        if line:
            self._head = None
        return first + line

    def _whole(self, line: str) -> str:
        """A complete row."""
        if self._head is not None:
            return _said(self._head, _cells(line)) + "\n" if not _RULE.fullmatch(line.rstrip("\r\n")) else ""
        if self._first and _RULE.fullmatch(line.rstrip("\r\n")):
            self._head, self._first = _cells(self._first), ""
            return ""
        first, self._first = self._first, line
        return first


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")]


def _said(head: list[str], cells: list[str]) -> str:
    """A row as a sentence: its first cell, then each other one behind its column's name."""
    wide = _WIDE.search("".join([*head, *cells])) is not None
    colon, comma, stop = ("：", "，", "。") if wide else (": ", ", ", ".")
    named = [
        f"{name} {cell}".strip() if not wide else f"{name}{cell}"
        for name, cell in zip([*head[1:], *[""] * len(cells)], cells[1:], strict=False)
        if cell
    ]
    text = colon.join(part for part in (cells[0], comma.join(named)) if part)
    return text if not text or text[-1] in _STOPS else text + stop
