"""Real pictures and videos for tests: the astronaut, drawn portraits, and films made of them on the fly."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import files

U8 = NDArray[np.uint8]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "musecast-tests"
"""What tests fetch once per machine: face models and the photo."""
WEIGHTS = str(CACHE / "weights")
ASTRONAUT = "astronaut.png"
ASTRONAUT_SHA256 = "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
"""Eileen Collins, NASA, public domain; as packed in the wheel of scikit-image 0.26.0."""


def nobody(phase: str, done: int, total: int) -> None:
    """A progress callback that nobody listens to."""


@lru_cache(maxsize=1)
def astronaut_file() -> bytes:
    """The photo as a PNG file; fetched once, fails when there is no package index."""
    target = CACHE / ASTRONAUT
    if not target.is_file() or hashlib.sha256(target.read_bytes()).hexdigest() != ASTRONAUT_SHA256:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            wheel = files.pip_download("scikit-image==0.26.0", Path(folder), nobody, threading.Event())
            files.take_members(wheel, CACHE, {ASTRONAUT: (f"skimage/data/{ASTRONAUT}", ASTRONAUT_SHA256)})
    return target.read_bytes()


@lru_cache(maxsize=1)
def astronaut() -> U8:
    """The photo: u8 BGR ``[512, 512, 3]``. One face, 92 pixels wide, smiling with open lips."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(astronaut_file(), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    picture.flags.writeable = False
    return picture


@lru_cache(maxsize=1)
def portrait() -> U8:
    """The painted portrait: u8 BGR ``[512, 512, 3]``, lips closed."""
    from models.portrait.scene import paint
    from models.templates.builtin import BUILTIN, LOOP

    from models.portrait.motion import Animator

    artwork = BUILTIN["default"]
    picture = Animator(paint(artwork.size, artwork.origin), LOOP).frame(0)
    picture.flags.writeable = False
    return picture


def encoded(picture: U8, suffix: str = ".png") -> bytes:
    """A picture as a file."""
    done, data = cv2.imencode(suffix, picture)
    assert done
    return data.tobytes()


def moved(picture: U8, dx: float = 0.0, dy: float = 0.0, zoom: float = 1.0, degrees: float = 0.0) -> U8:
    """The picture turned and zoomed about its middle, then shifted; mirrored beyond its border."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    matrix[:, 2] += (dx, dy)
    shown = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(shown, np.uint8)


def wander(picture: U8, count: int) -> Iterator[U8]:
    """A hand-held film of a picture: slow drift, zoom and roll."""
    for n in range(count):
        t = 2 * np.pi * n / 75
        yield moved(picture, 9 * np.sin(t), 5 * np.sin(1.7 * t), 1.02 + 0.02 * np.cos(t), 2 * np.sin(0.8 * t))


def film(
    frames: Iterator[U8] | list[U8],
    *,
    rate: int = 25,
    times: Callable[[int], float] | None = None,
    container: str = "mp4",
    options: dict[str, str] | None = None,
    rotate: int = 0,
) -> bytes:
    """Encode frames as H.264 (``yuv420p``; ``yuv444p`` for odd sizes).

    Args:
        frames: u8 BGR.
        rate: frames/s.
        times: seconds of frame n, for a variable frame rate.
        container: "mp4" or "matroska".
        options: of the muxer.
        rotate: degrees that a player turns the picture counter-clockwise, a multiple of 90.
    """
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options or {}) as out:
        stream = None
        for n, picture in enumerate(frames):
            if stream is None:
                stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "16"})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv444p" if picture.shape[0] % 2 or picture.shape[1] % 2 else "yuv420p"
                stream.codec_context.time_base = Fraction(1, 12800)
                stream.time_base = Fraction(1, 12800)
                if rotate:
                    stream.set_display_rotation(rotate)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            at = times(n) if times else n / rate
            frame.pts, frame.time_base = round(at * 12800), Fraction(1, 12800)
            out.mux(stream.encode(frame))
        assert stream is not None
        out.mux(stream.encode(None))
    return target.getvalue()
