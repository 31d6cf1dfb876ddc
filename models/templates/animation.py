"""Animated GIF, PNG, WebP and AVIF: films that Pillow reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from models.api import EngineError
from models.templates import moving, pixels
from models.templates.image import FORMATS_HINT, Picture, refuse_small

SHORTEST_MS = 11
STAND_MS = 100
"""A picture that would stand for less than ``SHORTEST_MS`` stands for this long, as in browsers."""


class Animation:
    """A ``moving.Film``.

    Args:
        picture: opened, ``animated``; it stays open as long as this is used.

    Raises:
        EngineError: INVALID_ARGUMENT or TOO_LARGE for its size.
    """

    def __init__(self, picture: Picture) -> None:
        refuse_small(picture.width, picture.height)
        moving.refuse_size(picture.width, picture.height)
        self._kind, self._image = picture.format, picture.handle
        self.expected = 0  # ``n_frames`` would read the whole of a GIF

    def shown(self, side_max: int) -> Iterator[moving.Shown]:
        """As ``moving.Film``."""
        at, n = 0.0, 0
        target: tuple[int, int] | None = None
        while True:
            try:
                self._image.seek(n)
                self._image.load()
            except EOFError:
                return
            except Exception as error:  # a decoder meets damage with a dozen kinds
                fact = f"the {self._kind} is damaged at {at:.2f} s: {error or type(error).__name__}"
                raise EngineError("INVALID_ARGUMENT", fact, FORMATS_HINT) from error
            target = target or moving.target_size(self._image.width, self._image.height, side_max)
            stands = float(self._image.info.get("duration") or 0)
            until = at + (stands if stands >= SHORTEST_MS else STAND_MS) / 1000
            yield moving.Shown(at, until, self._picture(target))
            at, n = until, n + 1

    def _picture(self, target: tuple[int, int]) -> moving.U8:
        found = pixels.from_image(self._image, max(target))
        if found.shape[0] < target[1] + 2 and found.shape[1] < target[0] + 2:
            return found[: target[1], : target[0]]
        return np.asarray(Image.fromarray(found).resize(target, Image.Resampling.BOX))
