"""Contact sheets of the built-in faces, and of a photo, through the real engines.

python -m tools.portrait.gallery OUT [--photo FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.load import load, resolve
from configs.schema import Config
from models.api import FRAME_SAMPLES, FRAME_US, FUTURE_US, PAST_US, SAMPLE_RATE, Pcm, Span, SpeechWindow
from models.media.paste import i420_to_bgr
from models.portrait.motion import lid
from models.templates.builtin import LOOP, ensure_builtin
from models.templates.make import prepare_source
from models.templates.store import Template, open_template
from models.templates.work import Source, Workplace
from models.tts.espeak import EspeakSynthesizer
from models.warp.engine import WarpLipSync

U8 = NDArray[np.uint8]
QUALITY = 88
_NEVER = threading.Event()
INK, PAPER = (70, 62, 56), (247, 248, 250)
# (text, phoneme to look for, caption): the frame is taken from the middle of that sound in real speech.
ENGLISH = (
    *(("Father", "A:", "father"), ("bed", "E", "bed"), ("see", "i:", "see"), ("boot", "u:", "boot")),
    *(("go", "oU", "go"), ("mama", "m", "mama"), ("five", "f", "five"), ("sea", "s", "sea")),
    *(("she", "S", "she"), ("a thin one", "T", "thin"), ("low", "l", "low"), ("why", "w", "why")),
)
MANDARIN = (
    *(("啊", "A", "a"), ("得", "o-", "e"), ("衣", "i", "yi"), ("乌", "u", "wu"), ("鱼", "y", "yu")),
    *(("我", "o", "wo"), ("妈", "m", "ma"), ("发", "f", "fa"), ("思", "i[", "si"), ("知", "i.", "zhi")),
    *(("爸", "p", "ba"), ("来", "l", "lai")),
)


def _quiet(phase: str, done: int, total: int) -> None:
    """Nobody waits for a sheet."""


class Speech:
    """A spoken text between silences, in whole quanta."""

    def __init__(self, engine: EspeakSynthesizer, text: str, voice: str) -> None:
        pcm: list[Pcm] = [np.zeros(8 * FRAME_SAMPLES, np.int16)]
        self.phonemes: list[Span] = []
        for chunk in engine.speak(text, voice, 0, threading.Event()):
            pcm.append(chunk.pcm)
            shift = 8 * FRAME_US
            self.phonemes += [Span(p.text, p.t0_us + shift, p.t1_us + shift) for p in chunk.phonemes]
        joined = np.concatenate(pcm)
        self.pcm = np.concatenate(
            [joined, np.zeros(-len(joined) % (8 * FRAME_SAMPLES) + 8 * FRAME_SAMPLES, np.int16)]
        )
        self.frames = len(self.pcm) // FRAME_SAMPLES

    def middle(self, symbol: str) -> int:
        """The frame in the middle of the longest sound that begins with ``symbol``; the loudest frame if none."""
        found = [p for p in self.phonemes if p.text.strip("',%=").startswith(symbol)]
        if not found:
            return int(np.abs(self.pcm.reshape(self.frames, -1).astype(int)).sum(axis=1).argmax())
        span = max(found, key=lambda p: p.t1_us - p.t0_us)
        return min(int((span.t0_us + span.t1_us) / 2 / FRAME_US), self.frames - 1)


def speaking(lipsync: WarpLipSync, template: Template, speech: Speech, frame0: int = 0) -> list[U8]:
    """Whole frames (BGR) of the template saying it."""
    past, future = (us * SAMPLE_RATE // 1_000_000 for us in (PAST_US, FUTURE_US))
    pcm = np.concatenate([np.zeros(past, np.int16), speech.pcm, np.zeros(future, np.int16)])
    end = speech.frames * FRAME_US
    item = SpeechWindow(template, frame0, speech.frames, 0, pcm, speech.phonemes, [], 0.5, 0, end)
    jobs = lipsync.plan(item)
    return [whole(template, job.pose, lipsync.render([job])[0]) for job in jobs]


def whole(template: Template, pose: int, crop: U8 | None = None) -> U8:
    """One frame as BGR, with a crop blended in as the daemon does."""
    frame = i420_to_bgr(template.i420[pose])
    if crop is not None:
        x0, y0, x1, y1 = (int(v) for v in template.boxes[pose])
        alpha = template.alpha_of("warp")[..., None].astype(np.float32) / 255
        own = template.roi[pose].astype(np.float32)
        fitted = cv2.resize(crop, (x1 - x0, y1 - y0)).astype(np.float32)
        frame[y0:y1, x0:x1] = np.clip(own + (fitted - own) * alpha + 0.5, 0, 255).astype(np.uint8)
    return frame


def sheet(pictures: Sequence[U8], columns: int, captions: Sequence[str] = (), gap: int = 6) -> U8:
    """Pictures of one size in a grid on light paper."""
    height, width = pictures[0].shape[:2]
    foot = 30 if captions else 0
    rows = -(-len(pictures) // columns)
    page = np.full((rows * (height + foot + gap) + gap, columns * (width + gap) + gap, 3), PAPER, np.uint8)
    for k, picture in enumerate(pictures):
        y, x = gap + (k // columns) * (height + foot + gap), gap + (k % columns) * (width + gap)
        page[y : y + height, x : x + width] = picture
        if captions:
            size, _ = cv2.getTextSize(captions[k], cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
            at = (x + (width - size[0]) // 2, y + height + 21)
            cv2.putText(page, captions[k], at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, INK, 1, cv2.LINE_AA)
    return page


def scaled(picture: U8, width: int) -> U8:
    """The same picture, smaller."""
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def close_up(frame: U8) -> U8:
    """The built-in face alone."""
    return np.ascontiguousarray(frame[60:420, 76:436])


def around_box(template: Template, pose: int, frame: U8, width: int) -> U8:
    """Any template's face: its box with a margin."""
    x0, y0, x1, y1 = (int(v) for v in template.boxes[pose % template.frames])
    margin = (x1 - x0) // 8
    part = frame[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin]
    return np.asarray(cv2.resize(part, (width, width), interpolation=cv2.INTER_CUBIC), np.uint8)


