"""Streamed audio features beside those of the whole turn: error against context length, and what they cost.

    python -m benchmarks.features [--weights DIR] [--seconds 8] [--json]

Without ``--weights`` the encoder has random weights: the curve then says how the computation behaves, not how
a trained encoder does. Cosine similarity of each frame's window with the one-shot window of the same frame;
the first 4 and the last 4 frames are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks.machine import describe
from models.api import FPS, FRAME_SAMPLES, FRAME_US, FUTURE_US, PAST_US, SpeechWindow
from models.musetalk.audio import one_shot, windows
from models.musetalk.keys import build
from models.musetalk.stream import FeatureStream, quanta, to_16k
from models.musetalk.weights import load_converted
from models.musetalk.whisper import Encoder

PASTS = (10, 25, 50, 75, 100)
STEPS = (160, 320, 750, 1500)
EDGE = 4


def encoder(weights: str) -> tuple[Encoder, str]:
    """The encoder and where its numbers come from."""
    if weights:
        config, state = load_converted(Path(weights), "whisper")
        module = build("whisper", config)
        module.load_state_dict(state)
    else:
        from tests.engines.musetalk.checkpoints import tiny

        module = tiny("whisper", 2)
    assert isinstance(module, Encoder)
    return module, weights or "random weights"


def speech(seconds: float) -> np.ndarray:
    """s16 48 kHz: syllables of harmonics with noise, and pauses."""
    random = np.random.default_rng(1)
    t = np.arange(int(seconds * 48_000)) / 48_000
    voice = sum(np.sin(2 * np.pi * (130 + 20 * np.sin(4 * t)) * k * t) / k for k in range(1, 25))
    level = np.clip(np.sin(2 * np.pi * 3.1 * t) + 0.3, 0, 1) * (t % 1.7 < 1.4)
    return np.asarray(level * (0.15 * voice + 0.03 * random.standard_normal(len(t))) * 20_000, np.int16)


def segments(pcm: np.ndarray) -> list[SpeechWindow]:
    """The turn cut into quanta, each with the loudness known by then."""
    past, future = PAST_US * 48 // 1000, FUTURE_US * 48 // 1000
    padded = np.concatenate([np.zeros(past, np.int16), pcm, np.zeros(future + 8 * FRAME_SAMPLES, np.int16)])
    found = []
    for first in range(0, len(pcm) // FRAME_SAMPLES // 8 * 8, 8):
        at, begin = first * FRAME_SAMPLES, first * FRAME_US
        known = pcm[: at + 8 * FRAME_SAMPLES + future]
        found.append(
            SpeechWindow(
                template=None, frame0=first, frames=8, start=0,  # type: ignore[arg-type]
                pcm=padded[at : at + past + 8 * FRAME_SAMPLES + future], phonemes=[], words=[],
                peak=float(np.abs(known.astype(np.int32)).max()) / 32768, speech_from_us=-begin, speech_to_us=None,
            )
        )  # fmt: skip
    return found


def measure(weights: str, seconds: float) -> dict[str, object]:
    """The curve and the costs."""
    module, source = encoder(weights)
    pcm = speech(seconds)
    items = segments(pcm)
    begin = time.perf_counter()
    wanted = windows(one_shot(module, to_16k(pcm)), Fraction(FPS), 0, 8 * len(items))
    whole_s = (time.perf_counter() - begin) / -(-seconds // 30)
    curve = []
    for past, steps in [(p, 1500) for p in PASTS] + [(100, s) for s in STEPS[:-1]]:
        stream = FeatureStream(module, steps)
        times, parts = [], []
        for item in items:
            begin = time.perf_counter()
            parts.append(stream.windows(quanta(item, past)))
            times.append(time.perf_counter() - begin)
        cosine = F.cosine_similarity(torch.cat(parts).flatten(1), wanted.flatten(1))[EDGE:-EDGE]
        curve.append(
            {
                "past_ms": past * 20,
                "encoder_steps": steps,
                "cosine_mean": round(float(cosine.mean()), 4),
                "cosine_least": round(float(cosine.min()), 4),
                "quantum_to_one_30s_encode": round(statistics.median(times) / whole_s, 3),
            }
        )
    return {"encoder": source, "seconds": seconds, "one_30s_encode_s": round(whole_s, 3), "curve": curve}


def main() -> None:
    """Print the table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="weights_dir with a converted whisper")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.weights, options.seconds)
    if options.json:
        print(json.dumps({"machine": describe(), **found}))
        return
    print(f"{found['encoder']}; one encode of 30 s: {found['one_30s_encode_s']} s, 1 thread")
    curve = found["curve"]
    assert isinstance(curve, list)
    print(" past ms  steps  cosine mean   least   0.32 s / one 30 s encode")
    for row in curve:
        print(
            f"{row['past_ms']:8}{row['encoder_steps']:7}{row['cosine_mean']:13.4f}{row['cosine_least']:8.4f}"
            f"{row['quantum_to_one_30s_encode']:27.3f}"
        )
    print(describe())


if __name__ == "__main__":
    main()
