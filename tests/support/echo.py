"""An avatar that talks in a room with a microphone, and a person who talks over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.hearing import RATE, names, recording

Sound = NDArray[np.float64]
AVATAR, PERSON = ("rms", "slt"), ("awb", "kal16")
"""Voices, so that nobody says with the same voice what another has just said."""


def recordings(voices: tuple[str, ...]) -> list[str]:
    """The sentences of these voices."""
    return [name for name in [*names("question"), *names("other")] if any(voice in name for voice in voices)]


def speech(seconds: float, seed: int) -> Sound:
    """The avatar's sentences, with pauses."""
    random = np.random.default_rng(seed)
    pool, count = recordings(AVATAR), 0
    parts: list[NDArray[Any]] = [np.zeros(RATE // 2)]
    while count < seconds * RATE:
        parts += [recording(pool[random.integers(len(pool))]), np.zeros(int(RATE * random.uniform(0.1, 0.6)))]
        count = sum(len(part) for part in parts)
    return np.concatenate(parts)[: int(seconds * RATE)].astype(np.float64)


def loudness(sound: Sound) -> float:
    """RMS of what is no pause."""
    return float(np.sqrt(np.mean(sound[np.abs(sound) > 200] ** 2)))


def echo(sound: Sound, delay_ms: float, level_db: float, *, reverberation_s: float = 0.3, seed: int = 0) -> Sound:
    """What the microphone hears of it, in a room."""
    random = np.random.default_rng(seed)
    response = random.normal(size=int(RATE * reverberation_s)) * 0.35
    response *= 10 ** (-3 * np.arange(len(response)) / len(response))
    response[0] = 1.0
    response[random.integers(20, 800, 6)] += random.uniform(-0.5, 0.5, 6)
    late = np.concatenate([np.zeros(int(delay_ms * RATE / 1000)), np.convolve(sound, response)])[: len(sound)]
    return np.asarray(late / loudness(late) * loudness(sound) * 10 ** (level_db / 20))


def noise(samples: int, level: float = 10.0, seed: int = 1) -> Sound:
    """Of a quiet room."""
    return np.random.default_rng(seed).normal(0.0, level, samples)


def sentence(number: int, like: Sound) -> Sound:
    """What a person says, as loud as this, from its first sound on."""
    pool = recordings(PERSON)
    said = recording(pool[number * 7 % len(pool)]).astype(np.float64)
    said *= loudness(like) / loudness(said)
    return np.asarray(said[np.flatnonzero(np.abs(said) > 0.1 * np.abs(said).max())[0] :])


def pcm(sound: Sound) -> NDArray[np.int16]:
    """s16."""
    return sound.clip(-32768, 32767).astype(np.int16)
