"""Where hibari's speech sounds lie in its audio: pure arithmetic on what the model says of itself.

The model works in steps of 25 ms and gives every character of its phoneme string a number of them. What is heard
comes a little before its place in that count, by as much as differs from sound to sound: the borders are fitted to
the audio, and pauses are the silences in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tts.hibari_align import borders, features, kind_of
from models.tts.speech import SILENCE

HOP = 300
"""Samples of one hop of 12.5 ms at 24 kHz: half a step."""
AHEAD = 4
"""Hops by which the sound precedes its place in the count."""
NEAR = 8
"""Hops between a counted pause and the silence that it is."""
SHORTEST_PAUSE = 4
SHORTEST_SOUND = 2
QUIET = 1 / 45
"""Share of the speech's level below which a hop is silence."""
LEAD = 4
"""Hops of silence kept before the first sound: 50 ms."""

SOUNDS = {
    "A": "eI", "I": "aI", "O": "oU", "Q": "@U", "W": "aU", "Y": "OI", "ᵊ": "@", "a": "a", "æ": "a", "ɑ": "A:",
    "ɐ": "V", "ɒ": "0", "ɔ": "O:", "ə": "@", "ɚ": "3", "ɛ": "E", "e": "e", "ɜ": "3:", "ɪ": "I", "ᵻ": "I",
    "i": "i:", "u": "u:", "ʊ": "U", "ʌ": "V", "o": "o", "y": "y", "b": "b", "d": "d", "f": "f", "h": "h", "j": "j",
    "k": "k", "l": "l", "m": "m", "n": "n", "p": "p", "s": "s", "t": "t", "v": "v", "w": "w", "z": "z", "ɡ": "g",
    "ŋ": "N", "ɹ": "r", "r": "r", "ɾ": "t", "T": "t", "ʔ": "t", "ʃ": "S", "ʒ": "Z", "ʧ": "tS", "ʤ": "dZ", "θ": "T",
    "ð": "D", "x": "x", "ç": "C",
}  # fmt: skip
"""The model's sounds as espeak-ng's mnemonics, which the lips know."""
STRESS = {"ˈ": "'", "ˌ": ","}
LENGTHENED = "ː\u0303ʰʲ"
PAUSES = ';:,.!?—…"()“”'


@dataclass(slots=True)
class Sound:
    """A speech sound or pause in hops of 12.5 ms."""

    symbol: str
    token: int
    """Which token of the text it belongs to; -1: a pause."""
    t0: int
    t1: int


def lay_out(characters: Sequence[tuple[str, int]], steps: Sequence[int]) -> list[Sound]:
    """The sounds of a phoneme string, without gaps from 0 to the end of the audio.

    Args:
        characters: the characters that the model was given, each with its token.
        steps: the model's count for every one of them, and for the rest before and after them.
    """
    made: list[Sound] = [Sound(SILENCE, -1, 0, max(2 * steps[0] - AHEAD, 0))]
    at, stress = made[0].t1, ""
    for (char, token), count in zip(characters, steps[1:-1], strict=True):
        hops = 2 * count
        if char in STRESS:
            stress = STRESS[char]
            made.append(Sound(stress, token, at, at + hops))  # the vowel that follows takes it over
        elif char == " ":
            made[-1].t1 = at + count
            made.append(Sound("", token, at + count, at + hops))
        elif char in LENGTHENED:
            made[-1].t1 += hops
        elif char in PAUSES:
            made.append(Sound(SILENCE, -1, at, at + hops))
        else:
            symbol = SOUNDS.get(char, "")
            made.append(Sound(stress + symbol if symbol else "", token, at, at + hops))
            stress = ""
        at += hops
    made.append(Sound(SILENCE, -1, at, 2 * sum(steps)))
    return _merged(made)


def fit(sounds: list[Sound], audio: NDArray[np.float32]) -> None:
    """Move the borders between sounds to where they are heard."""
    if len(sounds) > 1:
        ends = borders([kind_of(s.symbol) for s in sounds], [s.t1 for s in sounds[:-1]], features(audio))
        for sound, following, end in zip(sounds, sounds[1:], ends, strict=False):
            sound.t1 = following.t0 = end


def _merged(made: list[Sound]) -> list[Sound]:
    """What has no sound of its own goes to what follows; pauses side by side are one."""
    kept: list[Sound] = []
    begin: int | None = None
    for sound in made:
        if sound.symbol in ("", *STRESS.values()):
            begin = sound.t0 if begin is None else begin
            continue
        if begin is not None:
            sound.t0, begin = begin, None
        if kept and sound.symbol == SILENCE == kept[-1].symbol:
            kept[-1].t1 = sound.t1
        elif sound.t1 > sound.t0:
            kept.append(sound)
    return kept


def levels(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS of every hop."""
    return np.asarray(np.sqrt((audio.reshape(-1, HOP).astype(np.float64) ** 2).mean(axis=1)))


def silences(level: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Runs ``[begin, end)`` of silent hops."""
    quiet = level < QUIET * float(np.sqrt((level**2).mean()))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def settle(sounds: list[Sound], runs: Sequence[tuple[int, int]]) -> list[Sound]:
    """Move every pause to the silence near it; one that is not heard is dropped.

    The first and the last pause are what is silent at the ends, whatever the count says.
    """
    pauses = [sound for sound in sounds if sound.symbol == SILENCE]
    for pause in pauses:
        k = next(i for i, sound in enumerate(sounds) if sound is pause)
        first, last = k == 0, k == len(sounds) - 1
        low = 0 if first else sounds[k - 1].t0 + SHORTEST_SOUND
        high = pause.t1 if last else sounds[k + 1].t1 - SHORTEST_SOUND
        found = [
            (max(a, low), min(b, high))
            for a, b in runs
            if (a == 0 if first else b >= pause.t1 if last else a < pause.t1 + NEAR and b > pause.t0 - NEAR)
        ]
        begin, end = max(found, key=lambda run: run[1] - run[0], default=(0, 0))
        if end - begin < SHORTEST_PAUSE:
            del sounds[k]
            begin = end = pause.t0 if first else pause.t1
        else:
            pause.t0, pause.t1 = begin, end
        before, after = k - 1, k if end == begin else k + 1
        if before >= 0:
            sounds[before].t1 = max(begin, sounds[before].t0)
        if after < len(sounds):
            sounds[after].t0 = min(end, sounds[after].t1)
    return [sound for sound in sounds if sound.t1 > sound.t0]
