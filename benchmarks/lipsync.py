"""The CPU lip-sync engine: what a frame costs, and what a viewer sees on the finished MP4.

    python -m benchmarks.lipsync [--state DIR] [--json]

The mouth is measured by the landmark model of ``models/landmarks`` (fetched once), which knows nothing of the
drawing. The films are those of ``tests/engines/test_face_on_mp4.py``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from benchmarks.machine import describe
from models.templates.builtin import BUILTIN, ensure_builtin
from models.templates.store import Template
from tests.support.face import (
    NEAR_REST,
    SPOKEN,
    VOWELS,
    Speech,
    Studio,
    changes,
    closures,
    correlations,
    falls_ms,
    psnr,
    studio_of,
    vowel_frames,
)

IDLE = 2
STILL_FRAMES = 8
ROUNDS = 3
"""The cheapest of so many runs counts: other programs on the machine only add."""


class Row(NamedTuple):
    """One line of the table."""

    what: str
    values: dict[str, str]
    wanted: str


def seen(studio: Studio, language: str) -> dict[str, str]:
    """What the film of one language shows, by the name of the row."""
    film = studio.film(studio.say(SPOKEN[language], language), idle=IDLE)
    face = studio.measure_film(film)
    gap, width = (float(np.median(v[:STILL_FRAMES])) for v in (face.gap, face.width))
    rest = gap + NEAR_REST * width
    frames = {v: vowel_frames(film, sounds) for v, sounds in VOWELS[language].items()}
    gaps = {v: float(face.gap[at].mean()) for v, at in frames.items()}
    widths = {v: float(face.width[at].mean()) for v, at in frames.items()}
    lips, falls, by_lag = closures(film, face), falls_ms(film, face, rest), correlations(film, face)
    joints = np.asarray(film.joints)
    quality, shown, source = psnr(film), changes(film.luma), changes(film.source_luma)
    own = changes(studio.template.i420[:, : studio.template.height]).max()
    ends = [k for e in (film.first, film.first + film.spoken) for k in range(e - 2, e + 1)]
    return {
        "lip gap at rest; on m, b, p": f"{gap:.1f}; {lips.mean():.1f} px",
        "lip gap on a, e, i, u": ", ".join(f"{gaps[v]:.1f}" for v in "aeiu") + " px",
        "smallest step of these": f"{_least_step(gaps, float(lips.mean())):.0%} of a",
        "width of i over width of u": f"{widths['i'] / widths['u']:.2f}",
        "closed on m, b, p": f"{(lips <= rest).sum()} of {len(lips)}",
        "from silence to rest": f"{np.mean(falls):.0f} ms, at most {max(falls):.0f} ms",
        "gap and loudness": f"r {by_lag[0]:.2f}, best at {max(by_lag, key=lambda lag: by_lag[lag]):+d}",
        "PSNR": f"{quality.mean():.1f} dB",
        "PSNR step at joints, largest": f"{np.abs(quality[joints] - quality[joints - 1]).max():.2f} dB",
        "change of the picture added at joints": f"{(shown - source)[joints - 1].mean():.2f} levels",
        "change at idle-speech-idle": f"{source[ends].max() / own:.2f} of the template's largest",
        "bit rate, picture and sound": f"{sum(film.sizes) * 8 * 25 / film.frames / 1e6:.2f} Mbit/s",
    }


def _least_step(gaps: dict[str, float], closed: float) -> float:
    order = {**gaps, "closed": closed}
    pairs = (("a", "e"), ("e", "i"), ("e", "u"), ("i", "closed"), ("u", "closed"))
    return min(order[wider] - order[closer] for wider, closer in pairs) / gaps["a"]


WANTED = {
    "smallest step of these": ">= 15 % of a",
    "width of i over width of u": ">= 1.15",
    "closed on m, b, p": ">= 90 %",
    "from silence to rest": "<= 120 ms",
    "gap and loudness": "r >= 0.5, lag 0 +- 1",
    "PSNR step at joints, largest": "<= 1 dB",
    "change at idle-speech-idle": "<= 1.5",
}


def cost(studio: Studio, speech: Speech) -> float:
    """CPU milliseconds per frame, planning and rendering."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        crops, _ = studio.perform(speech, 0)
        best = min(best, (time.thread_time() - began) * 1000 / len(crops))
    return best


def table(rows: list[Row], columns: list[str]) -> Iterator[str]:
    """Markdown."""
    yield "| | " + " | ".join(columns) + " | wanted |"
    yield "|---|" + "---|" * (len(columns) + 1)
    for row in rows:
        yield f"| {row.what} | " + " | ".join(row.values[c] for c in columns) + f" | {row.wanted} |"


def built_in(state: str, name: str) -> Studio:
    made = ensure_builtin(state, name, lambda *_: None, threading.Event())
    return studio_of(str(made.path), made.hash)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", help="state directory; a temporary one by default")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    languages = list(SPOKEN)
    with tempfile.TemporaryDirectory() as folder:
        costs: dict[str, Any] = {}
        for name in BUILTIN:
            studio = built_in(arguments.state or folder, name)
            speech = studio.say(SPOKEN["en"], "en")
            costs[name] = {
                "size": _size(studio.template),
                "with phonemes": round(cost(studio, speech), 2),
                "from audio alone": round(cost(studio, Speech(speech.pcm, [])), 2),
            }
            studio.close()
        studio = built_in(arguments.state or folder, "default")
        found = {language: seen(studio, language) for language in languages}
        studio.close()
    if arguments.json:
        told = {"machine": describe(), "cpu_ms_per_frame": costs, "seen": found}
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    rows = [Row(what, {v: found[v][what] for v in languages}, WANTED.get(what, "")) for what in found["en"]]
    print(*table(rows, languages), "", sep="\n")
    for name, values in costs.items():
        print(
            f"{name} {values.pop('size')}:", ", ".join(f"{v} ms {k}" for k, v in values.items()), "(CPU per frame)"
        )
    print(describe())


def _size(template: Template) -> str:
    return f"{template.width}x{template.height}"


if __name__ == "__main__":
    main()
