"""The encode stage in one process: CPU per frame, bytes and quality, of a portrait and of a hand-held 720p film.

    python -m benchmarks.encode [--state DIR] [--rounds 3] [--kbps 4000] [--json]

Speech of some seconds, cut into segments as in service, with lip-sync's own crops. CPU time of the thread; of
several rounds the cheapest counts. The film is that of ``benchmarks.prepare``: its portrait in 1280x720, which
preparation makes 1266x712 because of the size of the face. ``--state`` keeps both templates for the next run.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._common import report
from benchmarks.prepare import FILM_S, film, portrait
from broker.ipc.messages import EncodeItem, TemplateRef
from configs.schema import Config, Video
from models.api import FPS, FRAME_SAMPLES
from models.media import aac
from models.templates.builtin import ensure_builtin
from models.templates.make import prepare_source
from models.templates.store import open_template
from models.templates.work import Source, Workplace
from stages.encode import EncodeStage
from tests.support.doubles import RecordedWork
from tests.support.face import Studio, psnr
from tests.support.media import bytes_of_frames
from tests.support.pictures import WEIGHTS

TEXT = (
    "It tells of the weather on the coast, of the wind and of the waves. "
    "Sometimes it pauses for a moment, and then it goes on as if nothing had happened."
)
WANTED = {"portrait": (560, 48.0, None), "film": (1000, 45.0, 7.0)}
"""kbit/s of the picture, dB of it, CPU milliseconds per frame."""


def templates(state: str) -> dict[str, TemplateRef]:
    """Both, made where they are not there."""

    def quiet(*_: object) -> None: ...

    made = ensure_builtin(state, "default", quiet, threading.Event())
    found = {"portrait": TemplateRef("default", str(made.path), made.hash)}
    folder = Path(state) / "templates" / "bench-film"
    if not folder.is_dir():
        source = Source("bench-film", data=film(portrait((1280, 720)), FILM_S))
        prepare_source(source, Workplace(state, WEIGHTS), quiet, threading.Event())
    found["film"] = TemplateRef("bench-film", str(folder), open_template(str(folder), "").hash)
    return found


def all_planes(made: Any) -> float:
    """PSNR over luma and chroma, dB."""
    found = []
    for frame, source in zip(made.decoded, made.sources, strict=True):
        error = frame.to_ndarray(format="yuv420p").astype(np.int16) - source
        found.append(10 * np.log10(255**2 / max(1e-3, float((error.astype(np.int32) ** 2).mean()))))
    return float(np.mean(found))


def cheapest(action: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the cheapest round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        action()
        best = min(best, time.thread_time() - began)
    return best


def measure(ref: TemplateRef, kbps: int, rounds: int) -> dict[str, float]:
    """One template."""
    settings = Video(max_kbps=kbps)
    studio = Studio(open_template(ref.path, ref.hash), settings)
    made = studio.film(studio.say(TEXT, "en"))
    pictures, sound = bytes_of_frames(made.mp4)
    quality, joints = psnr(made), np.asarray(made.joints)
    stage = EncodeStage(Config(video=settings), "encode.0")
    stage.setup(lambda *_: None)
    pcm = np.zeros(made.frames * FRAME_SAMPLES + aac.PRE_ROLL + aac.POST_ROLL, np.int16)
    pcm[aac.PRE_ROLL : aac.PRE_ROLL + len(made.speech.pcm)] = made.speech.pcm
    works = []
    for begin, end in pairwise([0, *made.joints, made.frames]):
        item = EncodeItem(
            id="bench", attempt=0, broker=0, sid="bench", turn=1, template=ref, frame0=begin, frames=end - begin,
            engine="warp",
        )  # fmt: skip
        heard = pcm[begin * FRAME_SAMPLES : end * FRAME_SAMPLES + aac.PRE_ROLL + aac.POST_ROLL].tobytes()
        faces = [crop.tobytes() for crop in made.crops[begin:end] if crop is not None]
        works.append(RecordedWork(item, heard, *faces))
    cpu = cheapest(lambda: [list(stage.handle(work)) for work in works], rounds)
    studio.close()
    seconds = np.convolve(pictures + sound, np.ones(FPS, np.int64), "valid")
    return {
        "cpu_ms": round(cpu * 1000 / made.frames, 2),
        "picture_kbps": round(float(pictures.mean()) * FPS * 8 / 1000),
        "sound_kbps": round(float(sound.mean()) * FPS * 8 / 1000),
        "largest_second_kbit": round(int(seconds.max()) * 8 / 1000),
        "psnr_db": round(all_planes(made), 2),
        "psnr_luma_db": round(float(quality.mean()), 2),
        "joint_step_db": round(float(np.abs(quality[joints] - quality[joints - 1]).max()), 2),
    }


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", help="state directory; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kbps", type=int, default=Video().max_kbps)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="musecast-bench-") as folder:
        refs = templates(options.state or folder)
        found = {name: measure(ref, options.kbps, options.rounds) for name, ref in refs.items()}
    rows = []
    for name, row in found.items():
        kbps, least, most = WANTED[name]
        rows += [
            (f"{name}: stage, CPU per frame", f"{row['cpu_ms']:.2f} ms", f"{most} ms" if most else ""),
            ("... picture; sound", f"{row['picture_kbps']}; {row['sound_kbps']} kbit/s", f"{kbps} kbit/s"),
            ("... largest second, with sound", f"{row['largest_second_kbit']} kbit", f"{options.kbps} kbit"),
            ("... PSNR, of luma alone", f"{row['psnr_db']}, {row['psnr_luma_db']} dB", f"{least} dB"),
            ("... largest step at a joint", f"{row['joint_step_db']} dB", "1 dB"),
        ]
    report(found, rows, options.json)


if __name__ == "__main__":
    main()
