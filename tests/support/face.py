"""A face on a finished MP4: speech rendered and encoded by the stages' own code, decoded and measured again.

Everything between text and bytes is the daemon's: synthesizer, segment plan, lip-sync engine, encode stage,
stamping. Only the processes and sockets between them are left out, so that a second of film takes half a second.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.ipc.messages import EncodeItem, InitItem, TemplateRef
from broker.media.segment_plan import segment_quanta
from configs.grid import QUANTUM_FRAMES, QUANTUM_SAMPLES
from configs.schema import Config, Video
from models.api import (
    FRAME_SAMPLES,
    FRAME_US,
    FUTURE_US,
    PAST_US,
    SAMPLE_RATE,
    Pcm,
    Span,
    SpeechWindow,
    Synthesizer,
)
from models.landmarks import Landmarker, files, lip_gap, lip_width
from models.media import aac
from models.media.paste import Planes, i420_to_bgr, planes
from models.media.stamp import stamp
from models.registry import create
from models.templates.store import Template, open_template
from models.warp.engine import WarpLipSync
from stages.encode import EncodeStage
from stages.pictures import compose
from tests.support.doubles import RecordedWork, quiet
from tests.support.media import decode_video, tagged_bgr
from tests.support.pictures import WEIGHTS

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
LONGEST = 4
"""Quanta of ``timeline.max_segment_ms``'s default."""
PAST, FUTURE = (us * SAMPLE_RATE // 1_000_000 for us in (PAST_US, FUTURE_US))


@dataclass(frozen=True)
class Speech:
    """Speech and its phonemes, times from its own start."""

    pcm: Pcm
    phonemes: list[Span]

    def then(self, other: Speech) -> Speech:
        """This, then ``other``."""
        shift = len(self.pcm) * 1_000_000 // SAMPLE_RATE
        moved = [Span(p.text, p.t0_us + shift, p.t1_us + shift) for p in other.phonemes]
        return Speech(np.concatenate([self.pcm, other.pcm]), self.phonemes + moved)


def eye_gap(points: NDArray[np.floating[Any]]) -> float:
    """Opening of the eyes: mean distance of the lids over both eyes' middles, pixels."""
    upper = points[[160, 159, 158, 385, 386, 387], :2]
    lower = points[[144, 145, 153, 380, 374, 373], :2]
    return float(np.linalg.norm(lower - upper, axis=1).mean())


@dataclass(frozen=True)
class Face:
    """What the landmark model says of every frame, in pixels."""

    gap: F64
    width: F64


@dataclass
class Film:
    """One finished MP4 and what it was made of."""

    mp4: bytes
    frame0: int
    """Absolute number of the first frame."""
    joints: list[int]
    """Frames that begin a segment, the first left out."""
    speech: Speech
    first: int
    """Frame at which the speech's segments begin; before and after them is idle video."""
    spoken: int
    """Frames of the speech's segments."""
    crops: list[U8 | None]
    sources: list[U8]
    """What was given to the encoder: I420 u8 ``[H*3/2, W]``."""
    sizes: list[int]
    """Bytes of the segments."""

    @property
    def frames(self) -> int:
        """Of the whole film."""
        return len(self.crops)

    @cached_property
    def decoded(self) -> list[Any]:
        """PyAV frames."""
        return decode_video(self.mp4)

    @cached_property
    def luma(self) -> U8:
        """Decoded luma: u8 ``[n, H, W]``."""
        return np.stack([np.asarray(frame.to_ndarray()[: frame.height], np.uint8) for frame in self.decoded])

    @cached_property
    def source_luma(self) -> U8:
        """Luma before encoding: u8 ``[n, H, W]``."""
        return np.stack([planes(source).y for source in self.sources])

    @cached_property
    def loudness(self) -> F64:
        """RMS of every frame's audio, 0 to 1; silence outside of the speech."""
        whole = np.zeros(self.frames * FRAME_SAMPLES)
        at = self.first * FRAME_SAMPLES
        whole[at : at + len(self.speech.pcm)] = self.speech.pcm
        return np.asarray(np.sqrt((whole.reshape(self.frames, -1) ** 2).mean(axis=1)) / 32768)

    def at(self, span: Span) -> tuple[float, float]:
        """Begin and end of a phoneme in frames of the film."""
        return self.first + span.t0_us / FRAME_US, self.first + span.t1_us / FRAME_US


class Studio:
    """Makes films of one template.

    Args:
        template: prepared for ``warp``.
        video: settings of the encoder; None: the default ones.
    """

    def __init__(self, template: Template, video: Video | None = None) -> None:
        self.template = template
        self._voices: dict[str, Synthesizer] = {}
        self._warp = WarpLipSync(Config())
        self._encode = EncodeStage(Config(video=video or Video()), "encode.0")
        self._encode.setup(quiet)
        self._landmarker = Landmarker(files.load(WEIGHTS))

    @property
    def figures(self) -> dict[str, float]:
        """What the encode stage has counted."""
        return self._encode.figures

    def close(self) -> None:
        """Close the engines."""
        for engine in self._voices.values():
            engine.close()
        self._warp.close()

    def say(self, text: str, voice: str) -> Speech:
        """Speech of an embedded synthesizer: of hibari, or of espeak in the language ``voice``."""
        name = "hibari" if voice == "hibari" else "espeak"
        if name not in self._voices:
            self._voices[name] = create("tts", name, Config())
            self._voices[name].load(quiet)
        chunks = list(self._voices[name].speak(text, voice, 0, threading.Event()))
        return Speech(np.concatenate([c.pcm for c in chunks]), [p for c in chunks for p in c.phonemes])

    def film(self, speech: Speech, *, frame0: int = 0, idle: int = 0, quality: str = "high") -> Film:
        """Speech as one turn, with ``idle`` quanta of idle video before and after it."""
        crops, lengths = self.perform(speech, frame0 + idle * QUANTUM_FRAMES)
        still: list[U8 | None] = [None] * (idle * QUANTUM_FRAMES)
        lengths = [QUANTUM_FRAMES] * idle + lengths + [QUANTUM_FRAMES] * idle
        everything = [*still, *crops, *still]
        begins = np.cumsum([0, *lengths]).tolist()
        pcm = np.zeros(len(everything) * FRAME_SAMPLES, np.int16)
        at = len(still) * FRAME_SAMPLES
        pcm[at : at + len(speech.pcm)] = speech.pcm
        rolled = np.concatenate([np.zeros(aac.PRE_ROLL, np.int16), pcm, np.zeros(aac.POST_ROLL, np.int16)])
        size: dict[str, Any] = {"width": self.template.width, "height": self.template.height}
        parts = [self._item(InitItem(quality=quality, **size, **_WHO))]
        for seq, (begin, end) in enumerate(pairwise(begins)):
            heard = rolled[begin * FRAME_SAMPLES : end * FRAME_SAMPLES + aac.PRE_ROLL + aac.POST_ROLL]
            faces = [crop.tobytes() for crop in everything[begin:end] if crop is not None]
            parts.append(self._segment(seq, frame0 + begin, end - begin, heard, faces, quality))
        sizes = [len(part) for part in parts[1:]]
        sources = [self.source(frame0 + k, crop) for k, crop in enumerate(everything)]
        return Film(
            b"".join(parts), frame0, begins[1:-1], speech, len(still), len(crops), everything, sources, sizes
        )  # fmt: skip

    def source(self, number: int, crop: U8 | None) -> U8:
        """What the encoder is given for frame ``number``: I420 u8 ``[H*3/2, W]``."""
        picture = np.empty(self.template.i420.shape[1:], np.uint8)

        class Video:
            planes: Planes

        video: Any = Video()
        video.planes = planes(picture)
        compose(video, self.template, number % self.template.frames, crop, "warp")
        return picture

    def measure(self, pictures: Sequence[U8]) -> Face:
        """Follow the one face through BGR pictures."""
        (found,) = self._landmarker.faces(pictures[0])
        gaps: list[float] = []
        widths: list[float] = []
        for picture in pictures:
            found = self._landmarker.follow(picture, found.points)
            assert found.presence > 0.5, f"the face is lost at frame {len(gaps)}"
            gaps.append(lip_gap(found.points))
            widths.append(lip_width(found.points))
        return Face(np.asarray(gaps), np.asarray(widths))

    def measure_film(self, film: Film) -> Face:
        """The face of the decoded film."""
        return self.measure([tagged_bgr(frame) for frame in film.decoded])

    def measure_template(self) -> Face:
        """The template's own face, every fourth pose."""
        return self.measure([i420_to_bgr(picture) for picture in self.template.i420[::4]])

    def perform(self, speech: Speech, frame0: int, *, whole: bool = False) -> tuple[list[U8], list[int]]:
        """Crops of a turn and the frames of its segments.

        The plan is the broker's when all of the audio is known; ``whole``: one segment instead.
        """
        quanta = -(-len(speech.pcm) // QUANTUM_SAMPLES)
        padded = np.zeros(PAST + quanta * QUANTUM_SAMPLES + FUTURE, np.int16)
        padded[PAST : PAST + len(speech.pcm)] = speech.pcm
        peak = float(np.abs(speech.pcm.astype(np.int32)).max(initial=0)) / 32768
        end_us = len(speech.pcm) * 1_000_000 // SAMPLE_RATE
        crops: list[U8] = []
        lengths: list[int] = []
        while len(crops) < quanta * QUANTUM_FRAMES:
            left = quanta - len(crops) // QUANTUM_FRAMES
            frames = QUANTUM_FRAMES * (left if whole else segment_quanta(len(lengths), left, LONGEST, flush=True))
            at, begin = len(crops) * FRAME_SAMPLES, len(crops) * FRAME_US
            low, high = begin - PAST_US, begin + frames * FRAME_US + FUTURE_US
            near = [p for p in speech.phonemes if p.t1_us > low and p.t0_us < high]
            heard = padded[at : at + PAST + frames * FRAME_SAMPLES + FUTURE]
            window = SpeechWindow(
                self.template, frame0 + len(crops), frames, 0, heard,
                [Span(p.text, p.t0_us - begin, p.t1_us - begin) for p in near], [], peak, -begin,
                end_us - begin if end_us <= high else None,
            )  # fmt: skip
            jobs = self._warp.plan(window)
            for k in range(0, frames, QUANTUM_FRAMES):
                crops += list(self._warp.render(jobs[k : k + QUANTUM_FRAMES]))
            lengths.append(frames)
        return crops, lengths

    def _segment(self, seq: int, frame0: int, frames: int, pcm: Pcm, faces: list[bytes], quality: str) -> bytes:
        ref = TemplateRef(self.template.id, str(self.template.path), self.template.hash)
        item = EncodeItem(template=ref, frame0=frame0, frames=frames, quality=quality, engine="warp", **_WHO)
        work = RecordedWork(item, pcm.tobytes(), *faces)
        [(made, (payload, *_))] = self._encode.handle(work)
        marks: Any = made
        return stamp(
            payload, marks.mfhd_at, marks.video_tfdt_at, marks.audio_tfdt_at, seq=seq, pts_us=frame0 * FRAME_US
        )

    def _item(self, item: InitItem) -> bytes:
        [(_, (payload, *_))] = self._encode.handle(RecordedWork(item))
        return bytes(payload)


_WHO: dict[str, Any] = {"id": "film", "attempt": 0, "broker": 0, "sid": "film", "turn": 1}


def studio_of(path: str, content_hash: str) -> Studio:
    """A studio for the template in folder ``path``."""
    return Studio(open_template(path, content_hash))


# --- what a mouth did ----------------------------------------------------------------------------------------


SPOKEN = {
    "en": (
        "Father parked the car far from the farm. Ten men said: get the red pen, Ben. We see three green leaves "
        "by the sea. Two blue boots, cool food, who knew? Mama, papa, please bring Bob a map."
    ),
    "zh": (
        "爸爸，妈妈，他怕大沙发。哥哥喝可乐，特热的河。弟弟第一，你起得比七低。姑姑不哭，树木如书。"
        "明天买面包，陪朋友跑步。"
    ),
}
SPOKEN["hibari"] = SPOKEN["en"]
"""Texts with pauses in which every sound that is measured comes often."""
VOWELS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {"a": ("A:", "A@"), "e": ("E",), "i": ("i:",), "u": ("u:",)},
    "zh": {"a": ("A",), "e": ("o-",), "i": ("i",), "u": ("u",)},
}
VOWELS["hibari"] = VOWELS["en"]
"""espeak-ng's phonemes; the Mandarin e is that of "he"."""
NEAR_REST = 0.02
"""The lips rest when their gap is within this share of the mouth's width of the gap at rest: 1.4 pixels."""
QUIET = 0.02
"""Share of the loudest frame below which a frame is silence."""
PAUSE_FRAMES = 5
"""Silence of 200 ms is a pause; less can be part of a sound."""


def vowel_frames(film: Film, phonemes: Sequence[str]) -> list[int]:
    """Frames whose middle lies in the inner part of one of ``phonemes``."""
    found = []
    for span in film.speech.phonemes:
        if span.text.strip("',%=") in phonemes:
            begin, end = film.at(span)
            length = end - begin
            found += [k for k in range(film.frames) if begin + length / 4 <= k + 0.5 <= end - length / 8]
    return found


def closures(film: Film, face: Face) -> F64:
    """The smallest gap of the lips at every m, b and p, from a frame before it to a frame after it."""
    found = []
    for span in film.speech.phonemes:
        if span.text.strip("',%=")[:1] in ("m", "b", "p"):
            begin, end = film.at(span)
            found.append(face.gap[max(int(begin) - 1, 0) : int(end) + 2].min())
    return np.asarray(found)


def falls_ms(film: Film, face: Face, rest: float) -> list[float]:
    """Milliseconds from the start of every pause until the gap is ``rest`` or less."""
    quiet = film.loudness < QUIET * film.loudness.max()
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8))) + 1
    found = []
    for begin, end in pairwise([*edges.tolist(), film.frames]):
        if quiet[begin] and end - begin >= PAUSE_FRAMES:
            resting = np.flatnonzero(face.gap[begin:end] <= rest)
            found.append(float(resting[0] if len(resting) else end - begin) * FRAME_US / 1000)
    return found


def correlations(film: Film, face: Face, most: int = 4) -> dict[int, float]:
    """Correlation of gap and loudness by lag in frames; positive: the mouth is late."""
    loud, n = np.convolve(film.loudness, [0.25, 0.5, 0.25], "same"), film.frames
    return {
        lag: float(
            np.corrcoef(face.gap[max(lag, 0) : n + min(lag, 0)], loud[max(-lag, 0) : n - max(lag, 0)])[0, 1]
        )
        for lag in range(-most, most + 1)
    }


def psnr(film: Film) -> F64:
    """Of every decoded frame's luma against what was given to the encoder, dB."""
    error = film.luma.astype(np.int16) - film.source_luma
    square = (error.astype(np.int32) ** 2).mean(axis=(1, 2))
    return np.asarray(10 * np.log10(255**2 / np.maximum(square, 1e-3)))


def changes(luma: Sequence[U8] | U8) -> F64:
    """Mean difference of every picture from the one before, levels: ``[n - 1]``."""
    return np.asarray([np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(luma)])
