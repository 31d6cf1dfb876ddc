"""Where speech begins and ends in noise, an avatar that hears itself, and what listening costs. At file speed.

Noise: eight recordings from their first to their last sound, with 2 s of noise alone on both sides; for each kind
and level the worst distances of the told beginning and end, and how many were one utterance. Babble is eight other
voices at once, which are voices to the detector, too.
Echo: simulated rooms, delays of 20 to 1000 ms, 0 to -20 dB. CPU: of one thread, per second of sound.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

import numpy as np

from benchmarks._common import report
from configs.schema import Asr
from models.asr.background import Background
from models.asr.echo import WINDOW, EchoFilter
from models.asr.endpointing import Ended, Endpointer, Event, Started
from models.asr.vad import VoiceDetector
from models.text.sentences import SentenceCutter
from tests.support.echo import Sound, echo, noise, pcm, sentence, speech
from tests.support.hearing import RATE, names, recording

LIMIT_MS = {20: 150, 10: 300, 5: 300}
PERSON_MS = 500
VAD_PERCENT, ECHO_PERCENT = 2.0, 5.0
CUTTER_MB_S = 1.0

Row = tuple[str, str, str]


class Heard(NamedTuple):
    """What the endpointing told, with the position at which it did."""

    events: list[tuple[Event, int]]
    cpu_s: float


def hear(detector: VoiceDetector, near: Sound, far: Sound | None = None) -> Heard:
    """Play a microphone's sound; with ``far`` beside what is published."""
    sound, published = pcm(near), pcm(near if far is None else far)
    background, ends, echoes = Background(), Endpointer(Asr(), 60.0), EchoFilter()
    found: list[tuple[Event, int]] = []
    looked = 0
    began = time.thread_time()
    for number, probability in enumerate(detector.stream().feed(sound)):
        here = slice(number * WINDOW, (number + 1) * WINDOW)
        for near_by in background.window(float(probability), sound[here], speaking=ends.speaking):
            piece, looked = slice(looked, looked + WINDOW), looked + WINDOW
            certain = [near_by]
            if far is not None:
                certain = list(echoes.window(near_by, sound[piece], published[piece], speaking=ends.speaking))
            for one in certain:
                found += [(event, here.stop) for event in ends.window(one) if isinstance(event, Started | Ended)]
    return Heard(found, time.thread_time() - began)


def background(kind: str, samples: int, seed: int) -> Sound:
    """White, pink or babble, of RMS 1."""
    random = np.random.default_rng(seed)
    made = random.normal(size=samples)
    if kind == "pink":
        bins = np.fft.rfft(made)
        made = np.fft.irfft(bins / np.sqrt(np.maximum(1, np.arange(len(bins)))), samples)
    elif kind == "babble":
        made = np.zeros(samples)
        for _ in range(8):
            voices = np.concatenate([recording(name) for name in random.permutation(names("other"))])
            voice = np.resize(np.roll(voices, int(random.integers(len(voices)))), samples).astype(np.float64)
            made += voice / np.std(voice)
    return np.asarray(made / np.std(made))


def noise_rows(detector: VoiceDetector) -> list[Row]:
    """One per kind and level."""
    rows = []
    for kind in ("white", "pink", "babble"):
        for snr_db, limit_ms in LIMIT_MS.items():
            begins, ends, whole = [0], [0], 0
            for seed, name in enumerate(names("question")[::4]):
                said = recording(name).astype(np.float64)
                loud = np.flatnonzero(np.abs(said) > 500)
                first, last = 2 * RATE + loud[0], 2 * RATE + loud[-1]
                clean = np.concatenate([np.zeros(2 * RATE), said, np.zeros(2 * RATE)])
                level = np.sqrt(np.mean(clean[first:last] ** 2)) / 10 ** (snr_db / 20)
                told = hear(detector, (clean + background(kind, len(clean), seed) * level) / 2).events
                whole += [type(event) for event, _ in told] == [Started, Ended]
                begins.append(min((abs(e.at - first) for e, _ in told if isinstance(e, Started)), default=0))
                ends.append(min((abs(e.at - last) for e, _ in told if isinstance(e, Ended)), default=0))
            worst = f"{max(begins) * 1000 // RATE} / {max(ends) * 1000 // RATE} ms"
            bound = f"{limit_ms} ms, 8" if kind != "babble" else ""
            rows.append((f"{kind}, {snr_db} dB: worst beginning / end, one utterance", f"{worst}, {whole}", bound))
    return rows


