"""The CPU lip-sync engine: its cost per frame, and (with a landmark model) what its mouth does.

    python -m benchmarks.lipsync [--state DIR] [--mesh FACE_LANDMARK] [--detector FACE_DETECTION_SHORT_RANGE]

The two model files are not part of musecast; both are inside the public wheel ``mediapipe`` 0.10.21.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.schema import Config
from models.api import FRAME_SAMPLES, FRAME_US, FUTURE_US, PAST_US, SAMPLE_RATE, Pcm, Span, SpeechWindow
from models.speech.espeak import EspeakSynthesizer
from models.templates.builtin import ensure_builtin
from models.templates.store import Template, open_template
from models.warp.engine import WarpLipSync
from models.warp.visemes import sounds

ENGLISH = (
    "Hello, my name is Bob. Please help me make a map of the park. The blue moon is far above the big house.",
    "We were happy to see you at the beach. Maybe people believe that summer brings peace. Stop and think.",
)
MANDARIN = (
    "你好，我叫小明。爸爸和妈妈都很忙。请帮我买一本书，谢谢。",
    "我们去看大海，花园里有很多漂亮的花。不要怕，明天我陪你跑步。",
)
VOWELS = ("a", "e", "i", "u")
# Sustained vowels between rests measure the targets themselves, without coarticulation.
SETS = {"a": "aA", "e": "Ee", "i": "iI", "u": "uU"}


class Speech(NamedTuple):
    pcm: Pcm
    phonemes: list[Span]


class Points(NamedTuple):
    """Distances in pixels of the finished picture, per frame."""

    gap: NDArray[np.float64]
    width: NDArray[np.float64]


def speak(text: str, voice: str) -> Speech:
    engine = EspeakSynthesizer(Config())
    engine.load(lambda *_: None)
    pcm, phonemes = [], []
    for chunk in engine.speak(text, voice, 0, threading.Event()):
        pcm.append(chunk.pcm)
        phonemes += list(chunk.phonemes)
    engine.close()
    joined = np.concatenate(pcm)
    pad = np.zeros(-len(joined) % (8 * FRAME_SAMPLES) + 8 * FRAME_SAMPLES, np.int16)
    return Speech(np.concatenate([joined, pad]), phonemes)


def window(template: Template, speech: Speech, first: int, frames: int) -> SpeechWindow:
    past, future = (us * SAMPLE_RATE // 1_000_000 for us in (PAST_US, FUTURE_US))
    padded = np.concatenate([np.zeros(past, np.int16), speech.pcm, np.zeros(future, np.int16)])
    at, begin = first * FRAME_SAMPLES, first * FRAME_US
    spans = [Span(p.text, p.t0_us - begin, p.t1_us - begin) for p in speech.phonemes]
    end = len(speech.pcm) * 1_000_000 // SAMPLE_RATE - begin
    return SpeechWindow(
        template=template, frame0=first, frames=frames, start=0,
        pcm=padded[at : at + past + frames * FRAME_SAMPLES + future], phonemes=spans, words=[], peak=0.5,
        speech_from_us=-begin, speech_to_us=end if end <= frames * FRAME_US + FUTURE_US else None,
    )  # fmt: skip


def render_all(engine: WarpLipSync, template: Template, speech: Speech) -> NDArray[np.uint8]:
    frames = len(speech.pcm) // FRAME_SAMPLES
    jobs = engine.plan(window(template, speech, 0, frames))
    return np.concatenate([engine.render(jobs[k : k + 8]) for k in range(0, frames, 8)])


class Mesh:
    """MediaPipe's face mesh (468 points) on a picture that a face fills."""

    def __init__(self, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net: Any = Interpreter(model_path=path, num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [d["index"] for d in self._net.get_output_details()]

    def points(self, bgr: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
        """Points ``[468, 2]`` in pixels of ``bgr``, and the model's confidence."""
        small = cv2.resize(bgr, (192, 192), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 255
        self._net.set_tensor(self._input, small[None])
        self._net.invoke()
        found = sorted((self._net.get_tensor(k).ravel() for k in self._outputs), key=len)
        xy = found[-1].reshape(-1, 3)[:468, :2].astype(np.float64) * (bgr.shape[1] / 192, bgr.shape[0] / 192)
        return xy, float(1 / (1 + np.exp(-found[0][0])))


def detect(path: str, bgr: NDArray[np.uint8]) -> float:
    """BlazeFace's best score on a whole picture."""
    from ai_edge_litert.interpreter import Interpreter

    net: Any = Interpreter(model_path=path, num_threads=1)
    net.allocate_tensors()
    side = max(bgr.shape[:2])
    square = np.zeros((side, side, 3), np.uint8)
    square[: bgr.shape[0], : bgr.shape[1]] = bgr
    small = cv2.resize(square, (128, 128), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 127.5 - 1
    net.set_tensor(net.get_input_details()[0]["index"], small[None])
    net.invoke()
    scores = min((net.get_tensor(d["index"]) for d in net.get_output_details()), key=np.size)
    return float(1 / (1 + np.exp(-scores.max())))


def measure(mesh: Mesh, template: Template, crops: NDArray[np.uint8]) -> Points:
    gaps, widths = [], []
    for k, crop in enumerate(crops):
        pose = k % template.frames
        frame = paste(template, pose, crop)
        x0, y0, x1, y1 = (int(v) for v in template.boxes[pose])
        side = int(1.5 * (x1 - x0)) // 2
        cx, cy = (x0 + x1) // 2, (y0 + y1) // 2 - (y1 - y0) // 9
        low = (max(cx - side, 0), max(cy - side, 0))
        xy, _ = mesh.points(np.ascontiguousarray(frame[low[1] : cy + side, low[0] : cx + side]))
        gaps.append(float(xy[14, 1] - xy[13, 1]))
        widths.append(float(np.hypot(*(xy[291] - xy[61]))))
    return Points(np.asarray(gaps), np.asarray(widths))


def paste(template: Template, pose: int, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole frame as BGR with the crop blended in."""
    from models.media.paste import i420_to_bgr

    frame = i420_to_bgr(template.i420[pose])
    x0, y0, x1, y1 = (int(v) for v in template.boxes[pose])
    alpha = template.alpha[..., None].astype(np.float32) / 255
    own = template.roi[pose].astype(np.float32)
    fitted = cv2.resize(crop, (x1 - x0, y1 - y0)).astype(np.float32)
    frame[y0:y1, x0:x1] = np.clip(own + (fitted - own) * alpha + 0.5, 0, 255).astype(np.uint8)
    return frame


def at(spans: Sequence[Span], wanted: str, frames: int) -> list[int]:
    """Frames whose middle lies in the inner half of a sound of the set."""
    found = []
    for span in spans:
        letters = span.text.strip("',%=")
        if len(sounds(span.text)) == 1 and letters[:1] in wanted and letters not in ("i.", "i["):
            quarter = (span.t1_us - span.t0_us) // 4
            low, high = span.t0_us + quarter, span.t1_us - quarter // 2
            found += [k for k in range(frames) if low <= k * FRAME_US + FRAME_US // 2 <= high]
    return found


def report(mesh: Mesh, engine: WarpLipSync, template: Template) -> dict[str, Any]:
    rest = measure(mesh, template, np.asarray(template.roi[:8]))
    rest_gap = float(np.median(rest.gap))
    result: dict[str, Any] = {
        "rest_gap_px": round(rest_gap, 2),
        "rest_width_px": round(float(np.median(rest.width)), 1),
    }
    for language, voice, texts in (("en", "en", ENGLISH), ("zh", "zh", MANDARIN)):
        gaps: dict[str, list[float]] = {v: [] for v in VOWELS}
        widths: dict[str, list[float]] = {v: [] for v in VOWELS}
        closed, lips, r, falls = 0, 0, [], []
        for text in texts:
            speech = speak(text, voice)
            found = measure(mesh, template, render_all(engine, template, speech))
            n = len(found.gap)
            for vowel, letters in SETS.items():
                frames = at(speech.phonemes, letters, n)
                gaps[vowel] += [float(found.gap[k] - rest_gap) for k in frames]
                widths[vowel] += [float(found.width[k]) for k in frames]
            for span in speech.phonemes:
                if span.text.strip("',%=")[:1] in ("m", "b", "p"):
                    near = range(max(span.t0_us // FRAME_US - 1, 0), min(span.t1_us // FRAME_US + 1, n))
                    lips += 1
                    closed += min(found.gap[k] for k in near) <= rest_gap + 1.5
            rms = np.sqrt((speech.pcm.reshape(-1, FRAME_SAMPLES).astype(float) ** 2).mean(axis=1))
            smooth = np.convolve(rms, [0.25, 0.5, 0.25], "same")
            lags = {lag: correlation(found.gap, smooth, lag) for lag in range(-4, 5)}
            r.append((max(lags, key=lambda k: lags[k]), round(lags[0], 2)))
            falls += [round(f) for f in fall_times(found.gap - rest_gap, rms)]
        result[language] = {
            "gap_px": {v: round(float(np.mean(g)), 1) if g else None for v, g in gaps.items()},
            "width_px": {v: round(float(np.mean(w)), 1) if w else None for v, w in widths.items()},
            "closed_on_mbp": f"{closed}/{lips}",
            "loudness (best lag, r at 0)": r,
            "fall_to_rest_ms": falls,
        }
    return result


def correlation(gap: NDArray[np.float64], rms: NDArray[np.float64], lag: int) -> float:
    a, b = (gap[lag:], rms[: len(rms) - lag]) if lag >= 0 else (gap[:lag], rms[-lag:])
    return float(np.corrcoef(a, b)[0, 1])


def fall_times(gap: NDArray[np.float64], rms: NDArray[np.float64]) -> list[float]:
    """Milliseconds from the start of each silence of at least 200 ms until the gap is below 1.5 px."""
    quiet = rms < 0.02 * rms.max()
    falls, k = [], 1
    while k < len(quiet):
        if quiet[k] and not quiet[k - 1]:
            end = next((j for j in range(k, len(quiet)) if not quiet[j]), len(quiet))
            if end - k >= 5:
                rest = next((j for j in range(k, end) if gap[j] < 1.5), end)
                falls.append((rest - k) * 40.0)
            k = end
        k += 1
    return falls


def cost(engine: WarpLipSync, template: Template, speech: Speech) -> dict[str, float]:
    frames = len(speech.pcm) // FRAME_SAMPLES
    item = window(template, speech, 0, frames)
    wall, cpu = time.perf_counter(), time.process_time()
    jobs = engine.plan(item)
    planned = time.process_time()
    for k in range(0, frames, 8):
        engine.render(jobs[k : k + 8])
    end = time.process_time()
    return {
        "plan_cpu_ms_per_frame": round((planned - cpu) * 1000 / frames, 3),
        "render_cpu_ms_per_frame": round((end - planned) * 1000 / frames, 3),
        "wall_ms_per_frame": round((time.perf_counter() - wall) * 1000 / frames, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", help="state directory; a temporary one by default")
    parser.add_argument("--mesh", help="face_landmark.tflite")
    parser.add_argument("--detector", help="face_detection_short_range.tflite")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    engine = WarpLipSync(Config())
    engine.load(lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        state, result = arguments.state or folder, {}
        speech = speak(ENGLISH[0], "en")
        for name in ("default", "default-portrait"):
            made = ensure_builtin(state, name, lambda *_: None, threading.Event())
            template = open_template(str(made.path), made.hash)
            render_all(engine, template, speech)
            result[name] = {"prepared_s": round(made.seconds, 2), **cost(engine, template, speech)}
            silent = Speech(speech.pcm, [])
            result[name]["audio_alone"] = cost(engine, template, silent)
        template = open_template(str(made.path.parent / "default"), "")
        if arguments.detector:
            result["face_score"] = round(
                detect(arguments.detector, paste(template, 0, np.asarray(template.roi[0]))), 3
            )
        if arguments.mesh:
            result["landmarks"] = report(Mesh(arguments.mesh), engine, template)
        print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
