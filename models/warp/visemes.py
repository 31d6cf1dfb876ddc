"""What the mouth does for each speech sound, by espeak-ng's phoneme mnemonics (English, Mandarin, others).

A phoneme mnemonic is read as a sequence of sounds ("tS;h" is an aspirated palatal affricate, "iou" three
vowels), after stress marks, length marks and tone digits are dropped; unknown letters are passed over, so a
mnemonic of another language still moves the mouth by the letters it shares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Sound(NamedTuple):
    """The mouth's target for one sound, and how firmly it insists on it.

    Lengths are in units of the mouth's half width; the others are 0 to 1.
    """

    open: float
    """Gap between the lips at the middle."""
    wide: float = 0.0
    """Corners drawn apart."""
    round: float = 0.0
    """Lips drawn together and forward."""
    teeth: float = 0.0
    """Rows of teeth brought together."""
    tongue: float = 0.0
    """Tip of the tongue raised to the teeth."""
    closed: float = 0.0
    """Lips pressed together."""
    bite: float = 0.0
    """Lower lip under the upper teeth."""
    between: float = 0.0
    """Tip of the tongue between the rows of teeth."""
    firm: float = 1.0
    """Weight of the gap against the neighbours' gaps."""
    shape: float = 1.0
    """Weight of width and rounding against the neighbours'."""
    burst: bool = False
    """Whether the sound is a release: what is closed is closed before it."""


_VOWELS = {
    "a": Sound(1.0),
    "A": Sound(1.0),
    "0": Sound(0.62, 0.0, 0.25),
    "V": Sound(0.50, 0.05),
    "@": Sound(0.32, 0.05, firm=0.8, shape=0.5),
    "3": Sound(0.32, 0.0, 0.35),
    "E": Sound(0.64, 0.40),
    "e": Sound(0.48, 0.50),
    "I": Sound(0.30, 0.50),
    "i": Sound(0.28, 0.85),
    "y": Sound(0.10, 0.0, 0.90),
    "Y": Sound(0.17, 0.0, 0.75),
    "u": Sound(0.095, 0.0, 1.00),
    "U": Sound(0.20, 0.0, 0.70),
    "o": Sound(0.52, 0.0, 0.85),
    "O": Sound(0.55, 0.0, 0.60),
    "W": Sound(0.40, 0.0, 0.60),
    "&": Sound(0.56, 0.35),
}
_CONSONANTS = {
    "p": Sound(0.0, closed=1.0, firm=4.0, shape=0.3, burst=True),
    "b": Sound(0.0, closed=1.0, firm=4.0, shape=0.3, burst=True),
    "m": Sound(0.0, closed=1.0, firm=4.0, shape=0.3),
    "f": Sound(0.12, 0.10, bite=1.0, firm=3.0, shape=0.8),
    "v": Sound(0.12, 0.10, bite=1.0, firm=3.0, shape=0.8),
    "T": Sound(0.26, 0.10, tongue=1.0, between=1.0, firm=2.4, shape=0.5),
    "D": Sound(0.22, 0.10, tongue=0.9, between=0.9, firm=1.8, shape=0.5),
    "s": Sound(0.15, 0.40, teeth=1.0, firm=2.2, shape=0.8),
    "z": Sound(0.15, 0.40, teeth=1.0, firm=2.0, shape=0.8),
    "S": Sound(0.20, 0.0, 0.60, teeth=1.0, firm=2.2, shape=1.0),
    "Z": Sound(0.20, 0.0, 0.60, teeth=1.0, firm=2.0, shape=1.0),
    "S;": Sound(0.17, 0.50, teeth=1.0, firm=2.2, shape=0.8),
    "s.": Sound(0.19, 0.0, 0.35, teeth=1.0, firm=2.2, shape=0.8),
    "z.": Sound(0.20, 0.0, 0.40, teeth=0.8, firm=1.8, shape=0.8),
    "t": Sound(0.18, 0.10, tongue=0.7, teeth=0.3, firm=1.4, shape=0.25),
    "d": Sound(0.18, 0.10, tongue=0.7, teeth=0.3, firm=1.3, shape=0.25),
    "n": Sound(0.20, 0.10, tongue=0.7, firm=1.1, shape=0.25),
    "l": Sound(0.42, 0.05, tongue=1.0, firm=1.8, shape=0.25),
    "r": Sound(0.22, 0.0, 0.45, firm=1.1, shape=0.9),
    "w": Sound(0.10, 0.0, 1.00, firm=2.0, shape=1.4),
    "j": Sound(0.21, 0.60, firm=1.0, shape=0.8),
    "k": Sound(0.26, firm=0.5, shape=0.1),
    "g": Sound(0.26, firm=0.5, shape=0.1),
    "N": Sound(0.24, firm=0.6, shape=0.1),
    "x": Sound(0.28, firm=0.5, shape=0.1),
    "X": Sound(0.28, firm=0.5, shape=0.1),
    "h": Sound(0.30, firm=0.4, shape=0.05),
    "q": Sound(0.28, firm=0.5, shape=0.1),
    "c": Sound(0.22, 0.40, teeth=0.6, firm=1.0, shape=0.5),
    "C": Sound(0.20, 0.40, teeth=0.8, firm=1.4, shape=0.5),
    "J": Sound(0.22, 0.40, teeth=0.5, firm=1.0, shape=0.5),
    "B": Sound(0.06, closed=0.6, firm=3.0, shape=0.3),
}
_SPECIAL = {
    # Mandarin's two "apical" vowels, as in zhi and zi.
    "i.": Sound(0.20, 0.15, teeth=0.8, firm=1.4),
    "i[": Sound(0.17, 0.55, teeth=0.9, firm=1.4),
    "o-": Sound(0.66, 0.25),  # Mandarin e, as in "he": back but not rounded
    "aa": Sound(0.95, 0.15),
    "A:": Sound(1.02),
    "@L": Sound(0.26, 0.0, 0.15, tongue=0.7, shape=0.4),
}
SOUNDS: dict[str, Sound] = {**_VOWELS, **_CONSONANTS, **_SPECIAL}
_IGNORED = frozenset("',%=:|!-~^\"`*#2456789_;.[]")
_FRONTED = {"tS": "S", "dZ": "Z", "ts": "s", "dz": "z", "ph": "p", "kh": "k", "th": "t"}
"""Affricates look like their fricative; aspiration is invisible."""


@lru_cache(maxsize=1024)
def sounds(mnemonic: str) -> tuple[Sound, ...]:
    """The sounds of one phoneme in order; empty for a pause or a mark without a sound."""
    text = mnemonic.strip()
    if text.startswith("_"):
        return ()
    found: list[Sound] = []
    at = 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair in _FRONTED:
            at += 1 if pair[0] in "td" and pair[1] in "sSzZ" else 2
            if pair[1] == "h":
                found.append(SOUNDS[_FRONTED[pair]])
        elif pair in SOUNDS and len(pair) == 2:
            found.append(SOUNDS[pair])
            at += 2
        elif text[at] in SOUNDS:
            aspirated = text[at] == "h" and bool(found)
            if not aspirated:
                found.append(SOUNDS[text[at]])
            at += 1
        else:
            at += 1
    return tuple(found)
