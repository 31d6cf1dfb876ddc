"""What every moving picture shares: its limits, and how its pictures become 25 frames a second. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.api import FPS, EngineError
from models.templates.pixels import squared

U8 = NDArray[np.uint8]

MAX_PIXELS = 4096 * 2304


class Shown(NamedTuple):
    """A picture and when it is on screen, seconds from the first."""

    at: float
    until: float
    """At least; the next picture, or the film's end, may come later."""
    picture: U8
    """BGR ``[H, W, 3]``, upright, square pixels, even sides."""


class Film(Protocol):
    """An open film."""

    expected: int
    """Frames at 25 frames/s, an estimate for progress; 0: unknown."""

    def shown(self, side_max: int) -> Iterator[Shown]:
        """Every picture in order, the longer side at most ``side_max``.

        Raises:
            EngineError: INVALID_ARGUMENT when it is damaged, TOO_LARGE beyond a limit.
        """
        ...


def frames(film: Film, side_max: int, max_s: float) -> Iterator[U8]:
    """The film at 25 frames/s: u8 BGR ``[H, W, 3]``, upright, even sides.

    Each is the source picture nearest in time; one that stands longer than a frame stands until the next is due,
    the last one until its end.

    Raises:
        EngineError: as ``Film.shown``; TOO_LARGE when it is longer than ``max_s``.
    """
    before: Shown | None = None
    emitted = 0
    for now in film.shown(side_max):
        if before is not None:
            if now.at <= before.at:
                continue
            refuse_length(now.at, max_s)
            switch = max((before.at + now.at) / 2, now.at - 0.5 / FPS)
            while emitted / FPS < switch:
                yield before.picture
                emitted += 1
        before = now
    if before is None:
        return
    refuse_length(before.until, max_s)
    while emitted / FPS < max(before.until - 0.5 / FPS, before.at):
        yield before.picture
        emitted += 1


def target_size(width: int, height: int, side_max: int, pixel: float = 1.0) -> tuple[int, int]:
    """Even width and height with square pixels, the longer at most ``side_max``, not turned yet.

    Odd sizes lose their last row or column, unresampled.
    """
    width, height = squared(width, height, pixel)
    scale = min(1.0, side_max / max(width, height))
    if scale == 1:
        return width & ~1, height & ~1
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def refuse_size(width: int, height: int) -> None:
    """Raise TOO_LARGE beyond the limit."""
    if width * height > MAX_PIXELS:
        raise EngineError(
            "TOO_LARGE", f"the video is {width}x{height}; the limit is 4096x2304", "send a smaller version"
        )


def refuse_length(seconds: float, max_s: float) -> None:
    """Raise TOO_LARGE beyond ``max_s``."""
    if seconds > max_s:
        raise EngineError(
            "TOO_LARGE", f"the video is {seconds:.1f} s long; the limit is {max_s:g} s (templates.max_video_s)",
            "cut out its best part",
        )  # fmt: skip
