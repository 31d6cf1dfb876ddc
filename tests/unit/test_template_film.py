"""Films as a player shows them: square pixels, every picture for as long as it stands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.api import EngineError
from models.templates.animation import Animation
from models.templates.image import HEAD, format_of, open_picture
from models.templates.moving import Shown, frames, target_size
from models.templates.video import open_video
from tests.support.pictures import film

U8 = NDArray[np.uint8]
LONG = 60.0


def disc(width: int, height: int) -> U8:
    """A white circle, as large as fits, on black."""
    picture = np.zeros((height, width, 3), np.uint8)
    cv2.circle(picture, (width // 2, height // 2), min(width, height) // 2 - 8, (255, 255, 255), -1)
    return picture


def read(data: bytes, side: int = 1280, longest: float = LONG) -> list[U8]:
    with open_video(io.BytesIO(data), longest) as video:
        return list(frames(video, side, longest))


def shape_of_disc(picture: U8) -> tuple[int, int]:
    white = picture[..., 1] > 128
    return int(white.any(axis=0).sum()), int(white.any(axis=1).sum())


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize(
    ("pixel", "size"),
    [
        (Fraction(2, 1), (320, 240)), (Fraction(1, 2), (160, 480)), (Fraction(64, 45), (228, 240)),
        (Fraction(1, 1), (160, 240)),
    ],
)  # fmt: skip
def test_pixels_become_square(pixel: Fraction, size: tuple[int, int], container: str) -> None:
    upright = disc(*size)
    stored = cv2.resize(upright, (160, 240), interpolation=cv2.INTER_AREA)
    shown = read(film([stored] * 3, pixel=pixel, container=container))
    assert abs(shown[0].shape[1] - size[0]) <= 2
    assert abs(shown[0].shape[0] - size[1]) <= 2
    across, down = shape_of_disc(shown[0])
    assert abs(across - down) <= 4


def test_oblong_pixels_are_squared_before_the_picture_is_turned() -> None:
    lying = cv2.resize(disc(320, 240), (160, 240), interpolation=cv2.INTER_AREA)
    (shown, *_) = read(film([lying] * 3, pixel=Fraction(2), rotate=90))
    assert shown.shape == (320, 240, 3)
    across, down = shape_of_disc(shown)
    assert abs(across - down) <= 4


def test_the_limit_of_the_side_counts_square_pixels() -> None:
    assert target_size(720, 576, 1280, 2.0) == (1280, 512)
    assert target_size(721, 577, 1280) == (720, 576)
    assert target_size(720, 576, 1280, 1000.0) == (720, 576), "nonsense is not followed"


class Fake:
    """A film of numbered grey pictures."""

    expected = 0

    def __init__(self, times: list[tuple[float, float]]) -> None:
        self._times = times

    def shown(self, side_max: int) -> Iterator[Shown]:
        for n, (at, until) in enumerate(self._times):
            yield Shown(at, until, np.full((2, 2, 3), n, np.uint8))


def numbers(times: list[tuple[float, float]], longest: float = LONG) -> list[int]:
    return [int(one[0, 0, 0]) for one in frames(Fake(times), 1280, longest)]


def test_a_picture_stands_until_the_next_is_due() -> None:
    assert numbers([(0.0, 0.04), (0.04, 1.0), (1.0, 1.04)]) == [0] + [1] * 24 + [2]
    assert numbers([(0.0, 0.04), (0.04, 2.0)]) == [0] + [1] * 49
    assert numbers([(0.0, 0.5)]) == [0] * 13 or numbers([(0.0, 0.5)]) == [0] * 12


@pytest.mark.parametrize("rate", [10, 15, 24, 25, 30, 50, 60])
def test_any_rate_keeps_the_length_and_the_nearest_picture(rate: int) -> None:
    times = [(n / rate, (n + 1) / rate) for n in range(2 * rate)]
    shown = numbers(times)
    assert abs(len(shown) - 50) <= 1
    for n, one in enumerate(shown):
        stands = max(0.5 / rate, 1 / rate - 0.02)
        assert -max(0.5 / rate, 0.02) - 1e-9 <= n / 25 - one / rate <= stands + 1e-9


def test_a_film_that_is_longer_than_its_header_says_is_refused() -> None:
    with pytest.raises(EngineError, match="the limit is 1 s") as caught:
        numbers([(0.0, 0.04), (0.04, 1.4)], longest=1.0)
    assert caught.value.code == "TOO_LARGE"


def standing(folder: Path, last_s: float, between: int = 0) -> bytes:
    """Two seconds of noise at odd times; then its last picture stands for ``last_s``. With B frames (so many in a
    row) another one is stored last.
    """
    target = folder / "film.mp4"  # the muxer reads back what it wrote
    with av.open(str(target), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=30, options={"preset": "ultrafast", "bf": f"{between}", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 12800)
        at, packets = 0.0, []
        for n in range(40):
            picture = np.random.default_rng(n).integers(0, 256, (120, 160, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = round(at * 12800), Fraction(1, 12800)
            packets += stream.encode(frame)
            at += (0.03, 0.07, 0.05)[n % 3]
        packets += stream.encode(None)
        assert (packets[-1].pts == max(packet.pts or 0 for packet in packets)) == (not between)
        packets[-1].duration = round(last_s * 12800)
        for packet in packets:
            out.mux(packet)
    return target.read_bytes()


@pytest.mark.parametrize("between", [0, 2])
def test_the_last_picture_may_stand_for_long(tmp_path: Path, between: int) -> None:
    shown = read(standing(tmp_path, 2.9, between))
    assert len(shown) == pytest.approx((1.95 + 2.9) * 25, abs=3)
    assert np.array_equal(shown[60], shown[-1])


def test_a_film_that_was_cut_off_is_still_refused(tmp_path: Path) -> None:
    whole = standing(tmp_path, 0.05)
    with pytest.raises(EngineError, match="damaged") as caught:
        read(whole[: int(len(whole) * 0.6)])
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("data", [b"hello, I am a text", b"%PDF-1.7 and so on, and so on", b"<svg></svg>"])
def test_what_is_neither_names_what_can_be_read(data: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        read(data)
    assert caught.value.code == "INVALID_ARGUMENT"
    for name in ("JPEG", "PNG", "WebP", "HEIC", "AVIF", "GIF", "BMP", "TIFF", "MP4"):
        assert name in caught.value.hint


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_a_film(kind: str) -> None:
    pictures = [np.roll(disc(160, 120), 10 * n, axis=1) for n in range(6)]
    target = io.BytesIO()
    images = [Image.fromarray(one) for one in pictures]
    images[0].save(
        target, kind, save_all=True, append_images=images[1:], duration=[80] * 5 + [1000], lossless=True
    )
    data = target.getvalue()
    name = format_of(data[:HEAD])
    assert name is not None
    with open_picture(io.BytesIO(data), name) as opened:
        shown = list(frames(Animation(opened), 1280, LONG))
        assert len(shown) == pytest.approx(10 + 25, abs=1)
        for n, stored in ((0, 0), (5, 2), (30, 5)):
            assert np.abs(shown[n].astype(int) - pictures[stored]).mean() < 4
        small = next(iter(frames(Animation(opened), 80, LONG)))
        assert small.shape == (60, 80, 3)


def test_a_small_film_is_refused_with_a_sentence() -> None:
    with pytest.raises(EngineError, match="the picture is 32x16 pixels; at least 64x64") as caught:
        read(film([np.zeros((16, 32, 3), np.uint8)] * 14))
    assert caught.value.code == "INVALID_ARGUMENT"