def save(folder: Path, name: str, picture: U8) -> None:
    """Write a JPEG."""
    path = folder / f"{name}.jpg"
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise OSError(f"cannot write {path}")
    print(f"{path}  {picture.shape[1]}x{picture.shape[0]}  {path.stat().st_size // 1024} kB")


def draw(folder: Path, state_dir: str, photo: Path | None, weights_dir: str) -> None:
    """Every sheet of the gallery."""
    lipsync, espeak = WarpLipSync(Config()), EspeakSynthesizer(Config())
    lipsync.load(_quiet)
    espeak.load(_quiet)
    made = [ensure_builtin(state_dir, name, _quiet, _NEVER) for name in ("default", "default-portrait")]
    default, portrait = (open_template(str(m.path), m.hash) for m in made)

    for name, voice, sounds in (("phonemes-en", "en", ENGLISH), ("phonemes-zh", "zh", MANDARIN)):
        pictures = []
        for text, symbol, _ in sounds:
            speech = Speech(espeak, text, voice)
            frame = speech.middle(symbol)
            pictures.append(scaled(close_up(speaking(lipsync, default, speech)[frame]), 240))
        captions = [caption if voice == "zh" else f"{caption}  [{symbol}]" for _, symbol, caption in sounds]
        save(folder, name, sheet(pictures, 6, captions))

    hello = Speech(espeak, "Hello, I am Muse. How may I help you?", "en")
    moments = [hello.middle(symbol) for symbol in ("oU", "aI", "m", "u:")]
    awake = _awake(moments)
    frames = speaking(lipsync, default, hello, awake)
    save(folder, "sentence", sheet([scaled(close_up(f), 150) for f in frames[6:54:2]], 8))
    save(folder, "speaking", sheet([scaled(frames[k], 360) for k in moments], 4))
    save(folder, "idle", sheet([scaled(whole(default, k), 240) for k in range(17, LOOP, 27)[:8]], 4))
    tall = speaking(lipsync, portrait, hello, awake)
    save(folder, "portrait", sheet([scaled(tall[k], 360) for k in (0, moments[1])], 2))

    hi = Speech(espeak, "Hi!", "en")
    save(folder, "turn", sheet([scaled(close_up(f), 150) for f in speaking(lipsync, default, hi)[4:28]], 8))
    ah = Speech(espeak, "Ah!", "en")
    top = ah.middle("A")
    shown = speaking(lipsync, default, ah, _awake([top]))
    save(folder, "loud", sheet([scaled(close_up(shown[k]), 240) for k in (top - 4, top - 2, top, top + 4)], 4))
    if photo is not None:
        save(folder, "photo", of_photo(lipsync, espeak, photo, Workplace(f"{state_dir}/photo", weights_dir)))
    espeak.close()
    lipsync.close()


def _awake(moments: Sequence[int]) -> int:
    """A first frame with which the eyes are open at every one of ``moments``."""
    return next(k for k in range(LOOP) if not any(lid(k + moment, LOOP) for moment in moments))


def of_photo(lipsync: WarpLipSync, espeak: EspeakSynthesizer, photo: Path, place: Workplace) -> U8:
    """A sheet of a photo: as prepared, and in the middle of English sounds."""
    made = prepare_source(Source("photo", data=photo.read_bytes()), place, _quiet, _NEVER)
    template = open_template(str(made.path), made.hash)
    pictures, captions = [around_box(template, 0, whole(template, 0), 240)], ["at rest"]
    for text, symbol, caption in ENGLISH[:11]:
        speech = Speech(espeak, text, "en")
        frame = speech.middle(symbol)
        shown = speaking(lipsync, template, speech)[frame]
        pictures.append(around_box(template, frame, shown, 240))
        captions.append(f"{caption}  [{symbol}]")
    return sheet(pictures, 6, captions)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--photo", type=Path, help="a photo with one face; left out by default")
    parser.add_argument("--weights", help="folder of the face models; the daemon's by default")
    parser.add_argument("--state", help="state directory with templates; a temporary one by default")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or resolve(load(None, [])).weights_dir
        draw(arguments.out, arguments.state or folder, arguments.photo, weights)


if __name__ == "__main__":
    main()
