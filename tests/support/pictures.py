"""Real pictures and videos for tests: the astronaut, drawn portraits, and films made of them on the fly."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import files, pull

U8 = NDArray[np.uint8]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "musecast-tests"
"""What tests fetch once per machine: photos."""
WEIGHTS = str(CACHE / "weights")
"""A `weights_dir`; the face models are in the environment, where `make install` has put them."""
PHOTOS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}
"""As packed in the wheel of scikit-image 0.26.0, with their SHA-256. The astronaut is Eileen Collins (NASA, public
domain); in the others there is no face.
"""


def give_face_models(weights_dir: Path) -> None:
    """Put the face models below a ``weights_dir``."""
    folder = files.folder_of(str(weights_dir))
    folder.mkdir(parents=True)
    for name, data in files.load(WEIGHTS).items():
        (folder / name).write_bytes(data)


def nobody(phase: str, done: int, total: int) -> None:
    """A progress callback that nobody listens to."""


@lru_cache(maxsize=len(PHOTOS))
def photo_file(name: str) -> bytes:
    """One of ``PHOTOS``; fetched once, fails when there is no package index."""
    target = CACHE / name
    if not target.is_file() or hashlib.sha256(target.read_bytes()).hexdigest() != PHOTOS[name]:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            wheel = pull.pip_download("scikit-image==0.26.0", Path(folder))
            pull.take_members(wheel, CACHE, {name: (f"skimage/data/{name}", sha) for name, sha in PHOTOS.items()})
    return target.read_bytes()


def astronaut_file() -> bytes:
    """The astronaut's photo as a PNG file."""
    return photo_file("astronaut.png")


@lru_cache(maxsize=1)
def astronaut() -> U8:
    """The photo: u8 BGR ``[512, 512, 3]``. One face, 92 pixels wide, smiling with open lips."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(astronaut_file(), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    picture.flags.writeable = False
    return picture


@lru_cache(maxsize=1)
def portrait() -> U8:
    """The painted portrait: u8 BGR ``[512, 512, 3]``, lips closed."""
    from models.portrait.motion import Animator
    from models.portrait.painting import load
    from models.templates.builtin import BUILTIN, LOOP

    artwork = BUILTIN["default"]
    picture = Animator(load("default", artwork.size, artwork.origin), LOOP).frame(0)
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
    matrix[:, 2] += np.array((dx, dy))
    shown = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(shown, np.uint8)


def leaning(picture: U8, degrees: float) -> U8:
    """The whole picture turned clockwise about its middle, on a ground half as wide and high again."""
    height, width = picture.shape[:2]
    rim = (height // 4, height // 4, width // 4, width // 4)
    wide = cv2.copyMakeBorder(picture, *rim, cv2.BORDER_REPLICATE)
    return _about_the_middle(np.asarray(wide, np.uint8), degrees)


def straightened(picture: U8, degrees: float) -> U8:
    """What ``leaning`` was made of."""
    height, width = picture.shape[:2]
    return _about_the_middle(picture, -degrees)[height // 6 : -(height // 6), width // 6 : -(width // 6)]


def _about_the_middle(picture: U8, degrees: float) -> U8:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    method, border = cv2.INTER_LANCZOS4, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=method, borderMode=border), np.uint8)


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
    pixel: Fraction | None = None,
) -> bytes:
    """Encode frames as H.264 (``yuv420p``; ``yuv444p`` for odd sizes).

    Args:
        frames: u8 BGR.
        rate: frames/s.
        times: seconds of frame n, for a variable frame rate.
        container: "mp4" or "matroska".
        options: of the muxer.
        rotate: degrees that a player turns the picture counter-clockwise, a multiple of 90.
        pixel: the width of a pixel in its heights.
    """
    with tempfile.TemporaryDirectory() as folder:  # some muxers read back what they wrote
        target = Path(folder) / "film"
        _write_film(target, frames, rate, times, container, options or {}, rotate, pixel)
        return target.read_bytes()


def _write_film(
    target: Path,
    frames: Iterator[U8] | list[U8],
    rate: int,
    times: Callable[[int], float] | None,
    container: str,
    options: dict[str, str],
    rotate: int,
    pixel: Fraction | None,
) -> None:
    with av.open(str(target), "w", format=container, options=options) as out:
        stream = None
        for n, picture in enumerate(frames):
            if stream is None:
                stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "16"})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv444p" if picture.shape[0] % 2 or picture.shape[1] % 2 else "yuv420p"
                stream.codec_context.time_base = Fraction(1, 12800)
                stream.time_base = Fraction(1, 12800)
                if pixel:
                    stream.codec_context.sample_aspect_ratio = pixel
                if rotate:
                    stream.set_display_rotation(rotate)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            at = times(n) if times else n / rate
            frame.pts, frame.time_base = round(at * 12800), Fraction(1, 12800)
            out.mux(stream.encode(frame))
        assert stream is not None
        out.mux(stream.encode(None))


def turned(picture: U8, points: NDArray[np.float32], degrees: float) -> U8:
    """The picture's face turned to the side: its mesh, with its own pixels on it, rotated about its upright axis.

    Args:
        picture: u8 BGR.
        points: ``[468, 3]``, the face's mesh.
        degrees: to the right of the picture.
    """
    flat = points[:, :2].astype(np.float32)
    centre = points.mean(axis=0)
    angle = np.radians(degrees)
    x, z = points[:, 0] - centre[0], points[:, 2] - centre[2] - 0.25 * np.ptp(points[:, 0])
    moved_x = centre[0] + x * np.cos(angle) - z * np.sin(angle)
    depth = x * np.sin(angle) + z * np.cos(angle)
    target = np.stack([moved_x, points[:, 1]], axis=1).astype(np.float32)
    low, high = flat.min(axis=0) - 2, flat.max(axis=0) + 2
    plane = cv2.Subdiv2D((int(low[0]), int(low[1]), int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1))
    for point in flat:
        plane.insert((float(point[0]), float(point[1])))
    index = {tuple(np.round(point, 2)): n for n, point in enumerate(flat)}
    triangles = []
    for corners in np.asarray(plane.getTriangleList()).reshape(-1, 3, 2):
        found = [index.get(tuple(np.round(corner, 2))) for corner in corners]
        if None not in found:
            triangles.append(np.array(found))
    skin = np.median(picture[points[:, 1].astype(int).clip(0), points[:, 0].astype(int).clip(0)], axis=0)
    shown = np.full_like(picture, 160)
    cv2.ellipse(
        shown, (int(centre[0]), int(centre[1]) - 8), (int(0.62 * np.ptp(x)), int(0.7 * np.ptp(x))), 0, 0, 360,
        tuple(int(v * 0.6) for v in skin), -1,
    )  # fmt: skip
    for triangle in sorted(triangles, key=lambda t: -float(depth[t].max())):
        matrix = cv2.getAffineTransform(flat[triangle], target[triangle])
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.round(target[triangle] * 16).astype(np.int32), 255, shift=4)
        x0, y0, w, h = cv2.boundingRect(np.floor(target[triangle]).astype(np.int32))
        x0, y0 = max(x0, 0), max(y0, 0)
        matrix[:, 2] -= (x0, y0)
        part = cv2.warpAffine(picture, matrix, (w + 2, h + 2), borderMode=cv2.BORDER_REFLECT)
        window = shown[y0 : y0 + h + 2, x0 : x0 + w + 2]
        part = part[: window.shape[0], : window.shape[1]]
        cv2.copyTo(part, mask[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]], window)
    return shown
