"""The encode stage in one process: CPU per frame, bytes and quality, of a portrait and of a hand-held 720p film.

    python -m benchmarks.encode [--state DIR] [--rounds 2] [--kbps 4000] [--json]

Some seconds of speech, cut into segments as in service, with lip-sync's own crops: first the whole stage, then
x264 alone with other presets and qualities. CPU time of the thread; the cheapest of several rounds counts. The
film is a short one of ``benchmarks.prepare``'s: its portrait in 1280x720, which preparation makes 1266x712 because
of the size of the face. It takes 45 s of processor time; ``--state`` keeps both templates for the next run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from benchmarks._common import report
from benchmarks.prepare import film, portrait
from broker.ipc.messages import EncodeItem, TemplateRef
from configs.schema import Config, Video
from models.api import FPS, FRAME_SAMPLES
from models.media import aac, h264
from models.media.paste import U8, planes
from models.templates.builtin import ensure_builtin
from models.templates.make import prepare_source
from models.templates.store import open_template
from models.templates.work import Source, Workplace
from stages.encode import EncodeStage
from tests.support.doubles import RecordedWork
from tests.support.face import Film, Studio
from tests.support.media import bytes_of_frames
from tests.support.pictures import WEIGHTS

TEXT = "It tells of the weather on the coast, of the wind and of the waves, and of much more."
FILM_S = 4
WANTED = {"portrait": (560, 48.0, None), "film": (1000, 45.0, 7.0)}
"""kbit/s of the picture, dB of it, CPU milliseconds per frame."""
OTHERS = (("high", "light"), ("high", "ultrafast"), ("high", "veryfast"), ("fast", "auto"), ("max", "auto"))
"""Qualities and presets that are looked at beside the default ones."""
START = b"\0\0\0\1"


Row = tuple[str, str, str]


class Coded(NamedTuple):
    """What x264 made of a film's pictures."""

    cpu_ms: float
    """Per frame."""
    kbps: float
    key_kb: float
    """A key frame."""
    other_kb: float
    psnr_db: float
    """Of all planes."""
    luma_db: float
    joint_db: float
    """The largest step of the luma's from one segment to the next."""


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


def code(settings: h264.Settings, pictures: Sequence[U8], begins: Sequence[int], rounds: int) -> Coded:
    """Encode I420 pictures in segments that begin at ``begins``; decode and compare."""
    best, units = float("inf"), list[bytes]()
    for _ in range(rounds):
        spent, units = 0.0, []
        for begin, end in pairwise([*begins, len(pictures)]):
            began = time.thread_time()
            video = h264.SegmentVideo(settings)
            for picture in pictures[begin:end]:
                for target, source in zip(video.planes, planes(picture), strict=True):
                    np.copyto(target, source)
                units.append(video.encode())
            spent += time.thread_time() - began
        best = min(best, spent)
    every, luma = quality(settings, units, pictures, begins)
    sizes, joints = np.asarray([len(unit) for unit in units]), np.asarray(begins[1:])
    key = np.isin(np.arange(len(units)), begins)
    return Coded(
        best * 1000 / len(units), sizes.mean() * FPS * 8 / 1000, sizes[key].mean() / 1000,
        sizes[~key].mean() / 1000, every.mean(), luma.mean(), np.abs(luma[joints] - luma[joints - 1]).max(),
    )  # fmt: skip


def quality(
    settings: h264.Settings, units: Sequence[bytes], pictures: Sequence[U8], begins: Sequence[int]
) -> tuple[Any, Any]:
    """PSNR of every frame, dB: of all planes, of the luma."""
    sets = h264.SegmentVideo(settings).sets
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.extradata = START + sets.sps + START + sets.pps
    decoder.thread_count = 1
    shown: list[Any] = []
    for number, unit in enumerate(units):
        if number in begins:
            shown += decoder.decode(None) if number else []
            decoder.flush_buffers()
        shown += decoder.decode(av.Packet(START + unit[4:]))
    shown += decoder.decode(None)
    found = []
    for frame, picture in zip(shown, pictures, strict=True):
        square = (frame.to_ndarray(format="yuv420p").astype(np.int16) - picture).astype(np.float32) ** 2
        found.append([square.mean(), square[: settings.height].mean()])
    every, luma = 10 * np.log10(255**2 / np.maximum(np.asarray(found), 1e-3)).T
    return every, luma


