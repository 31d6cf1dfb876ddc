"""A contact sheet: frames of a video with their times, the words spoken and the sound beneath.

The video is cut into equal stretches. Each shows the frame of its loudest moment, which says most about the lips,
marked in the sound.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from clients.signals import unbroken
from clients.target import store

Image = NDArray[np.uint8]
Sound = NDArray[np.float32]

COLUMNS = 6
ROWS = 3
TILE = 236
"""Width of a picture on the sheet, in pixels."""
GAP = 8
MARGIN = 36
WAVE = 46
CAPTION = 30
ROW_GAP = 26
LINE = 34
PAPER, INK, DIM, WAVE_INK = (30, 26, 24), (238, 234, 230), (150, 142, 136), (190, 150, 90)
"""Colours are BGR."""
TEXT_SIZE = 17
SMALL_SIZE = 14
WAVE_RATE = 8000
"""Samples per second that the drawing looks at."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence and when it is heard, in seconds of the video."""

    text: str
    start_s: float
    end_s: float


def contact_sheet(video: Path, target: Path, spoken: Sequence[Spoken], title: Sequence[tuple[str, str]]) -> None:
    """Draw the sheet of ``video`` as a PNG. ``title`` is lines of (label, text) above the pictures.

    Raises:
        TargetError, OSError: the file cannot be written.
    """
    sound = _decode_sound(video)
    count, rate = _length(video)
    step_s = count / rate / (COLUMNS * ROWS)
    chosen = [_loudest_frame(sound, index * step_s, step_s, rate, count) for index in range(COLUMNS * ROWS)]
    frames = _decode_frames(video, chosen)
    height, width = frames[0].shape[:2]
    tile_height = round(TILE * height / width)
    row_height = CAPTION + tile_height + WAVE + CAPTION + ROW_GAP
    sheet_width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    head = [line for label, text in title for line in _wrap(label, text, sheet_width - 2 * MARGIN)]
    top = MARGIN + len(head) * LINE + ROW_GAP // 2
    sheet: Image = np.full((top + ROWS * row_height + MARGIN - ROW_GAP, sheet_width, 3), PAPER, np.uint8)
    for line, (label, text) in enumerate(head):
        baseline = MARGIN + line * LINE + TEXT_SIZE
        _write(sheet, label, MARGIN, baseline, DIM)
        _write(sheet, text, MARGIN + 90, baseline, INK)
    words = [word for sentence in spoken for word in _words(sentence)]
    for index, frame in enumerate(frames):
        x = MARGIN + index % COLUMNS * (TILE + GAP)
        y = top + index // COLUMNS * row_height
        begin_s = index * step_s
        at_s = chosen[index] / rate
        _write(sheet, f"{at_s:.2f} s", x, y + CAPTION - 10, DIM, SMALL_SIZE)
        y += CAPTION
        sheet[y : y + tile_height, x : x + TILE] = cv2.resize(
            frame, (TILE, tile_height), interpolation=cv2.INTER_AREA
        )
        y += tile_height
        _draw_wave(sheet[y : y + WAVE, x : x + TILE], sound, begin_s, step_s, at_s)
        here = _join([text for text, at_s in words if begin_s <= at_s < begin_s + step_s])
        _write(sheet, here, x, y + WAVE + SMALL_SIZE, INK, SMALL_SIZE, TILE)
    store(target, cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


def _length(video: Path) -> tuple[int, float]:
    """Frames, and frames per second."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        return stream.frames, float(stream.average_rate or 25)


@unbroken()
def _decode_frames(video: Path, indices: Sequence[int]) -> list[Image]:
    """The frames with these numbers (ascending), u8 BGR."""
    frames: list[Image] = []
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            image: Any = frame.to_ndarray(format="bgr24") if index in indices else None
            frames += [image] * indices.count(index)
    return frames


@unbroken()
def _decode_sound(video: Path) -> Sound:
    """The sound at ``WAVE_RATE``, -1 to 1."""
    with av.open(str(video)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=WAVE_RATE)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts) if parts else np.zeros(1, np.float32)


def _loudest_frame(sound: Sound, begin_s: float, length_s: float, rate: float, count: int) -> int:
    """Number of the frame with the most sound in a stretch; its first when all is silent."""
    first = int(np.ceil(begin_s * rate))
    last = min(count, max(first + 1, int((begin_s + length_s) * rate)))
    edges = [int(index / rate * WAVE_RATE) for index in range(first, last + 1)]
    loudness = [
        float(np.square(sound[start:end]).sum()) if end <= len(sound) else 0.0
        for start, end in itertools.pairwise(edges)
    ]
    return min(count - 1, first + int(np.argmax(loudness)))


def _draw_wave(strip: Image, sound: Sound, begin_s: float, length_s: float, at_s: float) -> None:
    """One bar per three pixels: the loudest sample of its time. The moment ``at_s`` is marked."""
    height, width = strip.shape[:2]
    loudest = max(float(np.abs(sound).max()), 1e-3)
    edges = np.linspace(begin_s, begin_s + length_s, width // 3 + 1) * WAVE_RATE
    for bar, (first, last) in enumerate(itertools.pairwise(edges)):
        part = sound[int(first) : max(int(last), int(first) + 1)]
        level = float(np.abs(part).max()) / loudest if part.size else 0.0
        half = max(1, round(level * (height / 2 - 6)))
        cv2.line(strip, (bar * 3, height // 2 - half), (bar * 3, height // 2 + half), WAVE_INK, 1)
    mark = round((at_s - begin_s) / length_s * width)
    cv2.line(strip, (mark, 4), (mark, height - 4), INK, 1)


def _is_wide(text: str) -> bool:
    return any(unicodedata.east_asian_width(character) in "WF" for character in text)


def _words(sentence: Spoken) -> list[tuple[str, float]]:
    """Words with the moment each is estimated to begin: in proportion to its letters."""
    parts = list(sentence.text) if _is_wide(sentence.text) else sentence.text.split()
    letters = sum(len(part) for part in parts) or 1
    at, found = sentence.start_s, []
    for part in parts:
        found.append((part, at))
        at += (sentence.end_s - sentence.start_s) * len(part) / letters
    return found


def _join(words: list[str]) -> str:
    return ("" if _is_wide("".join(words)) else " ").join(words)


def _wrap(label: str, text: str, width: int) -> list[tuple[str, str]]:
    """``text`` in lines that fit beside the label, the label on the first."""
    limit = int((width - 90) / (TEXT_SIZE * (1.05 if _is_wide(text) else 0.52)))
    lines, line = [], ""
    for word in list(text) if _is_wide(text) else text.split():
        joined = _join([line, word]) if line else word
        if len(joined) > limit:
            lines.append(line)
            joined = word
        line = joined
    return [(label if index == 0 else "", one) for index, one in enumerate([*lines, line])]


def _write(
    image: Image,
    text: str,
    x: int,
    baseline: int,
    colour: tuple[int, int, int],
    size: int = TEXT_SIZE,
    width: int = 0,
) -> None:
    """Text in OpenCV's own sans font (which has Chinese) where it has one, else in its stroke font."""
    if not text:
        return
    if not hasattr(cv2, "FontFace"):
        plain = text.encode("ascii", "replace").decode()
        cv2.putText(image, plain, (x, baseline), cv2.FONT_HERSHEY_SIMPLEX, size / 36, colour, 1, cv2.LINE_AA)
        return
    font = cv2.FontFace("sans")
    while width and size > SMALL_SIZE // 2:
        x0, _, x1, _ = _extent(image, text, font, size)
        if x1 - x0 <= width:
            break
        size -= 1
    cv2.putText(image, text, (x, baseline), colour, font, size, 420)


def _extent(image: Image, text: str, font: Any, size: int) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.getTextSize(image.shape[1::-1], text, (0, 0), font, size, 420)
    return x, y, x + width, y + height
