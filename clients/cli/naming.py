"""The id of a template whose file has a name, not an id: readable, and another one for another name."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from anyascii import anyascii

ID_MAX = 64
ID = re.compile(rf"[A-Za-z0-9_-]{{1,{ID_MAX}}}")
_BETWEEN = re.compile(r"[^A-Za-z0-9_]+")
_MARK = 6
"""Hex digits that tell apart names which read alike in ASCII."""


def is_id(text: str) -> bool:
    """Whether this can be a template's id."""
    return ID.fullmatch(text) is not None


def id_from_name(name: str) -> str:
    """An id for the file name ``name`` (without its extension); "" where nothing of it can be read in ASCII.

    Accents go: "José García" becomes "Jose-Garcia". Other scripts are spelled in Latin letters, where many names
    become one, so a digest of the name follows: "李明" becomes "LiMing-" and six hex digits. So it does where a
    name has to be cut. Names that differ in accents and signs alone still share an id, and so do two files of one
    name: whoever prepares them must not let one replace the other.
    """
    name = unicodedata.normalize("NFC", name)
    readable = _BETWEEN.sub("-", anyascii(name)).strip("-_")
    if not readable:
        return ""
    if all(map(_is_spelled_alike, name)) and len(readable) <= ID_MAX:
        return readable
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:_MARK]
    return f"{readable[: ID_MAX - _MARK - 1].rstrip('-_')}-{mark}"


def _is_spelled_alike(character: str) -> bool:
    """Whether its ASCII spelling reads the same: Latin letters with accents, and what divides words."""
    if character.isascii() or unicodedata.category(character)[0] in "PZ":
        return True
    return unicodedata.name(character, "").startswith("LATIN ")
