"""A contact sheet: frames of a video with their times, the words spoken and the sound beneath."""

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

Image = NDArray[np.uint8]

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
        OSError: the file cannot be written.
    """
    frames, sound, duration_s = _decode(video, COLUMNS * ROWS)
    step_s = duration_s / (COLUMNS * ROWS)
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
        _write(sheet, f"{begin_s:.2f} s", x, y + CAPTION - 10, DIM, SMALL_SIZE)
        y += CAPTION
        sheet[y : y + tile_height, x : x + TILE] = cv2.resize(
            frame, (TILE, tile_height), interpolation=cv2.INTER_AREA
        )
        y += tile_height
        _draw_wave(sheet[y : y + WAVE, x : x + TILE], sound, begin_s, step_s)
        here = _join([text for text, at_s in words if begin_s <= at_s < begin_s + step_s])
        _write(sheet, here, x, y + WAVE + SMALL_SIZE, INK, SMALL_SIZE, TILE)
    if not cv2.imwrite(str(target), sheet):
        raise OSError(f"could not write {target}")


def _decode(video: Path, count: int) -> tuple[list[Image], NDArray[np.float32], float]:
    """``count`` frames at even distances, the sound at ``WAVE_RATE``, and the length in seconds."""
    with av.open(str(video)) as container:
        total = container.streams.video[0].frames
        rate = float(container.streams.video[0].average_rate or 25)
        wanted = [index * total // count for index in range(count)]
        frames: list[Image] = []
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                image: Any = frame.to_ndarray(format="bgr24")
                frames += [image] * wanted.count(index)
    with av.open(str(video)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=WAVE_RATE)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    sound = np.concatenate(parts) if parts else np.zeros(1, np.float32)
    return frames, sound, total / rate


def _draw_wave(strip: Image, sound: NDArray[np.float32], begin_s: float, length_s: float) -> None:
    """One bar per two pixels: the loudest sample of its time."""
    height, width = strip.shape[:2]
    loudest = max(float(np.abs(sound).max()), 1e-3)
    edges = np.linspace(begin_s, begin_s + length_s, width // 3 + 1) * WAVE_RATE
    for bar, (first, last) in enumerate(itertools.pairwise(edges)):
        part = sound[int(first) : max(int(last), int(first) + 1)]
        level = float(np.abs(part).max()) / loudest if part.size else 0.0
        half = max(1, round(level * (height / 2 - 6)))
        cv2.line(strip, (bar * 3, height // 2 - half), (bar * 3, height // 2 + half), WAVE_INK, 1)


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
