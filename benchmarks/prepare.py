"""How long a photo and a film take to become templates; what a 720p template adds to a process.

    python -m benchmarks.prepare

"cold" includes the start of Python and loading the models; "warm" is what a running prepare stage adds. The photo
and the film are the painted portrait, so nothing but the face models is fetched (once, into --weights).
Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from models.templates.make import prepare_source
from models.templates.work import Source, Workplace

U8 = NDArray[np.uint8]
FILM_S = 10
COLD_S, WARM_S, FILM_MOST_S, ADDED_MB = 4.0, 2.0, 30.0, 60.0
"""Bounds: of a photo, of the film, and of what a template adds to a process."""
ONE = """
import os, sys, threading
from models.templates.make import prepare_source
from models.templates.work import Source, Workplace
place = Workplace(sys.argv[1], sys.argv[2], roots=[os.path.dirname(sys.argv[4])], threads=int(sys.argv[5]))
prepare_source(Source(sys.argv[3], path=sys.argv[4]), place, lambda *_: None, threading.Event())
"""


def portrait(size: tuple[int, int]) -> U8:
    """The painted portrait, scaled and with room at its sides: u8 BGR of width and height ``size``."""
    from models.portrait.motion import Animator
    from models.portrait.painting import load
    from models.templates.builtin import BUILTIN, LOOP

    artwork = BUILTIN["default"]
    picture = Animator(load("default", artwork.size, artwork.origin), LOOP).frame(0)
    side = min(size)
    square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    border = (top, size[1] - side - top, left, size[0] - side - left)
    return np.asarray(cv2.copyMakeBorder(square, *border, cv2.BORDER_REFLECT_101), np.uint8)


def film(picture: U8, seconds: int) -> bytes:
    """A hand-held film of a picture."""
    height, width = picture.shape[:2]
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(25 * seconds):
            t = 2 * np.pi * n / 75
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 1.5 * np.sin(0.8 * t), 1.04)
            matrix[:, 2] += (9 * np.sin(t), 5 * np.sin(1.7 * t))
            shown = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            frame = av.VideoFrame.from_ndarray(np.asarray(shown, np.uint8), format="bgr24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target.getvalue()


def cold(folder: Path, weights: str, name: str, source: Path, threads: int) -> float:
    """Seconds of a process of its own, from nothing to the template."""
    command = [sys.executable, "-c", ONE, str(folder), weights, name, str(source), str(threads)]
    began = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def warm(folder: Path, weights: str, name: str, data: bytes, threads: int) -> tuple[float, float]:
    """Seconds of the second preparation in this process, and of asking for the same again."""
    place = Workplace(str(folder), weights, threads=threads)
    source = Source(name, data=data)
    prepare_source(source, place, lambda *_: None, threading.Event())
    force = Source(name, data=data, force=True)
    made = prepare_source(force, place, lambda *_: None, threading.Event())
    again = prepare_source(source, place, lambda *_: None, threading.Event())
    return made.seconds, again.seconds


def added_mb(stage: str, template: Path) -> tuple[float, float]:
    """What showing a loop leaves in a process of ``stage``, MB beyond the mapping; and the most meanwhile."""
    command = [sys.executable, "-m", "benchmarks._template_memory", stage, str(template)]
    after, most = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(after), float(most)


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=os.path.expanduser("~/.cache/musecast-tests/weights"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    print(describe())
    taken: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="musecast-bench-") as temporary:
        folder = Path(temporary)
        for label, size in (("512x512", (512, 512)), ("1280x720", (1280, 720))):
            data = bytes(cv2.imencode(".jpg", portrait(size))[1].tobytes())
            source = folder / "photo.jpg"
            source.write_bytes(data)
            cold_s = cold(folder, options.weights, f"cold-{size[0]}", source, options.threads)
            warm_s, again_s = warm(folder, options.weights, f"warm-{size[0]}", data, options.threads)
            print(f"photo {label:<9} cold {cold_s:5.2f} s   warm {warm_s:5.2f} s   again {again_s:5.2f} s")
            taken += [(cold_s, COLD_S), (warm_s, WARM_S)]
        source = folder / "film.mp4"
        source.write_bytes(film(portrait((1280, 720)), FILM_S))
        film_s = cold(folder, options.weights, "film", source, options.threads)
        print(f"film  1280x720, {FILM_S} s  cold {film_s:5.2f} s")
        taken.append((film_s, FILM_MOST_S))
        template = folder / "templates" / "film"
        size_mb = sum(file.stat().st_size for file in template.rglob("*") if file.is_file()) / 1e6
        print(f"film  on disk {size_mb:.0f} MB, mapped and shared")
        for stage in ("lipsync", "encode"):
            after, most = added_mb(stage, template)
            print(f"film  adds to {stage:<7} {after:5.1f} MB; {most:.1f} MB in the middle of a segment")
            taken.append((most, ADDED_MB))
    print(f"bounds: photo {COLD_S:g} and {WARM_S:g} s, film {FILM_MOST_S:g} s, {ADDED_MB:g} MB")
    return 0 if all(value <= bound for value, bound in taken) else 1


if __name__ == "__main__":
    sys.exit(main())
