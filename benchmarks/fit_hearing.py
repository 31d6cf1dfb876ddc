"""Fit the map of ``models/warp/hearing.py``: ``python -m benchmarks.fit_hearing > models/warp/hearing_table.py``

espeak-ng speaks sentences of five languages in ten voices; random filters, loudness and noise make the
sound less like one synthesizer; the target of every frame is the mouth that the phonemes give. One variant in
five and one language are held out, and the correlation on them is reported on stderr.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.schema import Config
from models.api import FRAME_SAMPLES, FRAME_US, SAMPLE_RATE, Span
from models.tts.espeak import EspeakSynthesizer
from models.warp import track
from models.warp.hearing import features

F64 = NDArray[np.float64]
TEXTS = {
    "en-us": (
        "The quick brown fox jumps over the lazy dog while five wizards box quietly.",
        "She had your dark suit in greasy wash water all year.",
        "Please open the blue book and move the lamp above the table.",
        "My mother bought a bunch of purple flowers from the shop at noon.",
        "Why would you choose to go there in the pouring rain?",
        "People who believe in peace should sing together every evening.",
        "Both of them have five thousand sheep, and a few goats too.",
        "Oh, what a beautiful view over the valley. I love it.",
    ),
    "cmn": (
        "今天天气很好，我们去公园散步吧。",
        "爸爸妈妈都喜欢喝绿茶，吃苹果。",
        "请问火车站怎么走？前面左拐就是。",
        "小朋友们在门口等着老师，不要怕。",
        "我买了五本书，花了一百块钱。",
        "夏天的雨，冬天的雪，都很美。",
    ),
    "de": (
        "Guten Morgen, wie geht es Ihnen heute? Das Buch liegt auf dem Tisch.",
        "Wir möchten gern über die schöne Brücke fahren und Blumen pflücken.",
    ),
    "es": ("Buenos días, me gustaría comprar un billete para Madrid por favor.",),
    "fr-fr": (
        "Bonjour tout le monde, je voudrais un café au lait et une baguette.",
        "Le petit oiseau bleu vole au-dessus de la forêt profonde.",
    ),
}
VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m3", "+m5", "+m7")
HELD_OUT_VARIANTS, HELD_OUT_LANGUAGE = ("+f3", "+m3"), "fr-fr"
NAMES = ("open", "wide", "round", "teeth", "closed")
RIDGE = 30.0
PAD = 2 * SAMPLE_RATE


class Row(NamedTuple):
    features: F64
    target: F64
    held_out: bool


def rows(random: np.random.Generator) -> Iterator[Row]:
    engine = EspeakSynthesizer(Config())
    engine.load(lambda *_: None)
    for language, texts in TEXTS.items():
        for variant in VARIANTS:
            held_out = language == HELD_OUT_LANGUAGE or variant in HELD_OUT_VARIANTS
            for text in texts:
                chunks = list(engine.speak(text, language + variant, 0, threading.Event()))
                pcm = np.concatenate([chunk.pcm for chunk in chunks])
                spans = [span for chunk in chunks for span in chunk.phonemes]
                for x, y in frames(disguised(pcm, random), spans):
                    yield Row(x, y, held_out)
    engine.close()


def disguised(pcm: NDArray[np.int16], random: np.random.Generator) -> F64:
    """Another loudness, a tilted and bent spectrum, some noise."""
    sound = pcm * random.uniform(0.3, 1.2)
    hertz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE) + 30
    tilt = 3 * random.normal(0, 0.35) * np.log2(hertz / 1000)
    bend = random.normal(0, 4) * np.exp(-((np.log2(hertz / random.uniform(200, 6000)) / 0.8) ** 2))
    sound = np.fft.irfft(np.fft.rfft(sound) * 10 ** ((tilt + bend) / 20), len(sound))
    return np.asarray(sound + random.normal(0, 10 ** random.uniform(0, 1.6), len(sound)))


def frames(sound: F64, spans: list[Span]) -> Iterator[tuple[F64, F64]]:
    padded = np.concatenate([np.zeros(PAD), sound, np.zeros(PAD)])
    for k in range(len(sound) // FRAME_SAMPLES):
        begin, centre = k * FRAME_US, PAD + k * FRAME_SAMPLES + FRAME_SAMPLES // 2
        near = [Span(p.text, p.t0_us - begin, p.t1_us - begin) for p in spans]
        said, presence = track._from_phonemes(near)
        if presence < 0.5:
            continue
        recent = padded[centre - 151 * track.BLOCK : centre + 10 * track.BLOCK].reshape(-1, track.BLOCK)
        loudest = float(np.sqrt((recent**2).mean(axis=1)).max()) / 32768
        free = (1 - said.closed) * (1 - 0.75 * said.bite)
        target = np.array([said.open * free, said.wide, said.round, said.teeth, said.closed])
        yield features(padded, centre, loudest), target


def main() -> None:
    found = list(rows(np.random.default_rng(1)))
    x, y = np.stack([r.features for r in found]), np.stack([r.target for r in found])
    test = np.array([r.held_out for r in found])
    a = x[~test]
    weights = np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ y[~test])
    guess = x[test] @ weights
    for k, name in enumerate(NAMES):
        print(name, "r =", round(float(np.corrcoef(guess[:, k], y[test][:, k])[0, 1]), 2), file=sys.stderr)
    print('"""Made by ``python -m benchmarks.fit_hearing``; columns: ' + ", ".join(NAMES) + '."""\n')
    print("TABLE = (")
    for row in weights:
        print("    (" + ", ".join(f"{v:.4f}" for v in row) + "),")
    print(")")


if __name__ == "__main__":
    main()