def in_service(ref: TemplateRef, made: Film, settings: Video, rounds: int) -> dict[str, float]:
    """The whole stage: CPU milliseconds per frame, and kbit of the largest second with its sound."""
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
        works.append(RecordedWork(item, heard, *[c.tobytes() for c in made.crops[begin:end] if c is not None]))
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        for work in works:
            list(stage.handle(work))
        best = min(best, time.thread_time() - began)
    pictures, sound = bytes_of_frames(made.mp4)
    seconds = np.convolve(pictures + sound, np.ones(FPS, np.int64), "valid")
    return {
        "cpu_ms": round(best * 1000 / made.frames, 2),
        "picture_kbps": round(float(pictures.mean()) * FPS * 8 / 1000),
        "sound_kbps": round(float(sound.mean()) * FPS * 8 / 1000),
        "largest_second_kbit": round(int(seconds.max()) * 8 / 1000),
    }


def measure(name: str, ref: TemplateRef, kbps: int, rounds: int) -> tuple[dict[str, Any], list[Row]]:
    """One template: what was found, and as rows."""
    template, settings = open_template(ref.path, ref.hash), Video(max_kbps=kbps)
    studio = Studio(template, settings)
    made = studio.film(studio.say(TEXT, "en"))
    studio.close()
    found: dict[str, Any] = in_service(ref, made, settings, rounds)
    most_kbps, least, most = WANTED[name]
    rows = [
        (f"{name} {template.width}x{template.height}: stage, CPU per frame", f"{found['cpu_ms']:.2f} ms",
         f"{most} ms" if most else ""),
        ("... picture; sound", f"{found['picture_kbps']}; {found['sound_kbps']} kbit/s", f"{most_kbps} kbit/s"),
        ("... largest second, with sound", f"{found['largest_second_kbit']} kbit", f"{kbps} kbit"),
    ]  # fmt: skip
    for quality_, preset in (("high", "auto"), *OTHERS):
        print(f"  {name}: {quality_}, {preset}", file=sys.stderr)
        light = preset == h264.LIGHT
        video = Video(preset=h264.AUTO if light else preset)
        chosen = h264.settings_for("libx264", template.width, template.height, quality_, video)
        coded = code(chosen.lighter if light else chosen, made.sources, [0, *made.joints], rounds)
        found[f"{quality_}_{preset}"] = {key: round(float(value), 2) for key, value in coded._asdict().items()}
        rows += [
            (f"... {quality_}, {preset}: x264, CPU per frame", f"{coded.cpu_ms:.2f} ms", ""),
            ("...... picture (key frames; others)",
             f"{coded.kbps:.0f} kbit/s ({coded.key_kb:.1f}; {coded.other_kb:.2f} kB)", ""),
            ("...... PSNR (of luma; step at a joint)",
             f"{coded.psnr_db:.2f} dB ({coded.luma_db:.2f}; {coded.joint_db:.2f})",
             f"{least} dB (; 1)" if (quality_, preset) == ("high", "auto") else ""),
        ]  # fmt: skip
    return found, rows


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", help="state directory; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kbps", type=int, default=Video().max_kbps)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    everything: dict[str, Any] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="musecast-bench-") as folder:
        for name, ref in templates(options.state or folder).items():
            everything[name], more = measure(name, ref, options.kbps, options.rounds)
            rows += more
    report(everything, rows, options.json)


if __name__ == "__main__":
    main()