def alone_starts(detector: VoiceDetector, kind: str) -> int:
    """Utterances in 60 s of it alone."""
    told = hear(detector, background(kind, 60 * RATE, 9) * 1500).events
    return sum(isinstance(event, Started) for event, _ in told)


def person_ms(detector: VoiceDetector, number: int, *, next_turn: bool) -> int | None:
    """How long after he begins a person is heard who talks over the avatar."""
    random = np.random.default_rng(500 + number)
    delay_ms, level_db = random.uniform(20, 1000), random.uniform(-20, 0)
    said, after_s = speech(8.5, seed=number + 1030), random.uniform(3, 5)
    if next_turn:
        pause = np.zeros(int(RATE * random.uniform(2, 4)))
        said, after_s = np.concatenate([speech(4, seed=number), pause, speech(5, seed=number + 50)]), 0.0
        after_s = len(said) / RATE - 4.5 + random.uniform(0.1, 1.2)
    heard = echo(said, delay_ms, level_db, seed=number)
    begin = int(RATE * (delay_ms / 1000 + after_s))
    person = sentence(number, heard)[: len(said) - begin]
    microphone = heard + noise(len(said))
    microphone[begin : begin + len(person)] += person
    told = [at - begin for event, at in hear(detector, microphone, said).events if isinstance(event, Started)]
    return told[0] * 1000 // RATE if told and told[0] >= 0 else None


def itself(detector: VoiceDetector, minutes: int) -> tuple[int, float]:
    """Utterances that an avatar hears of itself, and CPU per second."""
    found, cpu_s = 0, 0.0
    for number in range(2 * minutes):
        random = np.random.default_rng(number)
        said = speech(30, seed=900 + number)
        delay_ms, level_db, tail_s = random.uniform(20, 1000), random.uniform(-20, 0), random.uniform(0.15, 0.6)
        near = echo(said, delay_ms, level_db, reverberation_s=tail_s, seed=number)
        heard = hear(detector, near + noise(len(said), random.uniform(3, 30)), said)
        found, cpu_s = found + len(heard.events), cpu_s + heard.cpu_s
    return found, cpu_s / (60 * minutes)


def cutter_mb_s() -> float:
    """Text fed in pieces of 4 characters."""
    text = "This is a sentence of some words, and it has an end. " * 8000
    cutter = SentenceCutter()
    began = time.thread_time()
    for at in range(0, len(text), 4):
        cutter.feed(text[at : at + 4])
    return len(text) / 1e6 / (time.thread_time() - began)


def main() -> int:
    """Print the tables; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10, help="of the avatar hearing itself")
    parser.add_argument("--persons", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    detector = VoiceDetector()
    detector.load(lambda *_: None)
    rows = noise_rows(detector)
    for kind, bound in (("white", "0"), ("pink", "0"), ("babble", "")):
        rows.append((f"60 s of {kind} alone: utterances", str(alone_starts(detector, kind)), bound))
    own, echo_share = itself(detector, options.minutes)
    rows.append((f"{options.minutes} minutes of its own echo: utterances", str(own), "0"))
    for what, next_turn in (("in the middle", False), ("as its next turn begins", True)):
        waits = [person_ms(detector, number, next_turn=next_turn) for number in range(options.persons)]
        quick = sum(wait is not None and wait <= PERSON_MS for wait in waits)
        bound = "" if next_turn else f"{options.persons - 1}"
        rows.append((f"a person over it, {what}: heard within {PERSON_MS} ms", f"{quick} of {len(waits)}", bound))
    plain = hear(detector, speech(60, seed=1)).cpu_s / 60
    rows.append(("voice detection per listening session", f"{100 * plain:.1f} %", f"{VAD_PERCENT:g} %"))
    rows.append(("... with echo control", f"{100 * echo_share:.1f} %", f"{ECHO_PERCENT:g} %"))
    cut = cutter_mb_s()
    rows.append(("sentence cutter, pieces of 4 characters", f"{cut:.1f} MB/s", f"{CUTTER_MB_S:g} MB/s"))
    found = {"own": own, "vad_percent": 100 * plain, "echo_percent": 100 * echo_share, "cutter_mb_s": cut}
    report({**found, "rows": rows}, rows, options.json)
    good = own == 0 and 100 * plain <= VAD_PERCENT and 100 * echo_share <= ECHO_PERCENT and cut >= CUTTER_MB_S
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
